//! However a call ends, its lock ends with it.

use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{Moment, RedisServer, drop_after, eventually, eventually_blocking};

use crate::{AT_ONCE, PROCESS, TTL, worker};

const KEY: &str = "cancelled";

/// What the locked function does.
#[derive(Clone, Copy, Debug)]
enum Body {
    Finish,
    Hang,
    PanicAtOnce,
    Panic,
    PanicInATask,
}

#[distributed_lock(key = KEY, ttl = TTL, manager = locks)]
async fn locked(locks: &LockManager, body: Body) -> Result<&'static str, LockError> {
    assert!(!matches!(body, Body::PanicAtOnce), "on purpose");
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match body {
        Body::Finish => Ok("finished"),
        Body::Hang => pending::<Result<Infallible, _>>().await.map(|never| match never {}),
        Body::PanicAtOnce | Body::Panic => panic!("on purpose"),
        Body::PanicInATask => {
            let error = tokio::spawn(async { panic!("on purpose") }).await.expect_err("it panics");
            std::panic::resume_unwind(error.into_panic())
        }
    }
}

/// Waits until everything sent so far was executed (by another lock, which goes down the same connection), and then for the
/// key to be gone. A look at the key alone could come before the request that sets it.
async fn assert_freed(server: &RedisServer, locks: &LockManager, what: &str) {
    let fence = locks.lock("fence").ttl(TTL).acquire().await.expect("the fence");
    fence.release().await.expect("released");
    let mut admin = server.admin();
    eventually(&format!("no key stays behind: {what}"), AT_ONCE, || !admin.exists(KEY)).await;
    // With a wait, since those who wait stand in line, behind every place and turn that was not given up.
    let started = Instant::now();
    let next = locks.lock(KEY).ttl(TTL).wait(2 * AT_ONCE).acquire().await;
    let next = next.unwrap_or_else(|error| panic!("the next caller gets the lock: {what}: {error}"));
    assert!(started.elapsed() < AT_ONCE, "the next caller had to wait: {what}");
    next.release().await.expect("released");
}

/// `least`: how many polls a call takes at least.
async fn drop_at_every_poll(least: usize) {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    for moment in [Moment::Pending, Moment::Woken] {
        let mut polls = 0;
        while drop_after(polls, moment, locked(&locks, Body::Finish)).await.is_none() {
            assert_freed(&server, &locks, &format!("dropped after poll {polls}, {moment:?}")).await;
            polls += 1;
        }
        assert!(polls >= least, "{polls}");
    }
}

/// Promise: dropped at every await of acquire, body and release, a call leaves no key behind.
///
/// Turned red by: arming the guard after the `SET` was answered; a `Drop` of the guard that does nothing; a release that
/// counts as done before it was sent.
#[tokio::test]
async fn row_04_dropped_at_every_poll() {
    // A round trip, two waits, a round trip.
    drop_at_every_poll(5).await;
}

/// As above, where another thread drives the connection while the call is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_dropped_at_every_poll_with_two_threads() {
    // An answer may be there already.
    drop_at_every_poll(3).await;
}

/// As above, with a connection that is still to be made when the first polls are dropped.
#[tokio::test]
async fn row_04_dropped_while_connecting() {
    let server = RedisServer::start();
    for moment in [Moment::Pending, Moment::Woken] {
        let mut polls = 0;
        loop {
            let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
            let finished = drop_after(polls, moment, locked(&locks, Body::Finish)).await.is_some();
            assert_freed(&server, &locks, &format!("dropped after poll {polls}, {moment:?}")).await;
            if finished {
                break;
            }
            polls += 1;
        }
    }
}

/// Promise: a caller who gives up waiting leaves no key behind, whatever the moment, and stands in nobody's way.
///
/// Turned red by: a turn to ask the store that is not passed on when it is dropped.
#[tokio::test]
async fn row_04_dropped_while_waiting() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    for polls in 0..12 {
        let holder = locks.lock(KEY).ttl(TTL).acquire().await.expect("the lock");
        let waiting = async {
            let guard = locks.lock(KEY).ttl(TTL).wait(TTL).acquire().await;
            guard.expect("unreachable: it is held").release().await
        };
        let waited = tokio::time::timeout(Duration::from_millis(20), drop_after(polls, Moment::Woken, waiting));
        assert!(waited.await.ok().flatten().is_none());
        holder.release().await.expect("still ours");
        assert_freed(&server, &locks, &format!("a waiter dropped after poll {polls}")).await;
    }
}

/// Promise: a panic of the body reaches the caller unchanged, and frees the lock at once: before its first await, after one, and
/// when it comes out of a task that the body has spawned.
///
/// Turned red by: releasing only after the body returned.
#[tokio::test]
async fn row_07_panic_in_the_body() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    for body in [Body::PanicAtOnce, Body::Panic, Body::PanicInATask] {
        let task = tokio::spawn({
            let locks = locks.clone();
            async move { locked(&locks, body).await }
        });
        let panic = task.await.expect_err("it panics").into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert_freed(&server, &locks, &format!("{body:?}")).await;
    }
}

/// Promise: a process that aborts, as one does that panics with `panic = "abort"`, frees its lock by its ttl.
///
/// Turned red by: a lock without an expiry.
#[test]
fn row_07_abort_in_the_body() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let ttl = Duration::from_millis(700);
    let mut worker = worker(&["abort", &server.url(), KEY, &ttl.as_millis().to_string()]);
    assert_eq!(worker.line(PROCESS), "held");
    let (status, output) = worker.finish(PROCESS);
    assert!(!status.success(), "{output}");
    eventually_blocking("the lock is freed", ttl + AT_ONCE, || !admin.exists(KEY));
}

/// Promise: a cancelled body (its task aborted, its client hung up) frees the lock at once.
///
/// Turned red by: a guard whose `Drop` does nothing.
#[tokio::test]
async fn row_05_future_dropped_in_the_middle_of_the_body() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    let task = tokio::spawn({
        let locks = locks.clone();
        async move { locked(&locks, Body::Hang).await }
    });
    let mut admin = server.admin();
    eventually("the body runs", AT_ONCE, || admin.exists(KEY)).await;
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    assert_freed(&server, &locks, "abort").await;
}

/// Promise: so does one that its caller timed out.
///
/// Turned red by: a guard whose `Drop` does nothing.
#[tokio::test]
async fn row_05_caller_times_out() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    let outcome = tokio::time::timeout(Duration::from_millis(100), locked(&locks, Body::Hang)).await;
    assert!(outcome.is_err());
    assert_freed(&server, &locks, "timeout").await;
}

/// Promise: a guard may be dropped anywhere, after its runtime has ended too: no panic, and the lock is freed, by its ttl at
/// the latest.
///
/// Turned red by: `tokio::spawn` in `Drop`.
#[test]
fn row_06_guard_outlives_its_runtime() {
    let server = RedisServer::start();
    let ttl = Duration::from_millis(700);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let guard = runtime.block_on(async {
        let locks = LockManager::connect(&server.url()).await.expect("connect");
        locks.lock(KEY).ttl(ttl).acquire().await.expect("the lock")
    });
    drop(runtime);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(guard)));
    assert!(dropped.is_ok());
    let mut admin = server.admin();
    eventually_blocking("the lock is freed", ttl + AT_ONCE, || !admin.exists(KEY));
}

/// Promise: a runtime that is shut down with a lock held, in whatever way and of either kind, ends without a panic and without
/// hanging, and the lock is freed by its ttl.
///
/// Turned red by: `tokio::spawn` in `Drop`, or blocking there.
#[test]
fn row_06_runtime_shut_down_with_a_lock_held() {
    let server = RedisServer::start();
    let ttl = Duration::from_secs(1);
    let runtimes = ["current-thread", "multi-thread"];
    let ends = ["drop", "shutdown-timeout", "shutdown-background"];
    let started: Vec<_> = runtimes
        .into_iter()
        .flat_map(|runtime| ends.map(|end| (runtime, end)))
        .map(|(runtime, end)| {
            let key = format!("{runtime} {end}");
            let milliseconds = ttl.as_millis().to_string();
            (worker(&["end-runtime", &server.url(), &key, &milliseconds, runtime, end]), key)
        })
        .collect();
    let mut admin = server.admin();
    for (mut worker, key) in started {
        assert_eq!(worker.line(PROCESS), "held", "{key}");
        let (status, output) = worker.finish(PROCESS);
        assert!(status.success() && output == "held\nended", "{key}: {output}");
        eventually_blocking("the lock is freed", ttl + AT_ONCE, || !admin.exists(&key));
    }
}

/// Promise: a runtime ends although a lock is asked for in that very moment, as by a clean-up that was just begun.
///
/// Turned red by: spawning a task under a lock that the task's destructor takes: a runtime that ends drops it in the same call.
#[test]
fn row_06_lock_asked_for_while_the_runtime_ends() {
    let server = RedisServer::start();
    for runtime in ["current-thread", "multi-thread"] {
        let (status, output) = worker(&["ask-at-the-end", &server.url(), runtime]).finish(PROCESS);
        assert!(status.success() && output == "ended", "{runtime}: {output}");
    }
}

/// Promise: a manager that was shut down before its runtime leaves no key behind.
///
/// Turned red by: a `shutdown` that does not wait for the releases.
#[test]
fn row_06_manager_shut_down_before_its_runtime() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for runtime in ["current-thread", "multi-thread"] {
        let ttl = TTL.as_millis().to_string();
        let mut worker = worker(&["end-runtime", &server.url(), KEY, &ttl, runtime, "shutdown-manager"]);
        let (status, output) = worker.finish(PROCESS);
        assert!(status.success() && output == "held\nended", "{output}");
        assert!(!admin.exists(KEY));
    }
}
