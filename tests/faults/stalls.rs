//! A server that hangs, or is slow.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use lock_runtime::{LockError, LockManager, StoreErrorKind, distributed_lock};
use lock_tests::{Admin, Conduct, Proxy, RedisServer, Sometimes, Way, command, eventually};

use crate::{AT_ONCE, DEADLINE, TTL, connect, executed, in_time, locked, ms, warm_up};

/// Promise: a server that hangs costs an acquisition its deadline, however long the caller would wait for a busy lock; it is
/// *unavailable* and not *busy*; and the body does not run.
///
/// Turned red by: an operation without a deadline; an error taken for *busy*.
#[tokio::test]
async fn row_23_hanging_server_costs_an_acquisition_its_deadline() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    server.pause();
    let mut ran = false;
    let url = server.url();
    let fresh = LockManager::connect_lazy(&url).expect("a good address");
    let (call, first, connecting) = tokio::join!(
        in_time("the call", locked(&locks, async { ran = true })),
        in_time("the first call", fresh.lock("work").ttl(TTL).acquire()),
        in_time("connecting", LockManager::connect(&url)),
    );
    let error = call.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    let error = first.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    assert!(connecting.is_err());
    assert!(!ran);

    server.resume();
    let mut admin = server.admin();
    eventually("no late request stays", DEADLINE, || !admin.exists("work")).await;
    assert_eq!(locked(&locks, async { "again" }).await.expect("the server is back"), "again");
}

/// Promise: when the server hangs during the body, the release costs at most its deadline, the body's result is returned all
/// the same, and the lock is freed when the server goes on.
///
/// Turned red by: returning the release's error; a release that is not repeated.
#[tokio::test]
async fn row_23_server_hangs_during_the_body() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    let call = locked(&locks, async {
        server.pause();
        "the result"
    });
    assert_eq!(in_time("the call", call).await.expect("the body's own result"), "the result");
    server.resume();
    let mut admin = server.admin();
    eventually("the lock is freed", 2 * DEADLINE, || !admin.exists("work")).await;
    in_time("the next call", locked(&locks, async {})).await.expect("the server is back");
}

/// Promise: a caller who waits for a busy lock rides out a server that hangs for a while, and neither loses its patience nor
/// takes the silence for a free lock.
///
/// Turned red by: ending the wait at the first unanswered request.
#[tokio::test]
async fn row_23_waiting_caller_rides_out_a_hanging_server() {
    let mut server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let (ours, theirs) = (LockManager::connect(&proxy.url()).await.expect("connect"), connect(&server).await);
    let holder = theirs.lock("work").ttl(TTL).acquire().await.expect("the lock");
    let waiter = tokio::spawn(async move { ours.lock("work").ttl(TTL).wait(TTL).acquire().await });
    let mut admin = server.admin();
    eventually("the waiter has asked", DEADLINE, || executed(&mut admin, "set") >= 2).await;
    server.pause();
    // It dials anew when a request was not answered in time, and not before.
    eventually("a request is given up", 2 * DEADLINE, || proxy.connections() > 1).await;
    assert!(!waiter.is_finished());
    server.resume();
    holder.release().await.expect("released");
    let guard = in_time("the wait", waiter).await.expect("no panic").expect("the lock");
    guard.release().await.expect("released");
}

/// What is slow in `row_24`, and for how long.
#[derive(Debug, Clone, Copy)]
enum Slow {
    /// `DEBUG SLEEP`: it does nothing at all.
    Asleep(Duration),
    /// `CLIENT PAUSE`: it keeps writes waiting.
    Paused(Duration),
    /// The network, on the way back.
    Reply(Duration),
}

/// Promise: a lock whose `SET` was answered so late that its lease is over, or half over, is given back and asked for again: no body
/// begins on a lease that has run out, or is about to.
///
/// Turned red by: counting the lease from the answer; running the body without a look at what is left.
#[tokio::test]
async fn row_24_late_success_is_given_back() {
    /// Its half is longer than a busy machine takes to answer.
    const LEASE: Duration = Duration::from_millis(500);

    #[distributed_lock(key = "slow", ttl = LEASE, wait = TTL, manager = locks, guard = lock)]
    async fn measured(locks: &LockManager, admin: &mut Admin) -> Result<(Duration, Duration), LockError> {
        // In this order: both run down.
        let kept = admin.remaining("slow").unwrap_or_default();
        Ok((kept, lock.remaining()))
    }

    let server = RedisServer::options().debug_command().start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let mut sleeper = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).expect("connect");
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    warm_up(&locks).await;
    for slow in [Slow::Asleep(ms(350)), Slow::Asleep(ms(700)), Slow::Paused(ms(350)), Slow::Reply(ms(350))] {
        let before = executed(&mut admin, "set");
        let delayed = match slow {
            Slow::Asleep(time) => {
                // Not waited for: what is sent after it is executed after it.
                write!(sleeper, "DEBUG SLEEP {}\r\n", time.as_secs_f64()).expect("sent");
                None
            }
            Slow::Paused(time) => {
                admin.command::<()>(&["CLIENT", "PAUSE", &time.as_millis().to_string(), "WRITE"]);
                None
            }
            Slow::Reply(time) => {
                let late = proxy.next(Way::Replies, command("SET"), Conduct::Hold);
                Some(tokio::spawn(async move {
                    late.happened().await;
                    tokio::time::sleep(time).await;
                    late.let_go().await;
                }))
            }
        };
        let (kept, believed) = in_time("the call", measured(&locks, &mut admin)).await.expect("the lock");
        assert!(believed > Duration::ZERO && believed <= kept, "{slow:?}: {believed:?} of {kept:?}");
        let asked = executed(&mut admin, "set") - before;
        assert!(asked >= 2, "{slow:?}: the first was not given back");
        eventually("no key is left", AT_ONCE, || !admin.exists("slow")).await;
        if let Some(delayed) = delayed {
            delayed.await.expect("no panic");
        }
    }
}

/// Promise: a server that is always too slow for a lease is reported as that, the body never runs, and no key stays.
///
/// Turned red by: running the body without a look at what is left of its lease.
#[tokio::test]
async fn row_24_server_slower_than_the_lease() {
    #[distributed_lock(key = "slow", ttl = "100ms", manager = locks)]
    async fn never(locks: &LockManager) -> Result<(), LockError> {
        panic!("the lease is over, or about to be")
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    warm_up(&locks).await;
    // Nearly over, and over.
    for delay in [ms(80), ms(150)] {
        proxy.conduct_replies(0, Conduct::Delay(delay));
        let error = in_time("the call", never(&locks)).await.expect_err("too slow");
        assert!(matches!(&error, LockError::Unavailable { source, .. } if source.kind() == StoreErrorKind::Timeout));
        assert!(error.to_string().contains("use a longer ttl"), "{error}");
        eventually("no key is left", AT_ONCE, || !admin.exists("slow")).await;
    }
}

/// Promise: a server that a script keeps busy has refused, which is neither *busy* nor *lost*; a caller who waits rides it out.
///
/// Turned red by: taking `BUSY` for a busy lock, or for the end of the wait.
#[tokio::test]
async fn row_24_server_blocked_by_a_script() {
    let server = RedisServer::options().arguments(["--lua-time-limit", "20"]).start();
    let (mut admin, mut other) = (server.admin(), server.admin());
    let locks = connect(&server).await;
    warm_up(&locks).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let refused = Sometimes::new("a refusal");
    // Ends with an error, when it is killed.
    let script = std::thread::spawn(move || other.try_command::<()>(&["EVAL", "while true do end", "0"]));
    eventually("the script runs", DEADLINE, || {
        admin.try_command::<String>(&["PING"]).is_err_and(|error| error.code() == Some("BUSY"))
    })
    .await;
    for outcome in [locked(&locks, async { panic!("nobody knows who holds it") }).await, guard.extend(2 * TTL).await] {
        match outcome {
            Err(LockError::Unavailable { source, .. }) if source.kind() == StoreErrorKind::Refused => {
                refused.happened();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused.times(), 2);
    let waiter = tokio::spawn(async move { locks.lock("work").ttl(TTL).wait(TTL).acquire().await });
    assert!(tokio::time::timeout(ms(50), guard.ttl()).await.is_ok_and(|left| left.is_err()));
    assert!(!waiter.is_finished());
    admin.command::<()>(&["SCRIPT", "KILL"]);
    assert!(script.join().expect("no panic").is_err());
    in_time("the wait", waiter).await.expect("no panic").expect("the lock").release().await.expect("released");
    guard.extend(2 * TTL).await.expect("still ours");
    guard.release().await.expect("still ours");
}
