//! The keeper: locks stay renewed whatever their holder's runtime does, and nothing stays behind.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockGuard, LockManager, LostCause};
use lock_tests::{Process, RedisServer, eventually, eventually_blocking};
use tokio::runtime::{Builder, Runtime};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn worker(arguments: &[&str]) -> Process {
    Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments))
}

/// Promise: a lock stays renewed while its holder's only thread is blocked for three times the TTL, although another process
/// asks for it all the while.
///
/// Turned red by: renewals on the caller's runtime.
#[test]
fn a_blocked_runtime_keeps_its_lock() {
    let server = RedisServer::start();
    let ttl = SECOND;
    current_thread().block_on(async {
        let locks = LockManager::connect(&server.url()).await.expect("a server");
        let guard = locks.lock("k").ttl(ttl).renew().acquire().await.expect("free");
        let mut other = worker(&["snatch", &server.url(), "k"]);
        assert_eq!(other.line(PATIENCE), "trying");
        // Not a wait for something to happen: the blocked executor that is the point.
        thread::sleep(3 * ttl);
        assert!(guard.is_held(), "{guard:?}");
        guard.release().await.expect("still ours");
        assert_eq!(other.line(PATIENCE), "snatched");
    });
}

/// Promise: a guard that is dropped outside of any runtime gives its lock back, also when its runtime is not polled any more
/// or has ended.
///
/// Turned red by: clean-ups on the connection's runtime alone.
#[test]
fn a_guard_dropped_outside_of_a_runtime_gives_its_lock_back() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for ended in [false, true] {
        let runtime = current_thread();
        let (locks, guard) = runtime.block_on(async {
            let locks = LockManager::connect(&server.url()).await.expect("a server");
            let guard = locks.lock("k").ttl(600 * SECOND).acquire().await.expect("free");
            (locks, guard)
        });
        let runtime = if ended { None } else { Some(runtime) };
        assert!(admin.exists("k"));
        drop(guard);
        eventually_blocking("the release", PATIENCE, || !admin.exists("k"));
        drop((locks, runtime));
    }
}

/// Promise: what a runtime had not finished when it ended is finished by the keeper.
///
/// Turned red by: clean-ups that end with their runtime.
#[test]
fn a_clean_up_outlives_its_runtime() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
    for round in 0..20 {
        let runtime = if round % 2 == 0 {
            current_thread()
        } else {
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
        };
        let (held, taken) = std::sync::mpsc::channel();
        runtime.spawn({
            let locks = locks.clone();
            async move {
                let _guard = locks.lock("k").ttl(600 * SECOND).acquire().await.expect("free");
                held.send(()).expect("the test listens");
                std::future::pending::<()>().await;
            }
        });
        runtime.block_on(async { eventually("the lock", PATIENCE, || taken.try_recv().is_ok()).await });
        // The task is dropped, and its guard with it, while the runtime takes no new ones.
        runtime.shutdown_background();
        eventually_blocking("the release", PATIENCE, || !admin.exists("k"));
    }
}

/// Promise: a process that shuts its manager down leaves no key behind.
#[test]
fn a_process_that_shuts_down_leaves_no_key() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for threads in ["current", "multi"] {
        for round in 0..30 {
            let mut process = worker(&["shut-down", &server.url(), threads]);
            let (status, said) = process.finish(PATIENCE);
            assert!(status.success(), "{status}: {said}");
            assert_eq!(admin.keys(), Vec::<String>::new(), "round {round}, {threads}");
        }
    }
}

/// Promise: extensions by hand and renewals, on two connections, never make the key expire before the deadline that its
/// holder believes in.
///
/// Turned red by: an extension that may shorten.
#[tokio::test]
async fn extensions_and_renewals_commute() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("a server");
    let millisecond = Duration::from_millis(1);
    let guard = locks.lock("k").ttl(2 * SECOND).renew_every(millisecond).acquire().await.expect("free");
    for round in 0..10_000_u64 {
        let ttl = Duration::from_millis(100 + round * 7_919 % 5_000);
        guard.extend(ttl).await.expect("ours");
        let believed = Instant::now() + guard.remaining();
        let left = guard.ttl().await.expect("an answer");
        assert!(Instant::now() + left >= believed, "round {round}: {left:?} left, to {ttl:?}");
    }
    let counts = server.admin().command_counts();
    // Renewals were really sent, beside 10,000 extensions and as many questions.
    assert!(counts["evalsha"] > 20_100, "{counts:?}");
    guard.release().await.expect("ours");
}

/// Promise: a lost lock among many is the only one that is lost.
///
/// Turned red by: one answer for a whole batch.
#[tokio::test]
async fn one_of_a_batch_is_lost_alone() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("a server");
    let mut guards: Vec<LockGuard> = Vec::new();
    for n in 0..250 {
        guards.push(locks.lock(format!("k:{n}")).ttl(SECOND).renew().acquire().await.expect("free"));
    }
    server.admin().set("k:100", "stolen", &[]);
    assert_eq!(guards[100].lost().await, LostCause::Gone);
    let begun = Instant::now();
    eventually("three leases' time", PATIENCE, || begun.elapsed() > 3 * SECOND).await;
    let lost: Vec<_> = guards.iter().filter(|guard| !guard.is_held()).map(|guard| guard.key().to_string()).collect();
    assert_eq!(lost, ["k:100"]);
    let requests = server.admin().command_counts()["evalsha"];
    assert!(requests < 250 * 3, "{requests} requests for at least 12 renewals of 250 locks: not in batches");
    drop(guards);
    locks.shutdown().await;
    assert_eq!(server.admin().get("k:100").as_deref(), Some("stolen"));
}

/// Promise: `max_hold` bounds what the server keeps, too.
///
/// Turned red by: renewals for the full TTL up to the end.
#[tokio::test]
async fn the_server_keeps_a_key_no_longer_than_the_longest_hold() {
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("a server");
    let limit = 3 * SECOND;
    let begun = Instant::now();
    let guard = locks.lock("k").ttl(2 * SECOND).renew().max_hold(limit).acquire().await.expect("free");
    let mut admin = server.admin();
    // What is taken off for drift, and what it takes to look.
    let slack = SECOND / 5;
    let latest = Arc::new(Mutex::new(Duration::ZERO));
    eventually("the end", PATIENCE, || {
        if let Some(left) = admin.remaining("k") {
            let end = begun.elapsed() + left;
            let mut latest = latest.lock().expect("no panic");
            *latest = (*latest).max(end);
        }
        !guard.is_held()
    })
    .await;
    assert_eq!(guard.lost().await, LostCause::MaxHold);
    let lasted = begun.elapsed();
    assert!(lasted >= limit, "{lasted:?}");
    let latest = *latest.lock().expect("no panic");
    assert!(latest > 2 * SECOND + SECOND / 2, "{latest:?}: it was not renewed");
    assert!(latest <= limit + slack, "{latest:?}");
}

/// Promise: renewals go on over a connection that is cut, and over a server that is away for less than the lease.
#[tokio::test]
async fn renewals_survive_their_connection() {
    let mut server = RedisServer::start();
    let store = RedisStore::open(&server.url()).expect("a good address").operation_timeout(SECOND / 2);
    let locks = LockManager::builder(store).build();
    let guard = locks.lock("k").ttl(3 * SECOND).renew_every(SECOND / 10).acquire().await.expect("free");
    let begun = Instant::now();
    let mut admin = server.admin();
    while begun.elapsed() < 3 * SECOND {
        admin.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(guard.is_held(), "{guard:?}");
    server.pause();
    tokio::time::sleep(2 * SECOND).await;
    server.resume();
    assert!(guard.is_held(), "{guard:?}");
    eventually("a renewal", PATIENCE, || guard.remaining() > 2 * SECOND).await;
    guard.release().await.expect("ours");
}
