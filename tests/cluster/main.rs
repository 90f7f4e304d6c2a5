//! Locks in a Redis Cluster: three masters, and replicas where they are needed, as processes of the test's own.

mod changing;
mod keys;
mod lines;
mod moving;
mod nodes;
mod users;

use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisCluster;

/// Far longer than any of these tests may take: what is freed is freed by a release, and not by its expiry.
const TTL: Duration = Duration::from_secs(60);

/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How long a cluster may take to notice that a node is gone, and to put another in its place.
const FAILOVER: Duration = Duration::from_secs(30);

#[distributed_lock(key = key, ttl = TTL, wait = FAILOVER, manager = locks)]
async fn locked<T>(locks: &LockManager, key: &str, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

async fn connect(cluster: &RedisCluster) -> LockManager {
    LockManager::connect(&cluster.url()).await.expect("connect")
}

fn store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::open(&cluster.url()).expect("a good address")
}

/// A node that does not have the slot.
fn another(node: usize) -> usize {
    (node + 1) % 3
}
