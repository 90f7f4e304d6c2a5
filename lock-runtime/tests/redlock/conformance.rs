//! The conformance suite, over one, three, four and five nodes.

use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::test_util::Faults;
use lock_runtime::test_util::conformance::Fixture;

use crate::nodes::Nodes;

struct Memories<const N: usize>(Nodes);

impl<const N: usize> Fixture for Memories<N> {
    type Store = Redlock<Faults<MemoryStore>>;

    async fn new() -> Self {
        Self(Nodes::new(N))
    }

    fn store(&self) -> Self::Store {
        self.0.redlock()
    }

    async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
        for node in &self.0.memories {
            node.put(key, value, ttl);
        }
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.0.value(key)
    }

    async fn time_left(&self, key: &str) -> Option<Duration> {
        self.0.time_left(key)
    }
}

mod one {
    lock_runtime::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::Memories<1>
    );
}

mod three {
    lock_runtime::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::Memories<3>
    );
}

mod four {
    lock_runtime::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::Memories<4>
    );
}

mod five {
    lock_runtime::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::Memories<5>
    );
}
