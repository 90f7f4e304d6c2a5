//! Many keys, each used once: what of them stays in memory.

use std::alloc::System;
use std::time::Duration;

use lock_runtime::LockManager;
use lock_tests::RedisServer;
use stats_alloc::StatsAlloc;
use tokio::runtime::Builder;

/// How many tasks go through the keys side by side. Each key is wanted by two of them.
const PAIRS: u64 = 4;

/// What was live before the keys and after each tenth of them, in bytes.
#[derive(Debug, Clone)]
pub struct Live {
    /// How many keys.
    pub keys: u64,
    /// Before the first.
    pub before: usize,
    /// After each tenth.
    pub after: Vec<usize>,
}

impl Live {
    /// How much more is live at the end, or was at the worst moment that was looked at, than before.
    #[must_use]
    pub fn growth(&self) -> usize {
        self.after.iter().max().map_or(0, |most| most.saturating_sub(self.before))
    }
}

/// Locks so many keys in memory, and so many on a Redis server; `allocator` is the global one of the program.
///
/// # Panics
///
/// When there is no `redis-server`.
#[must_use]
pub fn keys(allocator: &StatsAlloc<System>, in_memory: u64, on_redis: u64) -> [(&'static str, Live); 2] {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let server = RedisServer::start();
    runtime.block_on(async {
        let redis = LockManager::connect(&server.url()).await.expect("the server is there");
        let memory = live(allocator, &LockManager::in_memory(), in_memory).await;
        let redis = live(allocator, &redis, on_redis).await;
        [("in memory", memory), ("on Redis", redis)]
    })
}

async fn live(allocator: &StatsAlloc<System>, manager: &LockManager, keys: u64) -> Live {
    let tenth = keys / 10;
    let bytes = || {
        let stats = allocator.stats();
        stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
    };
    // What is made once is there from here on.
    walk(manager, keys, keys + tenth).await;
    let before = bytes();
    let mut after = Vec::new();
    for n in 0..10 {
        walk(manager, n * tenth, (n + 1) * tenth).await;
        after.push(bytes());
    }
    Live { keys, before, after }
}

/// Locks the keys from `first` to before `end`, each twice.
async fn walk(manager: &LockManager, first: u64, end: u64) {
    let tasks = (0..2 * PAIRS).map(|task| {
        let manager = manager.clone();
        tokio::spawn(async move {
            let mut key = first + task / 2;
            while key < end {
                let asked = manager.lock(format!("key:{key}")).ttl(Duration::from_secs(10));
                let guard = asked.wait(Duration::from_secs(10)).acquire().await.expect("in time");
                guard.release().await.expect("ours");
                key += PAIRS;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("the task");
    }
}
