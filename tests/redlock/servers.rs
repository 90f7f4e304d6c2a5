//! Independent servers, and locks on a majority of them.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::redlock::Redlock;
use lock_tests::RedisServer;

/// A node has a twentieth of it: 100 ms.
pub(crate) const TTL: Duration = Duration::from_secs(2);
pub(crate) const LIMIT: Duration = Duration::from_millis(100);

/// For what only a busy machine makes slow.
pub(crate) const SLACK: Duration = Duration::from_millis(500);

/// Several servers that know nothing of each other.
pub(crate) struct Servers(pub(crate) Vec<RedisServer>);

impl Servers {
    pub(crate) fn start(count: usize) -> Self {
        Self((0..count).map(|_| RedisServer::start()).collect())
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.0.iter().map(RedisServer::url).collect()
    }

    /// What one process has.
    pub(crate) async fn locks(&self) -> LockManager {
        LockManager::redlock(self.urls()).await.expect("a majority of independent servers")
    }

    /// The same, of which nobody has asked anything yet.
    pub(crate) fn store(&self) -> Redlock<RedisStore> {
        let nodes = self.urls().into_iter().map(|url| RedisStore::open(&url).expect("a good address"));
        Redlock::new(nodes.collect::<Vec<_>>()).expect("there are nodes")
    }

    /// On how many servers `key` is, of those that answer.
    pub(crate) fn held(&self, key: &str) -> usize {
        self.0.iter().filter_map(RedisServer::try_admin).map(|mut admin| usize::from(admin.exists(key))).sum()
    }

    /// How often each server has carried out `command`.
    pub(crate) fn counts(&self, command: &str) -> Vec<u64> {
        let count = |server: &RedisServer| server.admin().command_counts().get(command).copied().unwrap_or_default();
        self.0.iter().map(count).collect()
    }
}
