//! Locks of several keys on a real server: all or nothing, lost as a whole, and given back whatever happens to the caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::{Attempt, Claim, Done};
use lock_runtime::{LockError, LockGuard, LockManager, LostCause, Store, distributed_lock};
use lock_tests::{Admin, Moment, RedisServer, drop_after, eventually};

const TTL: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::from_secs(5);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
}

async fn all(locks: &LockManager, keys: &[&str]) -> Result<LockGuard, LockError> {
    locks.lock_many(keys.iter().copied()).ttl(TTL).acquire().await
}

/// Promise: a part of a lock is no lock. One key of three is deleted: whoever finds out gives the others back at once, whether the
/// guard is dropped or not: the caller by an extension, the keeper by a renewal.
///
/// Turned red by: a loss that is only noted; a release script that deletes nothing when something is missing.
#[tokio::test]
async fn when_one_key_is_gone_the_others_are_given_back_at_once() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let request = locks.lock_many(["a", "b", "c"]).ttl(TTL);

    let guard = request.clone().acquire().await.expect("free");
    assert!(admin.delete("b"), "it was held");
    assert!(guard.extend(2 * TTL).await.expect_err("a part is gone").is_lost());
    eventually("the others are given back", AT_ONCE, || admin.keys().is_empty()).await;
    assert!(guard.release().await.expect_err("it is gone").is_lost());

    let guard = request.renew_every(Duration::from_millis(50)).acquire().await.expect("free");
    assert!(admin.delete("c"), "it was held");
    assert_eq!(guard.lost().await, LostCause::Gone);
    eventually("the others are given back", AT_ONCE, || admin.keys().is_empty()).await;
    drop(guard);
}

/// Promise: the same under the attribute: the body is dropped at its await, and nothing is left of its lock. Another's key stays.
#[tokio::test]
async fn a_body_that_lost_one_key_is_dropped_and_its_other_keys_are_given_back() {
    #[distributed_lock(keys = ["from:{from}", "to:{to}"], ttl = "60s", renew = "50ms", manager = locks)]
    async fn transfer(
        locks: &LockManager,
        from: u64,
        to: u64,
        began: Arc<tokio::sync::Notify>,
    ) -> Result<(), LockError> {
        began.notify_one();
        std::future::pending().await
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let began = Arc::new(tokio::sync::Notify::new());
    let call = tokio::spawn({
        let began = began.clone();
        async move { transfer(&locks, 7, 3, began).await }
    });
    began.notified().await;
    assert!(admin.exists("from:7") && admin.exists("to:3"));
    admin.set("from:7", "somebody else", &["PX", "60000"]);
    let error = call.await.expect("no panic").expect_err("it was lost");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, completed: false, .. }), "{error}");
    eventually("the other key is given back", AT_ONCE, || !admin.exists("to:3")).await;
    assert_eq!(admin.get("from:7").as_deref(), Some("somebody else"));
}

/// Promise: wherever an acquisition of several keys is dropped, none of them stays; nor where the token was chosen.
///
/// Turned red by: a clean-up of the first key alone.
#[tokio::test]
async fn a_dropped_acquisition_leaves_none_of_its_keys() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let request = locks.lock_many(["a", "b", "c"]).ttl(TTL);
    for request in [request.clone(), request.token(TOKEN)] {
        for moment in [Moment::Pending, Moment::Woken] {
            let mut polls = 0;
            loop {
                let outcome = drop_after(polls, moment, request.clone().acquire()).await;
                let finished = outcome.is_some();
                drop(outcome);
                // Behind everything that was sent so far, on the same connection.
                locks.lock("behind").ttl(TTL).acquire().await.expect("free").release().await.expect("ours");
                let what = format!("nothing stays after poll {polls}, {moment:?}");
                eventually(&what, AT_ONCE, || admin.keys().is_empty()).await;
                if finished {
                    break;
                }
                polls += 1;
            }
            assert!(polls > 0, "nothing was dropped");
        }
    }
}

/// Promise (row 7 of the edge cases): a key of another type, alone or among others, is no lock and no endless *busy*; what is
/// locked and becomes one is lost, and is left alone.
///
/// Turned red by: a script that stops at the error of one key, or takes it for one that is free.
#[tokio::test]
async fn row_07_a_key_of_another_type() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    admin.command::<()>(&["RPUSH", "list", "x"]);
    for keys in [&["list"][..], &["a", "list", "z"]] {
        match locks.lock_many(keys.iter().copied()).ttl(TTL).wait(TTL).acquire().await {
            Err(LockError::ForeignKey { key, .. }) => assert_eq!(key.as_str(), "list"),
            other => panic!("{other:?}"),
        }
        assert_eq!(admin.keys(), ["list"], "nothing else was taken");
    }

    let becomes_one = |admin: &mut Admin| {
        admin.delete("b");
        admin.command::<()>(&["RPUSH", "b", "x"]);
    };
    for way in 0..3 {
        let guard = all(&locks, &["a", "b", "c"]).await.expect("free");
        becomes_one(&mut admin);
        match way {
            0 => assert!(guard.extend(TTL).await.expect_err("it is gone").is_lost()),
            1 => assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO),
            _ => assert!(guard.release().await.expect_err("it is gone").is_lost()),
        }
        eventually("the others are given back", AT_ONCE, || !admin.exists("a") && !admin.exists("c")).await;
        assert_eq!(admin.command::<Vec<String>>(&["LRANGE", "b", "0", "-1"]), ["x"]);
        admin.delete("b");
    }
}

/// Promise: whatever keys callers of several clients ask for, alone and together and in any order, two who hold a key never do so
/// at the same time, and all get what they wait for.
///
/// Turned red by: keys that are taken one by one; a claim that is taken when one of its keys is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_with_overlapping_keys_take_turns() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    const CALLERS: u64 = 120;
    let server = RedisServer::start();
    let mut managers = Vec::new();
    for _ in 0..3 {
        managers.push(connect(&server).await);
    }
    let inside: Arc<Mutex<HashMap<&str, u64>>> = Arc::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            // In any order, but not at random: a failure must come again.
            let (mut seed, mut keys) = (caller.wrapping_mul(0x9e37_79b9_7f4a_7c15), Vec::new());
            for _ in 0..=(caller % 4) {
                seed = seed.rotate_left(13).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                keys.push(NAMES[usize::try_from(seed % 6).unwrap_or(0)]);
            }
            let manager = managers[usize::try_from(caller % 3).unwrap_or(0)].clone();
            let inside = inside.clone();
            tokio::spawn(async move {
                let guard = if let [key] = *keys {
                    manager.lock(key).ttl(TTL).wait(TTL).acquire().await
                } else {
                    manager.lock_many(keys.clone()).ttl(TTL).wait(TTL).acquire().await
                };
                let guard = guard.unwrap_or_else(|error| panic!("caller {caller} of {keys:?}: {error}"));
                keys.sort_unstable();
                keys.dedup();
                for key in &keys {
                    let other = inside.lock().expect("no panic").insert(key, caller);
                    assert_eq!(other, None, "two hold {key}: {caller}");
                }
                tokio::time::sleep(Duration::from_millis(seed % 5)).await;
                for key in &keys {
                    assert_eq!(inside.lock().expect("no panic").remove(key), Some(caller));
                }
                guard.release().await.expect("ours");
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("it had its turn");
    }
    assert_eq!(server.admin().keys(), [""; 0]);
}

/// Promise: the server may forget its scripts between any two operations; a thousand keys are one request; and the clean-up of a
/// lock that nobody waits for frees all of them.
#[tokio::test]
async fn a_thousand_keys_are_one_lock() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let keys: Vec<String> = (0..1000).map(|number| format!("key:{number:04}")).collect();
    let request = locks.lock_many(&keys).ttl(TTL).fence();
    admin.forget_scripts();
    let guard = request.clone().acquire().await.expect("free");
    assert_eq!(guard.keys().len(), 1000);
    let fence = guard.fence();
    admin.forget_scripts();
    guard.extend(2 * TTL).await.expect("ours");
    admin.forget_scripts();
    assert!(guard.ttl().await.expect("an answer") > TTL);
    admin.forget_scripts();
    guard.release().await.expect("ours");
    let guard = request.acquire().await.expect("free");
    assert!(guard.fence() > fence);
    drop(guard);
    eventually("all of them are given back", AT_ONCE, || admin.keys().len() == 1).await;
}

/// Promise: a lock that is taken over under a chosen token goes to the newest. A request of before that comes late replaces nothing,
/// and its clean-up, and the release of whoever held the lock before, delete nothing.
///
/// Turned red by: replacing whatever begins with the token; storing the same value for each acquisition under it.
#[tokio::test]
async fn what_comes_late_under_the_same_token_changes_nothing() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let store = RedisStore::open(&server.url()).expect("a good URL");
    let claim = |replaces: &[&Claim]| {
        let mut claim = Claim::new("a".into(), TTL, "".into());
        claim.keys = Arc::new(["a".into(), "b".into()]);
        claim.replaces = replaces.iter().map(|claim| claim.value()).collect();
        claim
    };
    let first = claim(&[]);
    assert!(matches!(store.acquire(&first).await, Ok(Attempt::Acquired { .. })));
    let (late, newest) = (claim(&[&first]), claim(&[&first]));
    assert!(matches!(store.acquire(&newest).await, Ok(Attempt::Acquired { .. })));
    assert!(matches!(store.acquire(&late).await, Ok(Attempt::Busy { .. })));
    for old in [&first, &late] {
        assert!(!store.release(old).await.expect("an answer"));
        store.abandon(old.clone(), Done::nothing());
    }
    store.drain().await;
    assert_eq!((admin.get("a"), admin.get("b")), (Some(newest.value()), Some(newest.value())));
}

/// Promise: under a chosen token a restarted owner does not wait for the lease of its former self; others do.
#[tokio::test]
async fn an_owner_that_was_restarted_has_its_lock_back() {
    let server = RedisServer::start();
    let before = connect(&server).await;
    let crashed = before.lock_many(["a", "b"]).ttl(TTL).token(TOKEN).acquire().await.expect("free");
    std::mem::forget(crashed);
    let after = connect(&server).await;
    assert!(after.lock_many(["a", "b"]).ttl(TTL).acquire().await.expect_err("held").is_busy());
    let started = Instant::now();
    let guard = after.lock_many(["b", "a"]).ttl(TTL).token(TOKEN).wait(TTL).acquire().await.expect("its own");
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert!(before.lock("b").ttl(TTL).acquire().await.expect_err("held").is_busy());
    guard.release().await.expect("ours");
    assert_eq!(server.admin().keys(), [""; 0]);
}

/// Promise: no text of ours shows a token that was chosen, not even one that cannot be one.
#[tokio::test]
async fn a_chosen_token_is_shown_nowhere() {
    let locks = LockManager::in_memory();
    let secret = "s3cret-s3cret-s3cret-s3cret-s3cr";
    let request = locks.lock("a").ttl(TTL).token(secret);
    let error = request.clone().acquire().await.expect_err("no token");
    for text in [format!("{request:?}"), error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let request = locks.lock("a").ttl(TTL).token(TOKEN);
    let guard = request.clone().acquire().await.expect("free");
    let busy = locks.lock("a").ttl(TTL).acquire().await.expect_err("held");
    for text in [format!("{request:?}"), format!("{guard:?}"), busy.to_string(), format!("{busy:?}")] {
        assert!(!text.contains(&TOKEN[..7]), "{text}");
    }
}
