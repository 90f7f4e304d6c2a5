//! What the locks are on, and how servers take each other's place there.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use lock_tests::{Admin, RedisCluster, RedisServer, Sentinels, ServerOptions};
use tokio::runtime::Runtime;

use crate::schedule::Fault;

/// On the disk before it is answered: a server that is killed and started again knows what it has promised.
const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];

/// What the locks are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    One,
    /// A majority of three independent servers.
    Redlock,
    /// A cluster of three masters, each with a replica.
    Cluster,
    /// A master with two replicas, watched by three sentinels.
    Sentinel,
}

impl Topology {
    /// Every one, by the name that the command line knows.
    pub const ALL: [(&'static str, Self); 4] =
        [("one", Self::One), ("redlock", Self::Redlock), ("cluster", Self::Cluster), ("sentinel", Self::Sentinel)];

    /// How many servers faults can befall: those that take writes.
    pub(crate) fn masters(self) -> usize {
        match self {
            Self::One | Self::Sentinel => 1,
            Self::Redlock | Self::Cluster => 3,
        }
    }

    /// Whether whoever waits does so in line.
    pub(crate) fn keeps_line(self) -> bool {
        self != Self::Redlock
    }

    /// The faults that can befall it.
    #[must_use]
    pub fn faults(self) -> Vec<Fault> {
        let of_all = || Fault::OF_CLIENTS.into_iter().chain(Fault::OF_THE_SERVER);
        let of_replicated = || of_all().filter(|fault| fault.needs_no_proxy()).chain(Fault::OF_MASTERS);
        match self {
            Self::One => of_all().collect(),
            // There is no line.
            Self::Redlock => of_all().filter(|fault| !fault.is_of_lines()).collect(),
            Self::Cluster => of_replicated().chain(Fault::OF_SLOTS).collect(),
            Self::Sentinel => of_replicated().collect(),
        }
    }

    /// Starts its servers.
    pub(crate) fn start(self, runtime: &Runtime) -> Servers {
        let options = ServerOptions::default().arguments(DURABLE);
        match self {
            Self::One | Self::Redlock => Servers::Apart((0..self.masters()).map(|_| options.clone().start()).collect()),
            Self::Cluster => Servers::Cluster(runtime.block_on(RedisCluster::with(3, options))),
            Self::Sentinel => Servers::Sentinel(runtime.block_on(Sentinels::with(options))),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, topology)| topology == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, topology)| *topology);
        known.ok_or_else(|| format!("`{text}` is not one of {}", Self::ALL.map(|(name, _)| name).join(", ")))
    }
}

/// The servers of one topology.
#[derive(Debug)]
pub(crate) enum Servers {
    /// Which know nothing of each other.
    Apart(Vec<RedisServer>),
    Cluster(RedisCluster),
    Sentinel(Sentinels),
}

impl Servers {
    pub(crate) fn all(&self) -> &[RedisServer] {
        match self {
            Self::Apart(servers) => servers,
            Self::Cluster(cluster) => cluster.nodes(),
            Self::Sentinel(sentinels) => sentinels.servers(),
        }
    }

    pub(crate) fn at(&mut self, number: usize) -> &mut RedisServer {
        match self {
            Self::Apart(servers) => &mut servers[number],
            Self::Cluster(cluster) => cluster.node(number),
            Self::Sentinel(sentinels) => &mut sentinels.servers_mut()[number],
        }
    }

    /// The numbers of those that take writes, once everybody agrees who that is and every replica has its master's data; `None`
    /// before.
    pub(crate) fn masters(&self) -> Option<Vec<usize>> {
        let settled = match self {
            Self::Apart(servers) => return Some((0..servers.len()).collect()),
            Self::Cluster(cluster) => cluster.is_settled(),
            Self::Sentinel(sentinels) => sentinels.is_settled(),
        };
        if !settled {
            return None;
        }
        let is_master = |server: &RedisServer| role(server).map(|role| role == Role::Master);
        let masters: Vec<bool> = self.all().iter().map(is_master).collect::<Option<_>>()?;
        Some((0..masters.len()).filter(|number| masters[*number]).collect())
    }

    /// The numbers of the keys that are at this server.
    pub(crate) fn keys_at(&self, number: usize, names: &[String]) -> Vec<usize> {
        let is_there = |name: &String| match self {
            Self::Apart(_) | Self::Sentinel(_) => true,
            Self::Cluster(cluster) => cluster.owner(name) == number,
        };
        (0..names.len()).filter(|key| is_there(&names[*key])).collect()
    }

    /// Asks for another server in the place of this master; in a cluster, in such a way that nothing is lost. `false`: it was
    /// refused for now.
    pub(crate) fn ask_to_fail_over(&self, master: usize) -> bool {
        let asked = |mut admin: Admin, words: &[&str]| admin.try_command::<()>(words).is_ok();
        match self {
            Self::Apart(_) => false,
            Self::Cluster(cluster) => {
                let follows = Role::ReplicaOf(cluster.nodes()[master].port().into());
                let mut nodes = cluster.nodes().iter();
                let replica = nodes.find(|node| role(node).is_some_and(|role| role == follows));
                let admin = replica.and_then(RedisServer::try_admin);
                admin.is_some_and(|admin| asked(admin, &["CLUSTER", "FAILOVER"]))
            }
            Self::Sentinel(sentinels) => sentinels.ask_to_fail_over(),
        }
    }
}

/// What a server says that it is.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    Master,
    /// Of the one at this port.
    ReplicaOf(i64),
}

/// `None`: it does not answer.
fn role(server: &RedisServer) -> Option<Role> {
    let words: Vec<redis::Value> = server.try_admin()?.try_command(&["ROLE"]).ok()?;
    match &*words {
        [redis::Value::BulkString(name), _, redis::Value::Int(port), ..] if name == b"slave" => {
            Some(Role::ReplicaOf(*port))
        }
        [redis::Value::BulkString(name), ..] if name == b"master" => Some(Role::Master),
        _ => None,
    }
}

/// How long a replica takes at most to be elected, from when it has decided to ask for it: within this, what looks settled
/// may not be.
pub(crate) const ELECTION: Duration = Duration::from_secs(2);
