//! An acquisition whose request or answer is late or lost.

use std::time::{Duration, Instant};

use lock_runtime::LockManager;
use lock_tests::{Conduct, Proxy, RedisServer, Way, command, eventually};

use crate::{AT_ONCE, DEADLINE, TTL, connect, executed, impatient, in_time, locked, ms, warm_up, worker};

/// Promise: when the answer to a `SET` that was carried out is lost, nobody knows who holds the lock: the call is *unavailable* and
/// never *busy*, the body does not run, and a clean-up on the same connection frees the key.
///
/// Turned red by: no clean-up after an unanswered `SET`; one on another connection; taking a silence for *busy*.
#[tokio::test]
async fn row_01_set_applied_but_its_reply_lost() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = impatient(&proxy.url());
    warm_up(&locks).await;

    let lost = proxy.next(Way::Replies, command("SET"), Conduct::Hold);
    let mut ran = false;
    let error = in_time("the call", locked(&locks, async { ran = true })).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    assert!(!ran && lost.has_happened());
    // While no answer of that connection comes through.
    eventually("the clean-up", AT_ONCE, || !admin.exists("work")).await;
    let requests = proxy.requests(0);
    assert!(requests.ends_with(&["SET".to_owned(), "EVAL".to_owned()]), "{requests:?}");

    // Whoever waits gets it, on a new connection, and does not take himself for somebody else.
    assert_eq!(locked(&locks, async { "free" }).await.expect("the lock"), "free");
    let index = proxy.connections() - 1;
    let lost_again = proxy.next(Way::Replies, command("SET"), Conduct::Hold);
    let guard = locks.lock("work").ttl(TTL).wait(TTL).acquire().await.expect("the lock, in the end");
    assert!(lost_again.has_happened() && proxy.connections() > index + 1);
    guard.release().await.expect("ours");
}

/// Promise: a `SET` that is executed only after its caller gave up (the server hung, then went on) does not hold the lock for its
/// ttl: a clean-up follows it down the same connection.
///
/// Turned red by: no clean-up after an unanswered `SET`, or one that is given up with its caller.
#[tokio::test]
async fn row_02_set_reaches_the_server_after_its_caller_gave_up() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    for round in 0..6 {
        // A connection of its own for each round, since an unanswered one may be given up.
        let locks = impatient(&server.url());
        warm_up(&locks).await;
        let before = executed(&mut admin, "set");
        server.pause();
        let attempt = locks.lock("late").ttl(TTL).acquire();
        if round % 2 == 0 {
            let error = in_time("the call", attempt).await.expect_err("no answer");
            assert!(error.is_unavailable(), "{error}");
        } else {
            // The caller does not even wait for the operation's own deadline.
            assert!(tokio::time::timeout(ms(50), attempt).await.is_err());
        }
        server.resume();
        eventually("the late SET is executed", AT_ONCE, || executed(&mut admin, "set") > before).await;
        eventually("what it set is gone", AT_ONCE, || !admin.exists("late")).await;
        let next = in_time("the next caller", locks.lock("late").ttl(TTL).wait(TTL).acquire()).await;
        next.expect("the lock").release().await.expect("released");
    }
}

/// Promise: when not even the caller's process is there any more to clean up behind such a `SET`, its key is free after its ttl, and
/// whoever waits gets it then.
///
/// Turned red by: a lock without an expiry.
#[tokio::test]
async fn row_02_set_reaches_the_server_after_its_process_is_gone() {
    const LEASE: Duration = Duration::from_millis(700);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let late = proxy.next(Way::Requests, command("SET"), Conduct::Hold);
    let mut holder = worker(&["hold-lock", &proxy.url(), "late", &LEASE.as_millis().to_string()]);
    late.happened().await;
    holder.kill();
    late.let_go().await;
    eventually("the late SET is executed", AT_ONCE, || admin.exists("late")).await;

    let locks = connect(&server).await;
    let started = Instant::now();
    let guard = locks.lock("late").ttl(TTL).wait(TTL).acquire().await.expect("the lock");
    let waited = started.elapsed();
    assert!(waited < LEASE + AT_ONCE, "{waited:?}");
    guard.release().await.expect("ours");
}

/// Promise: a clean-up never overtakes the `SET` that it is to clean up behind: of 200 that a hanging server executes late, none
/// leaves its key.
///
/// Turned red by: a clean-up on another connection, or one that is sent before the `SET`.
#[tokio::test]
async fn row_03_no_orphan_in_200_rounds() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    warm_up(&locks).await;
    for round in 0..200 {
        let (sets, clean_ups) = (executed(&mut admin, "set"), executed(&mut admin, "eval"));
        server.pause();
        let attempt = tokio::time::timeout(ms(2), locks.lock("orphan").ttl(TTL).acquire());
        assert!(attempt.await.is_err(), "a server that is stopped does not answer");
        server.resume();
        eventually("both are executed", AT_ONCE, || {
            executed(&mut admin, "set") > sets && executed(&mut admin, "eval") > clean_ups
        })
        .await;
        assert!(!admin.exists("orphan"), "round {round}");
    }
}

/// As above, with a network that holds the `SET` back for as long as it takes the clean-up to arrive behind it, and would let
/// another connection through at once.
///
/// Turned red by: a clean-up on another connection.
#[tokio::test]
async fn row_03_clean_up_waits_behind_its_set() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    warm_up(&locks).await;
    for _ in 0..20 {
        let clean_ups = executed(&mut admin, "eval");
        let late = proxy.next(Way::Requests, command("SET"), Conduct::Hold);
        tokio::select! {
            _ = locks.lock("orphan").ttl(TTL).acquire() => panic!("the server was not asked"),
            () = late.happened() => {}
        }
        eventually("the clean-up is behind it", DEADLINE, || late.held() == 2).await;
        late.let_go().await;
        eventually("both are executed", AT_ONCE, || executed(&mut admin, "eval") > clean_ups).await;
        assert!(!admin.exists("orphan"));
    }
    assert_eq!(proxy.connections(), 1);
}
