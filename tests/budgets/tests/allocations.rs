//! An allocation more on the path that every lock takes is a decision, and is made here.

use std::alloc::System;
use std::time::Duration;

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisServer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TTL: Duration = Duration::from_secs(10);

/// Pairs that dial, have the server remember the script, and let buffers grow to their size.
const WARM_UP: u32 = 50;

const PAIRS: u32 = 2_000;

#[distributed_lock(key = "attribute:{number}", ttl = TTL, manager = manager)]
async fn locked(manager: &LockManager, number: u32) -> Result<(), LockError> {
    Ok(())
}

async fn by_attribute(manager: &LockManager) {
    locked(manager, 0).await.expect("a free lock");
}

async fn by_builder(manager: &LockManager) {
    let guard = manager.lock("builder").ttl(TTL).acquire().await.expect("a free lock");
    guard.release().await.expect("a lock of our own");
}

/// How often is allocated for one acquire + release, growing included: on one thread, which has nothing else to do.
fn allocations(manager: &LockManager, pair: &impl AsyncFn(&LockManager)) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..WARM_UP {
            pair(manager).await;
        }
        let region = Region::new(ALLOCATOR);
        for _ in 0..PAIRS {
            pair(manager).await;
        }
        let change = region.change();
        let count = u32::try_from(change.allocations + change.reallocations).expect("a number");
        f64::from(count) / f64::from(PAIRS)
    })
}

#[test]
fn acquire_and_release_stay_within_their_budget() {
    let server = RedisServer::start();
    let redis = || LockManager::connect_lazy(&server.url()).expect("a URL");
    let counts = [
        ("builder", allocations(&redis(), &by_builder), 16.0),
        ("attribute", allocations(&redis(), &by_attribute), 19.0),
        ("builder, in memory", allocations(&LockManager::in_memory(), &by_builder), 8.0),
        ("attribute, in memory", allocations(&LockManager::in_memory(), &by_attribute), 11.0),
    ];
    println!("{counts:#?}");
    for (who, count, budget) in counts {
        // A buffer that grows now and then is no change of the path.
        assert!(count < budget + 0.5, "{who}: {count} allocations, of at most {budget}");
    }
}
