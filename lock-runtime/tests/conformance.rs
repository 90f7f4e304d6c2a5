//! The memory store under the conformance suite, on paused time. (Redis stores: in the workspace's `tests`.)
#![cfg(feature = "test-util")]

use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::test_util::conformance::Fixture;

struct Memory(MemoryStore);

impl Fixture for Memory {
    type Store = MemoryStore;

    async fn new() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&self) -> MemoryStore {
        self.0.clone()
    }

    async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
        self.0.put(key, value, ttl);
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.0.get(key)
    }

    async fn time_left(&self, key: &str) -> Option<Duration> {
        self.0.time_left(key)
    }
}

lock_runtime::conformance_tests!(
    #[tokio::test(start_paused = true)]
    Memory
);
