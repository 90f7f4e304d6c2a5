//! Locks on a master that sentinels watch: one master, two replicas and three sentinels, as processes of the test's own.

mod finding;
mod following;
mod hearing;
mod losing;
mod partitions;
mod replicas;

use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::Sentinels;

/// Far longer than any of these tests may take: what is freed is freed by a release, and not by its expiry.
const TTL: Duration = Duration::from_secs(60);

/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// How long sentinels may take to notice that a master is gone, and to put another in its place.
const FAILOVER: Duration = Duration::from_secs(30);

#[distributed_lock(key = key, ttl = TTL, wait = FAILOVER, manager = locks)]
async fn locked<T>(locks: &LockManager, key: &str, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

async fn connect(sentinels: &Sentinels) -> LockManager {
    LockManager::connect(&sentinels.url()).await.expect("connect")
}

fn store(sentinels: &Sentinels) -> RedisStore {
    RedisStore::open(&sentinels.url()).expect("a good address")
}
