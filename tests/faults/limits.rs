//! Calls that ask for what cannot be.

use std::time::Duration;

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisServer;

use crate::{AT_ONCE, TTL, connect, in_time, locked};

/// Promise: a ttl of zero, one that rounds to zero, and one beyond all bounds are refused before anything is sent, wherever they
/// come from. (`PEXPIRE key 0` would delete the key and call it success. A literal is refused by the compiler: `tests/ui`.)
///
/// Turned red by: a ttl that is cast to milliseconds unchecked.
#[tokio::test]
async fn row_55_ttl_beyond_all_bounds() {
    #[distributed_lock(key = "bounds", ttl = ttl, manager = locks)]
    async fn never(locks: &LockManager, ttl: Duration) -> Result<(), LockError> {
        panic!("with a lease of {ttl:?}")
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let held = guard.remaining();
    let before = admin.command_counts();
    for ttl in [
        Duration::ZERO,
        Duration::from_micros(1),
        Duration::from_micros(900),
        Duration::from_millis(9),
        Duration::from_secs(31 * 24 * 60 * 60),
        Duration::from_millis(u64::MAX),
        Duration::MAX,
    ] {
        let outcomes = [
            never(&locks, ttl).await,
            locks.lock("bounds").ttl(ttl).acquire().await.map(drop),
            guard.extend(ttl).await,
            guard.set_ttl(ttl).await,
        ];
        for outcome in outcomes {
            let error = outcome.expect_err("refused");
            assert!(matches!(error, LockError::Invalid { .. }), "{ttl:?}: {error}");
        }
    }
    let mut after = admin.command_counts();
    after.insert("info".to_owned(), before.get("info").copied().unwrap_or_default());
    let mut before = before;
    before.entry("info".to_owned()).or_default();
    assert_eq!(before, after, "something was sent");
    assert!(guard.remaining() <= held && guard.remaining() > TTL / 2);
    guard.release().await.expect("still ours");
}

/// Promise: a call inside of another that holds the same lock is refused at once, however long it would wait, and is never taken
/// for *busy*; the outer call goes on undisturbed.
///
/// Turned red by: no look at the bodies that enclose a call.
#[tokio::test]
async fn row_56_nested_call_on_the_same_key() {
    #[distributed_lock(key = "work", ttl = TTL, wait = TTL, manager = locks)]
    async fn inner(locks: &LockManager) -> Result<(), LockError> {
        panic!("two bodies at once")
    }

    #[distributed_lock(key = "depth", ttl = TTL, wait = TTL, manager = locks)]
    async fn recursive(locks: &LockManager, depth: u32) -> Result<u32, LockError> {
        match Box::pin(recursive(locks, depth + 1)).await {
            Err(LockError::AlreadyHeld { .. }) => Ok(depth),
            other => other,
        }
    }

    let server = RedisServer::start();
    let locks = connect(&server).await;
    let nested = async {
        let error = inner(&locks).await.expect_err("it would wait for itself");
        assert!(matches!(error, LockError::AlreadyHeld { .. }), "{error}");
        "undisturbed"
    };
    assert_eq!(in_time("the call", locked(&locks, nested)).await.expect("the lock"), "undisturbed");
    assert_eq!(in_time("the recursion", recursive(&locks, 0)).await.expect("the lock"), 0);

    // In a task of its own it is an ordinary busy caller, and learns that this very process is in the way.
    let spawned = async {
        let others = locks.clone();
        tokio::spawn(async move { others.lock("work").ttl(TTL).wait(AT_ONCE / 20).acquire().await }).await
    };
    let outcome = in_time("the call", locked(&locks, spawned)).await.expect("the lock").expect("no panic");
    match outcome.expect_err("it is held") {
        LockError::Busy(busy) => assert!(busy.holder.is_some_and(|holder| holder.this_process)),
        error => panic!("{error}"),
    }
}
