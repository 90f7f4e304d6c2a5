//! A release that comes late, twice, or whose answer is lost.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::Store;
use lock_runtime::store::redis::RedisStore;
use lock_tests::{Conduct, Proxy, RedisServer, Way, command, eventually};

use crate::{AT_ONCE, PATIENCE, TTL, connect, executed, impatient, in_time, locked, warm_up};

/// Promise: a release that comes after the lease has ended leaves the new holder's lock alone, and says that the lock was
/// lost.
///
/// Turned red by: a release by bare `DEL`.
#[tokio::test]
async fn row_17_release_after_expiry() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (ours, theirs) = (connect(&server).await, connect(&server).await);
    for release in [true, false] {
        let late = ours.lock("late").ttl(Duration::from_millis(50)).acquire().await.expect("the lock");
        let new = theirs.lock("late").ttl(TTL).wait(TTL).acquire().await.expect("the expired lock");
        let held = admin.get("late");
        if release {
            let error = late.release().await.expect_err("it was not ours any more");
            assert!(error.is_lost(), "{error}");
        } else {
            drop(late);
            // Goes down the same connection, behind the release.
            let fence = ours.lock("fence").ttl(TTL).acquire().await.expect("the fence");
            fence.release().await.expect("released");
        }
        assert_eq!(admin.get("late"), held);
        new.release().await.expect("still theirs");
    }
}

/// Promise: a release that the network delivers only during the next hold of the same process, by the same manager, leaves that
/// hold alone: its token is another.
///
/// Turned red by: a token for each process or manager; a release by bare `DEL`.
#[tokio::test]
async fn row_18_delayed_release_during_the_next_hold() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = impatient(&proxy.url());
    warm_up(&locks).await;
    let first = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let late = proxy.next(Way::Requests, command("EVALSHA"), Conduct::Hold);
    let error = in_time("the release", first.release()).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    assert!(late.has_happened());

    // Freed by the clean-up, on another connection.
    let second = locks.lock("held").ttl(TTL).wait(TTL).acquire().await.expect("the next hold");
    assert!(proxy.connections() > 1);
    let (held, before) = (admin.get("held"), executed(&mut admin, "evalsha"));
    late.let_go().await;
    eventually("the late release is executed", AT_ONCE, || executed(&mut admin, "evalsha") > before).await;
    assert_eq!(admin.get("held"), held);
    second.extend(2 * TTL).await.expect("still ours");
    second.release().await.expect("still ours");
}

/// Promise: when the answer to a release is lost, the body's value is returned all the same, and the lock is free: the release is
/// repeated, and that the repetition finds nothing is no loss.
///
/// Turned red by: returning the release's error; a release that is not repeated; taking the second answer for *lost*.
#[tokio::test]
async fn row_19_release_reply_lost() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    // Before the answer, in the middle of it, and after it; with an orderly end, with a reset, with none.
    for fault in [Conduct::CutAfter(0), Conduct::CutAfter(2), Conduct::CutAfter(100), Conduct::Reset, Conduct::HalfOpen]
    {
        for by_hand in [false, true] {
            // Connections of its own, so that no fault meets the clean-up behind another.
            let store = RedisStore::open(&proxy.url()).expect("a good address").operation_timeout(PATIENCE);
            let locks = LockManager::builder(store.clone()).build();
            warm_up(&locks).await;
            let lost = if by_hand {
                let guard = locks.lock("work").ttl(TTL).acquire().await.expect("the lock");
                let lost = proxy.next(Way::Replies, command("EVALSHA"), fault);
                match in_time("the release", guard.release()).await {
                    Ok(()) => assert_eq!(fault, Conduct::CutAfter(100), "the answer was lost"),
                    // That the answer was lost, and not that the lock was.
                    Err(error) => assert!(error.is_unavailable(), "{fault:?}: {error}"),
                }
                lost
            } else {
                let lost = proxy.next(Way::Replies, command("EVALSHA"), fault);
                let result = in_time("the call", locked(&locks, async { "the result" })).await;
                assert_eq!(result.expect("its value"), "the result", "{fault:?}");
                lost
            };
            assert!(lost.has_happened(), "{fault:?}");
            in_time("the clean-up", store.drain()).await;
            assert!(!admin.exists("work"), "{fault:?}");
        }
    }
}

/// As above, where it is the request that never arrives: the repetition then frees the lock.
///
/// Turned red by: a release that is not repeated.
#[tokio::test]
async fn row_19_release_lost() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    warm_up(&locks).await;
    for fault in [Conduct::CutAfter(0), Conduct::CutAfter(20), Conduct::Reset] {
        let lost = proxy.next(Way::Requests, command("EVALSHA"), fault);
        assert_eq!(in_time("the call", locked(&locks, async { "the result" })).await.expect("its value"), "the result");
        assert!(lost.has_happened(), "{fault:?}");
        // At once, and not in the background: the caller waits for the repetition.
        assert!(!admin.exists("work"), "{fault:?}");
    }
}
