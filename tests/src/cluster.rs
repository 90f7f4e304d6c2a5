//! A Redis Cluster of the test's own.

use std::time::Duration;

use crate::admin::Admin;
use crate::eventually::eventually;
use crate::replicas::is_linked;
use crate::server::{RedisServer, ServerOptions};

/// How long nodes may take until they agree.
const AGREED: Duration = Duration::from_secs(30);

/// After how many milliseconds a silent node counts as lost.
const SILENT: &str = "1000";

const SLOTS: usize = 16_384;

/// Three masters, and a replica of each if there are any: processes on 127.0.0.1, which end with this.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters without replicas.
    pub async fn start() -> Self {
        Self::with(0, ServerOptions::default()).await
    }

    /// Three masters, each with a replica.
    pub async fn with_replicas() -> Self {
        Self::with(3, ServerOptions::default()).await
    }

    /// Three masters and `replicas`, each started with `options`.
    ///
    /// # Panics
    ///
    /// When they do not agree to be a cluster.
    pub async fn with(replicas: usize, options: ServerOptions) -> Self {
        // If they speak TLS, they do so with each other.
        let options = if options.speaks_tls() {
            options.arguments(["--tls-cluster", "yes", "--tls-replication", "yes"])
        } else {
            options
        };
        let options = options.arguments(["--cluster-enabled", "yes", "--cluster-node-timeout", SILENT]);
        let options = options.arguments(["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]);
        let nodes: Vec<RedisServer> = (0..3 + replicas).map(|_| options.clone().start()).collect();
        let mut admins: Vec<Admin> = nodes.iter().map(RedisServer::admin).collect();
        for (n, admin) in admins.iter_mut().enumerate() {
            // Of their own: nodes with the same one would have to agree first.
            admin.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n < 3 {
                let slots: Vec<String> = (SLOTS * n / 3..SLOTS * (n + 1) / 3).map(|slot| slot.to_string()).collect();
                let words: Vec<&str> = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(|s| &**s)).collect();
                admin.command::<()>(&words);
            }
            admin.command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].cluster_port().to_string()]);
        }
        let known = format!("cluster_known_nodes:{}\r\n", nodes.len());
        eventually("the nodes know each other", AGREED, || {
            admins.iter_mut().all(|admin| cluster_info(admin).contains(&known))
        })
        .await;
        for replica in 0..replicas {
            let master = id(&mut admins[replica]);
            let admin = &mut admins[3 + replica];
            // The master may be a stranger for as long as it has not been heard of.
            eventually("a replica knows its master", AGREED, || {
                admin.try_command::<()>(&["CLUSTER", "REPLICATE", &master]).is_ok()
            })
            .await;
        }
        eventually("the cluster works", AGREED, || {
            admins.iter_mut().enumerate().all(|(n, admin)| {
                let replicas_known = replicas_in_map(admin) == replicas;
                cluster_info(admin).contains("cluster_state:ok") && replicas_known && (n < 3 || is_linked(admin))
            })
        })
        .await;
        Self { nodes }
    }

    /// Where all of its nodes listen: `redis+cluster://…`.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// As [`url`](Self::url), encrypted.
    ///
    /// # Panics
    ///
    /// When its nodes were started without [certificates](ServerOptions::tls).
    #[must_use]
    pub fn tls_url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.cluster_port())).collect();
        format!("rediss+cluster://{}", hosts.join(","))
    }

    /// Its nodes: three masters, as it was made, then their replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// A node, to be paused or killed.
    pub fn node(&mut self, number: usize) -> &mut RedisServer {
        &mut self.nodes[number]
    }

    /// The slot of `key`, as a server says it.
    #[must_use]
    pub fn slot(&self, key: &str) -> u16 {
        self.any_admin().command(&["CLUSTER", "KEYSLOT", key])
    }

    /// The number of the node that has `slot`, as far as `witness` knows.
    #[must_use]
    pub fn owner_as_seen_by(&self, witness: usize, slot: u16) -> Option<usize> {
        let map: Vec<Vec<redis::Value>> = self.nodes[witness].try_admin()?.try_command(&["CLUSTER", "SLOTS"]).ok()?;
        let port = map.iter().find_map(|range| {
            let number = |value: &redis::Value| redis::from_redis_value::<i64>(value.clone()).ok();
            let slots = number(range.first()?)?..=number(range.get(1)?)?;
            let redis::Value::Array(master) = range.get(2)? else { return None };
            slots.contains(&i64::from(slot)).then(|| number(master.get(1)?)).flatten()
        })?;
        self.nodes.iter().position(|node| i64::from(node.port()) == port)
    }

    /// The number of the node that has `key`.
    ///
    /// # Panics
    ///
    /// When no node knows.
    #[must_use]
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        (0..self.nodes.len()).find_map(|witness| self.owner_as_seen_by(witness, slot)).expect("an owner")
    }

    /// A look at the node that has `key`.
    #[must_use]
    pub fn admin_of(&self, key: &str) -> Admin {
        self.nodes[self.owner(key)].admin()
    }

    /// Whether all nodes answer and agree who has which slot, nobody is missed by anybody, and every replica has its master's data.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let views: Option<Vec<_>> = self.nodes.iter().map(view).collect();
        views.is_some_and(|views| views.iter().all(|view| *view == views[0]))
    }

    fn any_admin(&self) -> Admin {
        self.nodes.iter().find_map(RedisServer::try_admin).expect("a node that works")
    }

    /// Has `slot` set out from one node to another, with no key on the way yet.
    pub fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let (mut source, mut target) = (self.nodes[from].admin(), self.nodes[to].admin());
        let slot = slot.to_string();
        target.command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(&mut source)]);
        source.command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(&mut target)]);
    }

    /// Moves the keys of `slot` that are there now, except for those that end in `except`.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, except: Option<&str>) {
        let mut source = self.nodes[from].admin();
        let port = self.nodes[to].port().to_string();
        let keys: Vec<String> = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1000"]);
        for key in keys.iter().filter(|key| except.is_none_or(|except| !key.ends_with(except))) {
            source.command::<()>(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
    }

    /// Moves what is left in `slot`, and the slot itself.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (mut source, mut target) = (self.nodes[from].admin(), self.nodes[to].admin());
        let (owner, slot_text) = (id(&mut target), slot.to_string());
        // The target first: from then on nobody else may say that it has the slot.
        target.command::<()>(&["CLUSTER", "SETSLOT", &slot_text, "NODE", &owner]);
        loop {
            self.move_keys(slot, from, to, None);
            // It refuses while there is a key that came in between.
            if source.try_command::<()>(&["CLUSTER", "SETSLOT", &slot_text, "NODE", &owner]).is_ok() {
                return;
            }
        }
    }

    /// Moves `slot` with all of its keys.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.move_keys(slot, from, to, None);
        self.end_move(slot, from, to);
    }
}

fn id(admin: &mut Admin) -> String {
    admin.command(&["CLUSTER", "MYID"])
}

fn cluster_info(admin: &mut Admin) -> String {
    admin.command(&["CLUSTER", "INFO"])
}

/// Who has which slots, as a node sees it: the first and the last of each range, and the port of their master. `None`: it does not
/// answer, misses somebody, or has not got its master's data.
fn view(node: &RedisServer) -> Option<Vec<(u16, u16, u16)>> {
    let mut admin = node.try_admin()?;
    let info: String = admin.try_command(&["CLUSTER", "INFO"]).ok()?;
    let nodes: String = admin.try_command(&["CLUSTER", "NODES"]).ok()?;
    let role: Vec<redis::Value> = admin.try_command(&["ROLE"]).ok()?;
    // `slave`, its master's address, and how far it is; a master tells something else in that place.
    let has_data = match role.get(3) {
        Some(redis::Value::BulkString(state)) => state == b"connected",
        _ => true,
    };
    // `fail?` as long as others have not been asked.
    let is_missed = |line: &str| line.split(' ').nth(2).is_none_or(|flags| flags.contains("fail"));
    if !info.contains("cluster_state:ok") || nodes.lines().any(is_missed) || !has_data {
        return None;
    }
    let map: Vec<Vec<redis::Value>> = admin.try_command(&["CLUSTER", "SLOTS"]).ok()?;
    let number = |value: &redis::Value| redis::from_redis_value::<u16>(value.clone()).ok();
    let range = |range: &Vec<redis::Value>| {
        let redis::Value::Array(master) = range.get(2)? else { return None };
        Some((number(range.first()?)?, number(range.get(1)?)?, number(master.get(1)?)?))
    };
    let mut ranges: Vec<_> = map.iter().map(range).collect::<Option<_>>()?;
    ranges.sort_unstable();
    Some(ranges)
}

/// How many replicas a node knows of that have a master with slots.
fn replicas_in_map(admin: &mut Admin) -> usize {
    let map: Vec<Vec<redis::Value>> = admin.command(&["CLUSTER", "SLOTS"]);
    map.iter().map(|range| range.len().saturating_sub(3)).sum()
}
