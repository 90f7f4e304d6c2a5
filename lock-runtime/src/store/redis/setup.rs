//! Which server a store is on, and how it is spoken to.

use std::sync::Arc;
use std::time::Duration;

use super::RedisStore;
use super::address::{self, Address, Credentials};
#[cfg(feature = "cluster")]
use super::cluster;
use super::nodes::Nodes;
use super::pool::{Pool, Settings};
use super::replicas::Replicas;
use super::sentinel::{self, Sentinels};
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::SetupError;
use crate::outstanding::Outstanding;

impl RedisStore {
    /// A store at `redis://[user:password@]host[:port][/database]`, with TLS at `rediss://…` (feature `tls`), or at a socket,
    /// `unix:///path[?db=number&user=name&pass=password]`; on the master that [sentinels](Self::sentinel) watch, at
    /// `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database][?sentinel_user=name&sentinel_password=password]`;
    /// or in a cluster, with some of its nodes, at `redis+cluster://[user:password@]host[:port][,host[:port]…]` (feature `cluster`).
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when the URL cannot be understood.
    pub fn open(url: &str) -> Result<Self, SetupError> {
        #[cfg(feature = "cluster")]
        if let Some(seeds) = cluster::seeds(url) {
            return Self::in_cluster(seeds?);
        }
        let address = sentinel::read(url).unwrap_or_else(|| Address::read(url))?;
        Ok(Self::on(address))
    }

    /// A store on the master that these sentinels call `master`, each at `redis://[user:password@]host[:port]` (port 26379, and with
    /// the users of the sentinels: the master's are those of [`credentials`](Self::credentials)). Nothing is sent yet.
    ///
    /// Each time that a connection is made, all sentinels are asked at once where the master is, and the one that has heard of the
    /// latest failover is believed; a server that says of itself that it is no master is not used. A connection is given up when it
    /// breaks, when the server answers that it is a replica now or has none, and when the sentinels name another: they are
    /// listened to, and asked every two seconds, and what one connection hears all connections of the store know. One of a runtime
    /// that runs only now and then, as under `block_on`, is made anew when nobody has looked for some seconds. So locks follow a
    /// failover, and waiting goes on behind it.
    ///
    /// # What a failover may lose
    ///
    /// Replication is asynchronous: a lock that the old master granted and no replica had heard of is forgotten by a failover, and
    /// somebody else can have it while its holder believes in it, until its lease is over at the latest. An old master that is cut off
    /// from its replicas and sentinels, and not from its clients, goes on granting such locks until the clients look again:
    /// `min-replicas-to-write 1` on the servers ends that after `min-replicas-max-lag`, and [`wait_replicas`](Self::wait_replicas) makes them rarer. Only
    /// [fencing tokens](crate::guide::fencing) keep the resource safe, which rise across a failover also where their counter was lost.
    ///
    /// ```
    /// use lock_runtime::LockManager;
    /// use lock_runtime::store::redis::RedisStore;
    ///
    /// # fn main() -> Result<(), lock_runtime::SetupError> {
    /// let store = RedisStore::sentinel(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"], "mymaster")?;
    /// let locks = LockManager::builder(store).build();
    /// // The same, as a URL:
    /// let locks = LockManager::connect_lazy("redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/mymaster")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when there is no URL or no name of the master, or a URL cannot be understood.
    pub fn sentinel<Url: AsRef<str>>(
        sentinels: impl IntoIterator<Item = Url>,
        master: &str,
    ) -> Result<Self, SetupError> {
        let each: Result<Vec<_>, _> = sentinels.into_iter().map(|url| sentinel::sentinel(url.as_ref())).collect();
        let sentinels = Sentinels::new(each?, master)?;
        Ok(Self::on(Address::read("redis://master")?.watched_by(sentinels)))
    }

    fn on(address: Address) -> Self {
        Self::at(Nodes::One(Arc::new(Pool::new(Settings::new(address)))))
    }

    /// A store in the cluster that the nodes at these URLs are of, each as in [`open`](Self::open). One that answers is enough:
    /// it knows the others. Nothing is sent yet.
    ///
    /// A lock lives on the node that has the slot of its key. The keys of one lock have to be in one slot, as those are with the
    /// same part in braces: `{order:1}:a` and `{order:1}:b`. While a slot is on its way to another node, locks in it can be taken,
    /// extended and given back; one with a [fencing token](crate::guide::fencing) may have to wait until the slot has arrived.
    ///
    /// ```
    /// use lock_runtime::LockManager;
    /// use lock_runtime::store::redis::RedisStore;
    ///
    /// # fn main() -> Result<(), lock_runtime::SetupError> {
    /// let store = RedisStore::cluster(["redis://10.0.0.1:7000", "redis://10.0.0.2:7000"])?;
    /// let locks = LockManager::builder(store).build();
    /// // The same, as a URL:
    /// let locks = LockManager::connect_lazy("redis+cluster://10.0.0.1:7000,10.0.0.2:7000")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when there is no URL, or one cannot be understood.
    #[cfg(feature = "cluster")]
    pub fn cluster<Url: AsRef<str>>(nodes: impl IntoIterator<Item = Url>) -> Result<Self, SetupError> {
        let seeds: Result<_, _> = nodes.into_iter().map(|url| Address::read(url.as_ref())).collect();
        Self::in_cluster(seeds?)
    }

    #[cfg(feature = "cluster")]
    fn in_cluster(seeds: Vec<Address>) -> Result<Self, SetupError> {
        let cluster = cluster::Cluster::new(seeds.into_iter().map(Settings::new).collect())?;
        Ok(Self::at(Nodes::Cluster(Arc::new(cluster))))
    }

    fn at(nodes: Nodes) -> Self {
        Self { nodes: Arc::new(nodes), replicas: None, pending: Outstanding::default() }
    }

    /// Asks `provider` for user and password each time that a connection is made, in place of those in the URL: for passwords
    /// that change. It may not block, and is asked on the runtime that connects.
    ///
    /// A server does not end connections because a password has changed. Whoever removes the user, or ends its connections
    /// (`CLIENT KILL USER`), has us ask for the new one.
    #[must_use]
    pub fn credentials(self, provider: impl Fn() -> Credentials + Send + Sync + 'static) -> Self {
        let provider: address::Provider = Arc::new(provider);
        self.with(|settings| settings.address.identify(provider.clone()))
    }

    /// Encrypts connections as `tls` says, also where the URL begins with `redis://`. Without this, `rediss://` trusts whom the
    /// system trusts.
    ///
    /// # Errors
    ///
    /// [`SetupError::Tls`] when certificate and key do not belong together, or the system trusts nobody.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Tls) -> Result<Self, SetupError> {
        tls.config()?;
        Ok(self.with(move |settings| settings.address.encrypt(tls.clone())))
    }

    /// Has a lock count only when so many `replicas` have it, which is waited for `within` this time (`WAIT`). If they do not, the
    /// lock is given back, and the call is [`Unavailable`](crate::LockError::Unavailable).
    ///
    /// It makes two holders after a failover rarer, and not impossible: the replica that takes over may be another one, and an
    /// extension is not waited for, so that an older and shorter one may be what survives. It costs a round trip from the master to
    /// its replicas for each acquisition, and whoever waits asks every now and then: there is no line between processes. Acquisitions
    /// have a connection to themselves, and wait there for each other. The user needs `+wait`.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] for none, or no time, or in a cluster, where a server has no connection that waits.
    pub fn wait_replicas(mut self, replicas: u32, within: Duration) -> Result<Self, SetupError> {
        let refused = |reason: &'static str| SetupError::Address { reason: reason.into() };
        if replicas == 0 || within.is_zero() {
            return Err(refused("to wait for no replica, or for no time, is not to wait"));
        }
        let waited = Replicas::new(replicas, within, &self.nodes);
        self.replicas = Some(waited.ok_or_else(|| refused("in a cluster, replicas cannot be waited for"))?);
        Ok(self)
    }

    /// Does without scripts, for servers whose operators forbid them (`-@scripting`, or `rename-command EVAL ""`).
    ///
    /// A lock is taken by `SET NX PX` as it always is. Comparing and deleting, and comparing and extending, are transactions then,
    /// or `DELIFEQ`, where the server has that (Valkey, from 9.0 on): what holds of a lock and its lease holds as before, and
    /// locks exclude those of stores with scripts, and the other way round. What a transaction cannot do is refused, and not
    /// done in a weaker way:
    ///
    /// - [fencing tokens](crate::guide::fencing), and [several keys](crate::LockManager::lock_many) at once, are
    ///   [`LockError::Invalid`](crate::LockError::Invalid);
    /// - there is no line between processes: whoever waits asks every now and then. Those who stand in the line of a store with
    ///   scripts are not called when a lock is given back from here, and find it free within a second;
    /// - a clean-up behind a request whose answer was lost takes two messages, and the second depends on the answer to the
    ///   first: a server that was stopped, and comes back when this process is gone, may keep such a lock until its TTL is over.
    ///
    /// By transactions, a lock that is given back or extended costs a round trip more, one after the other on each connection:
    /// two thirds of the throughput of one task, and some thousands a second at most. By `DELIFEQ`, giving back is faster than by a
    /// script.
    ///
    /// The user needs `+ping +set +getex +pttl +del +pexpire +watch +multi +exec`, and may use `+delifeq`. The server is Redis from
    /// 6.2 on, or Valkey.
    ///
    /// ```
    /// use lock_runtime::LockManager;
    /// use lock_runtime::store::redis::RedisStore;
    ///
    /// # fn main() -> Result<(), lock_runtime::SetupError> {
    /// let store = RedisStore::open("redis://127.0.0.1/")?.without_scripts()?;
    /// let locks = LockManager::builder(store).build();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] in a cluster, where a watch does not follow a slot to another node.
    pub fn without_scripts(self) -> Result<Self, SetupError> {
        if self.nodes.is_cluster() {
            let reason = "in a cluster, locks take scripts: a watch does not follow a slot to another node";
            return Err(SetupError::Address { reason: reason.into() });
        }
        Ok(self.with(|settings| settings.without_scripts = true))
    }

    /// How long one operation may take before it counts as unanswered; 1 s unless told.
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.operation = timeout)
    }

    /// How long making a connection may take; 1 s unless told.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeouts.connect = timeout)
    }

    /// Asks the server for a sign of life; in a cluster, every node that has slots.
    ///
    /// # Errors
    ///
    /// [`SetupError::Unreachable`] when it gives none in time, or refuses us.
    ///
    /// # Cancellation
    ///
    /// Safe to drop.
    pub async fn ping(&self) -> Result<(), SetupError> {
        let unreachable = |source| SetupError::Unreachable { source };
        for pool in self.nodes.all().await.map_err(unreachable)? {
            let link = pool.link().await.map_err(unreachable)?;
            link.ask(&redis::cmd("PING")).await.map_err(|fault| unreachable(fault.into_error()))?;
        }
        Ok(())
    }

    fn with(mut self, change: impl Fn(&mut Settings)) -> Self {
        self.nodes = Arc::new(self.nodes.with(change));
        self.replicas = self.replicas.and_then(|replicas| replicas.of(&self.nodes));
        self
    }
}
