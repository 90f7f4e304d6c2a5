//! A master with replicas, and sentinels that watch it, of the test's own.

use std::collections::HashMap;
use std::time::Duration;

use crate::admin::Admin;
use crate::eventually::eventually;
use crate::network::Network;
use crate::replicas::demote;
use crate::server::{RedisServer, ServerOptions};

/// How long sentinels may take until they agree.
const AGREED: Duration = Duration::from_secs(30);

/// After how many milliseconds a silent master counts as lost. Sentinels ask once a second: with less than that, one that was just
/// promoted can count as lost itself.
const SILENT: &str = "1500";

/// What the sentinels call the master.
pub const MASTER: &str = "mymaster";

/// The password of the sentinels.
const PASSWORD: &str = "watch";

/// One master, two replicas and three sentinels: processes on 127.0.0.1, which end with this.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts all of them.
    pub async fn start() -> Self {
        Self::begin(ServerOptions::default(), "", None).await
    }

    /// Starts all of them, the servers with `options`.
    pub async fn with(options: ServerOptions) -> Self {
        Self::begin(options, "", None).await
    }

    /// Starts a server and a sentinel at each of three places: the master and its sentinel at the first.
    pub async fn across(network: &Network) -> Self {
        Self::begin(ServerOptions::default(), "", Some(network)).await
    }

    /// Starts all of them, the servers with a password.
    pub async fn with_password(password: &str) -> Self {
        let options = ServerOptions::default().password(password).arguments(["--masterauth", password]);
        Self::begin(options, &format!("sentinel auth-pass {MASTER} {password}\n"), None).await
    }

    /// Starts all of them, the servers with `options`, the sentinels with what they need to know beside that; on this machine's
    /// network, or across another.
    ///
    /// # Panics
    ///
    /// When they do not find each other.
    async fn begin(options: ServerOptions, more: &str, network: Option<&Network>) -> Self {
        let at = |place: usize, options: ServerOptions| match network {
            Some(network) => network.inside(place, options),
            None => options,
        };
        let options = options.arguments(["--repl-diskless-sync-delay", "0"]);
        let servers: Vec<RedisServer> = (0..3).map(|n| at(n, options.clone()).start()).collect();
        for replica in &servers[1..] {
            demote(replica, &servers[0]).await;
        }
        let configuration = format!(
            "sentinel monitor {MASTER} {} {} 2\nsentinel down-after-milliseconds {MASTER} {SILENT}\n\
             sentinel failover-timeout {MASTER} 5000\nsentinel parallel-syncs {MASTER} 2\n\
             sentinel sentinel-pass {PASSWORD}\n{more}",
            servers[0].host(),
            servers[0].port()
        );
        let sentinel = |n| at(n, RedisServer::options().password(PASSWORD).sentinel(&configuration)).start();
        let all = Self { servers, sentinels: (0..3).map(sentinel).collect() };
        eventually("the sentinels know each other and the replicas", AGREED, || {
            all.sentinels.iter().all(|sentinel| {
                let known = master(&mut sentinel.admin());
                let is = |name: &str, value: &str| known.get(name).is_some_and(|known| known == value);
                is("num-slaves", "2") && is("num-other-sentinels", "2") && is("flags", "master")
            })
        })
        .await;
        all
    }

    /// Where all of the sentinels listen: `redis+sentinel://…`, with their password.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("{}:{}", sentinel.host(), sentinel.port())).collect();
        format!("redis+sentinel://{}/{MASTER}?sentinel_password={PASSWORD}", hosts.join(","))
    }

    /// The URL of each sentinel.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// The sentinels themselves.
    pub fn sentinels(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// The servers; the first was the master at first.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The servers, to be stopped.
    pub fn servers_mut(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// Which of the servers the sentinels name, once all that answer agree.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub async fn master(&self) -> usize {
        let mut agreed = None;
        eventually("the sentinels agree", AGREED, || {
            let ports = self.sentinels.iter().filter_map(RedisServer::try_admin);
            let ports: Vec<_> = ports.filter_map(|mut admin| master(&mut admin).get("port").cloned()).collect();
            agreed = ports.first().filter(|first| ports.iter().all(|port| port == *first)).cloned();
            agreed.is_some()
        })
        .await;
        let port = agreed.expect("they agree");
        self.servers.iter().position(|server| server.port().to_string() == port).expect("one of ours")
    }

    /// Cuts a server off from its replicas and from the sentinels, but not from the clients that have a connection: whoever connects
    /// from here on lacks a password.
    ///
    /// # Panics
    ///
    /// When it does not do what it is told.
    pub fn isolate(&self, server: usize) {
        let mut admin = self.servers[server].admin();
        admin.command::<()>(&["CONFIG", "SET", "requirepass", "nobody knows"]);
        let clients: String = admin.command(&["CLIENT", "LIST"]);
        let of_sentinels = clients.lines().filter(|client| client.contains(" name=sentinel-"));
        for id in of_sentinels.filter_map(|client| client.strip_prefix("id=")?.split(' ').next()) {
            admin.command::<()>(&["CLIENT", "KILL", "ID", id]);
        }
        admin.command::<()>(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    /// Makes a server the master by hand, and has the sentinels forget all that they knew.
    ///
    /// # Panics
    ///
    /// When they do not do what they are told.
    pub fn set_up_anew(&self, master: usize) {
        let mut sentinels: Vec<_> = self.sentinels.iter().map(RedisServer::admin).collect();
        for sentinel in &mut sentinels {
            sentinel.command::<()>(&["SENTINEL", "REMOVE", MASTER]);
        }
        let server = &self.servers[master];
        server.admin().command::<()>(&["REPLICAOF", "NO", "ONE"]);
        for sentinel in &mut sentinels {
            sentinel.command::<()>(&["SENTINEL", "MONITOR", MASTER, server.host(), &server.port().to_string(), "2"]);
        }
    }

    /// Whether all sentinels answer and name the same master, nobody is missed by any of them, and the other servers have that
    /// one's data.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let ports: Option<Vec<_>> = self.sentinels.iter().map(named).collect();
        let Some([first, others @ ..]) = ports.as_deref() else { return false };
        let follows = |server: &RedisServer| {
            let role = server.try_admin().and_then(|mut admin| admin.try_command::<Vec<redis::Value>>(&["ROLE"]).ok());
            let words = role.iter().flatten().map(|word| redis::from_redis_value::<String>(word.clone()));
            let words: Vec<_> = words.map(Result::unwrap_or_default).collect();
            match &*words {
                [role, _, port, state, ..] if role == "slave" => port == first && state == "connected",
                [role, ..] => role == "master" && server.port().to_string() == *first,
                [] => false,
            }
        };
        others.iter().all(|port| port == first) && self.servers.iter().all(follows)
    }

    /// Asks for another master, whatever the old one has that others have not; `false`: it was refused for now.
    #[must_use]
    pub fn ask_to_fail_over(&self) -> bool {
        let mut admin = self.sentinels[0].try_admin();
        admin.as_mut().is_some_and(|admin| admin.try_command::<()>(&["SENTINEL", "FAILOVER", MASTER]).is_ok())
    }

    /// Has the sentinels replace the master, and returns when they name another than `before`, which takes writes. Its number.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub async fn fail_over(&self, before: usize) -> usize {
        eventually("a sentinel begins", AGREED, || self.ask_to_fail_over()).await;
        self.failed_over(before).await
    }

    /// Returns when the sentinels name another master than `before`, which takes writes. Its number.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub async fn failed_over(&self, before: usize) -> usize {
        loop {
            let now = self.master().await;
            if now != before {
                let takes_writes = || self.servers[now].admin().try_command::<()>(&["DEL", "nothing"]).is_ok();
                eventually("the new master takes writes", AGREED, takes_writes).await;
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The port of the master that a sentinel names, if it misses neither that nor any replica.
fn named(sentinel: &RedisServer) -> Option<String> {
    let mut admin = sentinel.try_admin()?;
    let replicas: Vec<HashMap<String, String>> = admin.try_command(&["SENTINEL", "REPLICAS", MASTER]).ok()?;
    let mut known = master(&mut admin);
    let is = |known: &HashMap<String, String>, flags: &str| known.get("flags").is_some_and(|known| known == flags);
    let all_well = is(&known, "master") && replicas.len() == 2 && replicas.iter().all(|replica| is(replica, "slave"));
    known.remove("port").filter(|_| all_well)
}

/// What a sentinel knows of the master.
fn master(sentinel: &mut Admin) -> HashMap<String, String> {
    sentinel.try_command(&["SENTINEL", "MASTER", MASTER]).unwrap_or_default()
}
