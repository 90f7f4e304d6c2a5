//! The keeper: locks stay renewed whatever their holder's runtime does, and nothing stays behind.

use std::future::{Future, poll_fn};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockGuard, LockManager, LostCause};
use lock_tests::{Conduct, Process, Proxy, RedisServer, Way, command, eventually, eventually_blocking};
use tokio::runtime::{Builder, Runtime};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// When `guard` ends, as far as is known now.
fn deadline(guard: &LockGuard) -> Instant {
    Instant::now() + guard.remaining()
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

/// Promise: a guard that is dropped with the last work of its runtime gives its lock back, although nobody drives that runtime
/// afterwards.
///
/// Turned red by: a clean-up that is left to a runtime of one thread alone.
#[test]
fn a_guard_dropped_in_a_runtime_that_is_idle_then_gives_its_lock_back() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
    let runtime = current_thread();
    runtime.block_on(async {
        let guard = locks.lock("k").ttl(600 * SECOND).acquire().await.expect("free");
        assert!(admin.exists("k"));
        drop(guard);
    });
    eventually_blocking("the release", PATIENCE, || !admin.exists("k"));
    drop(runtime);
}

/// Promise: a guard that is dropped in a runtime which can do nothing for it gives its lock back.
///
/// Turned red by: a clean-up that comes to nothing without timers or I/O.
#[test]
fn a_guard_dropped_in_a_bare_runtime_gives_its_lock_back() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let guard = runtime.block_on(locks.lock("k").ttl(600 * SECOND).acquire()).expect("free");
    let bare = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    assert!(admin.exists("k"));
    bare.block_on(async move { drop(guard) });
    eventually_blocking("the release", PATIENCE, || !admin.exists("k"));
    drop((bare, runtime));
}

/// Promise: an acquisition that is dropped outside of its runtime, and after that was driven last, leaves no lock.
///
/// Turned red by: a clean-up that is left to a runtime of one thread alone.
#[test]
fn an_acquisition_dropped_outside_of_its_idle_runtime_leaves_no_lock() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    // The proxy has a runtime of its own: it goes on when the caller's does not.
    let network = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let proxy = network.block_on(Proxy::start(server.port()));
    let locks = LockManager::connect_lazy(&proxy.url()).expect("a good address");
    let runtime = current_thread();
    // A connection: the only poll of the acquisition is to send its request.
    let before = runtime.block_on(locks.lock("before").ttl(SECOND).acquire()).expect("free");
    runtime.block_on(before.release()).expect("ours");
    let reply = proxy.next(Way::Replies, command("SET"), Conduct::Hold);
    let mut acquire = Box::pin(locks.lock("k").ttl(600 * SECOND).acquire());
    runtime.block_on(async {
        let pending = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "answered");
        eventually("the reply", PATIENCE, || reply.has_happened()).await;
    });
    assert!(admin.exists("k"));
    network.block_on(reply.let_go());
    drop(acquire);
    eventually_blocking("the clean-up", PATIENCE, || !admin.exists("k"));
    drop(runtime);
}

/// Promise: a server that takes up to a quarter of the TTL to answer is near enough for renewals.
///
/// Turned red by: a tenth of the TTL as the time for an answer.
#[tokio::test]
async fn a_distant_server_is_near_enough() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let ttl = 3 * SECOND;
    proxy.conduct_all(Way::Replies, Conduct::Delay(ttl * 3 / 20));
    let locks = LockManager::connect_lazy(&proxy.url()).expect("a good address");
    let guard = locks.lock("k").ttl(ttl).renew_every(SECOND / 10).acquire().await.expect("free");
    let before = deadline(&guard);
    eventually("a renewal", PATIENCE, || deadline(&guard) > before + SECOND / 20 || !guard.is_held()).await;
    assert!(guard.is_held(), "{guard:?}");
}

/// Promise: a key that somebody forbids costs the others of its batch nothing, although their server is not near.
///
/// Turned red by: asking for them one after the other.
#[tokio::test]
async fn a_forbidden_key_of_a_batch_is_lost_alone() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect_lazy(&proxy.url()).expect("a good address");
    let ask = |key: String| locks.lock(key).ttl(2 * SECOND).renew();
    let mut guards: Vec<LockGuard> = Vec::new();
    for n in 0..80 {
        guards.push(ask(format!("k:{n}")).acquire().await.expect("free"));
    }
    let forbidden = ask("forbidden".to_owned()).acquire().await.expect("free");
    proxy.conduct_all(Way::Replies, Conduct::Delay(SECOND / 20));
    server.admin().command::<()>(&["ACL", "SETUSER", "default", "resetkeys", "~k:*"]);
    // All of them are as old, but for those that were renewed meanwhile.
    assert_eq!(forbidden.lost().await, LostCause::Expired);
    let lost: Vec<_> = guards.iter().filter(|guard| !guard.is_held()).map(|guard| guard.key().to_string()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let before: Vec<_> = guards.iter().map(deadline).collect();
    let renewed = || guards.iter().zip(&before).all(|(guard, before)| deadline(guard) > *before + SECOND / 20);
    eventually("another renewal of each", PATIENCE, renewed).await;
}

/// Promise: a key that is given back within its `min_hold` does not stay past its TTL, however late the server comes to it.
///
/// Turned red by: counting what is left of `min_hold` from when the server reads it.
#[tokio::test]
async fn the_shortest_hold_ends_with_the_ttl_behind_a_stopped_server() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect(&server.url()).await.expect("a server");
    let ttl = 60 * SECOND;
    // The server gets to know the script: where it does not, it is asked twice, and the second time after its stop.
    let before = locks.lock("before").ttl(ttl).min_hold(ttl).acquire().await.expect("free");
    before.release().await.expect("ours");
    let guard = locks.lock("k").ttl(ttl).min_hold(ttl).acquire().await.expect("free");
    let expires = Instant::now() + admin.remaining("k").expect("held");
    server.pause();
    drop(guard);
    // Not a wait for something to happen: by so much the server is late.
    tokio::time::sleep(SECOND).await;
    server.resume();
    eventually("the release", PATIENCE, || admin.get("k").is_some_and(|value| value.starts_with("floor:"))).await;
    let asked = Instant::now();
    let left = admin.remaining("k").expect("kept");
    assert!(left > ttl / 2, "{left:?}");
    // The first look may have been that much later than it says.
    let late = (asked + left).saturating_duration_since(expires);
    assert!(late < SECOND / 2, "kept for {late:?} past its end");
}
