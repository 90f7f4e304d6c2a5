//! Nodes in memory, each with faults of its own.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::test_util::Faults;

/// Several stores in memory, and a door before each of them.
pub(crate) struct Nodes {
    pub(crate) memories: Vec<MemoryStore>,
    pub(crate) doors: Vec<Faults<MemoryStore>>,
}

impl Nodes {
    pub(crate) fn new(count: usize) -> Self {
        let memories: Vec<_> = (0..count).map(|_| MemoryStore::new()).collect();
        let doors = memories.iter().cloned().map(Faults::new).collect();
        Self { memories, doors }
    }

    /// What one process has: its own locks, over the same nodes.
    pub(crate) fn redlock(&self) -> Redlock<Faults<MemoryStore>> {
        Redlock::new(self.doors.clone()).expect("there are nodes")
    }

    pub(crate) fn locks(&self) -> LockManager {
        LockManager::builder(self.redlock()).build()
    }

    pub(crate) fn quorum(&self) -> usize {
        self.memories.len() / 2 + 1
    }

    /// The value of `key` on each node.
    pub(crate) fn values(&self, key: &str) -> Vec<Option<String>> {
        self.memories.iter().map(|node| node.get(key)).collect()
    }

    /// The value that a majority has.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let values = self.values(key);
        let is_held = |value: &&Option<String>| {
            value.is_some() && values.iter().filter(|other| other == value).count() >= self.quorum()
        };
        values.iter().find(is_held).cloned().flatten()
    }

    /// How many nodes have something under `key`.
    pub(crate) fn held(&self, key: &str) -> usize {
        self.values(key).iter().flatten().count()
    }

    /// For how long a majority keeps `key`.
    pub(crate) fn time_left(&self, key: &str) -> Option<Duration> {
        let mut left: Vec<_> = self.memories.iter().filter_map(|node| node.time_left(key)).collect();
        left.sort_unstable();
        left.into_iter().rev().nth(self.quorum() - 1)
    }
}
