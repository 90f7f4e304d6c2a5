//! What the server and other clients may do to us.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{RedisServer, eventually};

const TTL: Duration = Duration::from_secs(60);

/// The bound of one operation in these tests: a second, which is the default, for the operation and one more for making a
/// connection first; and what a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(2500);

#[distributed_lock(key = "work", ttl = TTL, manager = locks)]
async fn locked<T>(locks: &LockManager, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
}

/// Awaits `future`, and fails if it takes longer than the deadline of an operation.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let output = tokio::time::timeout(4 * DEADLINE, future).await;
    let took = started.elapsed();
    assert!(took < DEADLINE, "{what} took {took:?}");
    output.unwrap_or_else(|_| panic!("{what} took {took:?}"))
}

/// Promise: a release that comes after the lease has ended leaves the new holder's lock alone, and says that the lock was
/// lost.
///
/// Turned red by: a release by bare `DEL`.
#[tokio::test]
async fn a_late_release_leaves_the_new_holder_alone() {
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
async fn a_body_is_not_polled_past_its_lease() {
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

/// Promise: a body that came to its end, but only after its lease, does not count as a success.
///
/// Turned red by: returning the result of a body without a look at the clock.
#[tokio::test]
async fn a_body_that_ends_too_late_is_no_success() {
    #[distributed_lock(key = "lease", ttl = "100ms", manager = locks)]
    async fn late(locks: &LockManager) -> Result<(), LockError> {
        // What no body should do: nothing can end this poll.
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    let server = RedisServer::start();
    let error = late(&connect(&server).await).await.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { completed: true, .. }), "{error}");
}

/// Promise: `SCRIPT FLUSH` between operations (a restart, a failover) is invisible.
///
/// Turned red by: `EVALSHA` without the fallback.
#[tokio::test]
async fn forgotten_scripts_are_invisible() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    for _ in 0..3 {
        admin.forget_scripts();
        let guard = locks.lock("flushed").ttl(Duration::from_secs(10)).acquire().await.expect("the lock");
        admin.forget_scripts();
        let busy = locks.lock("flushed").ttl(TTL).acquire().await.expect_err("it is held");
        assert!(busy.is_busy(), "{busy}");
        let other = connect(&server).await;
        admin.forget_scripts();
        let busy = other.lock("flushed").ttl(TTL).acquire().await.expect_err("it is held");
        assert!(busy.is_busy(), "{busy}");
        admin.forget_scripts();
        assert!(guard.ttl().await.expect("an answer") > Duration::from_secs(5));
        admin.forget_scripts();
        guard.extend(TTL).await.expect("extended");
        assert!(admin.remaining("flushed") > Some(Duration::from_secs(50)));
        admin.forget_scripts();
        guard.set_ttl(Duration::from_secs(10)).await.expect("set");
        assert!(admin.remaining("flushed") <= Some(Duration::from_secs(10)));
        admin.forget_scripts();
        guard.release().await.expect("released");
        assert!(!admin.exists("flushed"));

        let guard = locks.lock("flushed").ttl(TTL).acquire().await.expect("the lock");
        admin.forget_scripts();
        drop(guard);
        eventually("the dropped guard's key is gone", DEADLINE, || !admin.exists("flushed")).await;
    }
}

/// Promise: a server that hangs costs an acquisition its deadline, however long the caller would wait for a busy lock; it is
/// *unavailable* and not *busy*; and the body does not run.
///
/// Turned red by: an operation without a deadline; an error taken for *busy*.
#[tokio::test]
async fn a_hanging_server_costs_an_acquisition_its_deadline() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    server.pause();
    let mut ran = false;
    let error = in_time("the call", locked(&locks, async { ran = true })).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    let fresh = LockManager::connect_lazy(&server.url()).expect("a good address");
    let error = in_time("the first call", fresh.lock("work").ttl(TTL).acquire()).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    let error = in_time("connecting", LockManager::connect(&server.url())).await.err();
    assert!(error.is_some());
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
async fn a_server_that_hangs_during_the_body() {
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
async fn a_waiting_caller_rides_out_a_hanging_server() {
    let mut server = RedisServer::start();
    let (ours, theirs) = (connect(&server).await, connect(&server).await);
    let holder = theirs.lock("work").ttl(TTL).acquire().await.expect("the lock");
    let waiter = tokio::spawn(async move { ours.lock("work").ttl(TTL).wait(TTL).acquire().await });
    let mut admin = server.admin();
    let asked = |admin: &mut lock_tests::Admin| admin.command_counts().get("set").copied().unwrap_or_default();
    eventually("the waiter has asked", DEADLINE, || asked(&mut admin) >= 2).await;
    server.pause();
    // Longer than the deadline of an operation: the waiter sees at least one request unanswered.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert!(!waiter.is_finished());
    server.resume();
    holder.release().await.expect("released");
    let guard = in_time("the wait", waiter).await.expect("no panic").expect("the lock");
    guard.release().await.expect("released");
}

/// Promise: a dead server is reported, and not waited for; and when it comes back, so do the locks, without a restart of ours.
///
/// Turned red by: a connection that is not made anew.
#[tokio::test]
async fn a_server_dies_and_comes_back() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    let call = locked(&locks, async {
        server.kill();
        "the result"
    });
    assert_eq!(in_time("the call", call).await.expect("the body's own result"), "the result");
    for _ in 0..3 {
        let error = in_time("a call", locked(&locks, async {})).await.expect_err("nobody is there");
        assert!(error.is_unavailable(), "{error}");
    }
    let error = in_time("connecting", LockManager::connect(&server.url())).await.err();
    assert!(error.is_some());

    server.restart_empty();
    let mut last = None;
    for _ in 0..20 {
        match in_time("a call", locked(&locks, async {})).await {
            Ok(()) => return,
            Err(error) => last = Some(error),
        }
    }
    panic!("the server is back, and the manager does not notice: {last:?}");
}

/// Promise: a key that is no lock (another type, or no expiry) is reported at once, however long the caller would wait, and
/// is not touched.
///
/// Turned red by: taking every refused `SET NX` for a busy lock.
#[tokio::test]
async fn a_foreign_key_is_reported_at_once() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    admin.command::<()>(&["RPUSH", "list", "one", "two"]);
    admin.command::<()>(&["HSET", "hash", "field", "value"]);
    admin.set("string", "no expiry", &[]);
    admin.command::<()>(&["SADD", "expiring set", "member"]);
    admin.command::<()>(&["PEXPIRE", "expiring set", "60000"]);
    let mut before: Vec<String> = admin.keys();
    before.sort();
    for key in &before {
        let call = locks.lock(key.as_str()).ttl(TTL).wait(TTL).acquire();
        let error = in_time(key, call).await.expect_err("that is no lock");
        assert!(matches!(error, LockError::ForeignKey { .. }), "{key}: {error}");
    }
    let mut after = admin.keys();
    after.sort();
    assert_eq!(before, after);
    assert_eq!(admin.get("string").as_deref(), Some("no expiry"));
}

/// A lock that another program made, in the same format, is an ordinary busy lock.
///
/// Turned red by: taking every value that is not ours for a foreign key.
#[tokio::test]
async fn a_lock_of_another_program_is_busy() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    admin.set("theirs", "iVw3l2XjJmOq3bFv1u9t6A", &["NX", "PX", "400"]);
    let error = locks.lock("theirs").ttl(TTL).acquire().await.expect_err("they hold it");
    assert!(error.is_busy(), "{error}");
    let guard = locks.lock("theirs").ttl(TTL).wait(TTL).acquire().await.expect("after its expiry");
    let value = admin.get("theirs").expect("held");
    let (token, metadata) = value.split_once(' ').expect("a token and metadata");
    assert_eq!((token, metadata), (guard.token().as_str(), guard.metadata()));
    assert_eq!(admin.command::<Option<String>>(&["SET", "theirs", "x", "NX", "PX", "1000"]), None);
    guard.release().await.expect("ours");
}

/// Promise: a `SET` that is executed only after its caller gave up (the server hung, then went on) does not hold the lock for
/// its ttl: a clean-up follows it down the same connection.
///
/// Turned red by: no clean-up after an unanswered `SET`, or one that is given up with its caller.
#[tokio::test]
async fn a_late_set_is_cleaned_up() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    for round in 0..10 {
        // A connection of its own for each round, since an unanswered one may be given up.
        let locks = connect(&server).await;
        let before = admin.command_counts().get("set").copied().unwrap_or_default();
        server.pause();
        let attempt = locks.lock("late").ttl(TTL).acquire();
        if round % 2 == 0 {
            let error = in_time("the call", attempt).await.expect_err("no answer");
            assert!(error.is_unavailable(), "{error}");
        } else {
            // The caller does not even wait for the operation's own deadline.
            assert!(tokio::time::timeout(Duration::from_millis(50), attempt).await.is_err());
        }
        server.resume();
        eventually("the late SET is executed", DEADLINE, || {
            admin.command_counts().get("set").copied().unwrap_or_default() > before
        })
        .await;
        eventually("what it set is gone", DEADLINE, || !admin.exists("late")).await;
        let next = in_time("the next caller", locks.lock("late").ttl(TTL).wait(TTL).acquire()).await;
        next.expect("the lock").release().await.expect("released");
    }
}
