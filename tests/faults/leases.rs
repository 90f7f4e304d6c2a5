//! A body that comes to the end of its lease.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisServer;

use crate::{TTL, connect, in_time};

/// Promise: a body ends with its lease; it is dropped at its current await, and the caller learns of the loss. The new holder's
/// lock stays.
///
/// Turned red by: believing in the lease for longer than its ttl.
#[tokio::test]
async fn a_body_ends_with_its_lease() {
    #[distributed_lock(key = "lease", ttl = "200ms", manager = locks)]
    async fn endless(locks: &LockManager) -> Result<(), LockError> {
        std::future::pending().await
    }

    let server = RedisServer::start();
    let (ours, theirs) = (connect(&server).await, connect(&server).await);
    let started = Instant::now();
    let error = in_time("the loss", endless(&ours)).await.expect_err("the lease ended");
    let took = started.elapsed();
    assert!(matches!(error, LockError::Lost { completed: false, .. }), "{error}");
    assert!(took > Duration::from_millis(150), "{took:?}");
    let new = theirs.lock("lease").ttl(TTL).wait(TTL).acquire().await.expect("the next");
    new.release().await.expect("nobody else released it");
}

/// Promise: a body is never polled past its lease, although it is ready to go on at that very moment: here the thread is blocked
/// for longer than the lease after the body has asked to be polled again, as when the process is paused.
///
/// Turned red by: polling the body before looking at the clock.
#[tokio::test]
async fn row_11_executor_blocked_between_two_polls() {
    #[distributed_lock(key = "lease", ttl = "100ms", manager = locks)]
    async fn body(locks: &LockManager, step: &Cell<u32>) -> Result<(), LockError> {
        step.set(1);
        tokio::task::yield_now().await;
        step.set(2);
        Ok(())
    }

    let server = RedisServer::start();
    let locks = connect(&server).await;
    let step = Cell::new(0);
    let block = async {
        while step.get() == 0 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_millis(150));
    };
    // In this order in every round: the block comes right after the poll in which the body has asked for another.
    let (outcome, ()) = tokio::join!(biased; body(&locks, &step), block);
    let error = outcome.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { completed: false, .. }), "{error}");
    assert_eq!(step.get(), 1);
}

/// Promise: a body that came to its end, but only after its lease, does not count as a success; and one that blocked and then awaits
/// does not come out of that await.
///
/// Turned red by: returning the result of a body without a look at the clock.
#[tokio::test]
async fn row_11_executor_blocked_by_the_body() {
    #[distributed_lock(key = "lease", ttl = "100ms", manager = locks)]
    async fn late(locks: &LockManager) -> Result<(), LockError> {
        // What no body should do: nothing can end this poll.
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    #[distributed_lock(key = "lease", ttl = "100ms", manager = locks)]
    async fn later(locks: &LockManager, went_on: &Cell<bool>) -> Result<(), LockError> {
        std::thread::sleep(Duration::from_millis(150));
        tokio::task::yield_now().await;
        went_on.set(true);
        Ok(())
    }

    let server = RedisServer::start();
    let locks = connect(&server).await;
    let error = late(&locks).await.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { completed: true, .. }), "{error}");

    let went_on = Cell::new(false);
    let error = later(&locks, &went_on).await.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { completed: false, .. }), "{error}");
    assert!(!went_on.get());
}
