//! The cases of redsync (RS), and those that it does not test (RX), as far as real servers show more than memories do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{Conduct, Proxy, Way, eventually};

use crate::servers::{LIMIT, SLACK, Servers, TTL};

#[distributed_lock(key = "counter:{name}", ttl = "10s", wait = "60s", manager = locks)]
async fn add_one(locks: &LockManager, name: &str, sum: &AtomicUsize) -> Result<(), LockError> {
    let before = sum.load(Ordering::SeqCst);
    tokio::task::yield_now().await;
    sum.store(before + 1, Ordering::SeqCst);
    Ok(())
}

/// Promise: under the attribute nothing is different: of the tasks of several processes, one at a time is inside.
///
/// Turned red by: a quorum of half of the servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rs_02_the_attribute() {
    let servers = Servers::start(5);
    let sum = Arc::new(AtomicUsize::new(0));
    let mut adding = Vec::new();
    for _ in 0..4 {
        let locks = servers.locks().await;
        for _ in 0..8 {
            let (locks, sum) = (locks.clone(), sum.clone());
            adding.push(tokio::spawn(async move { add_one(&locks, "sum", &sum).await }));
        }
    }
    for adding in adding {
        adding.await.expect("no panic").expect("the lock");
    }
    assert_eq!(sum.load(Ordering::SeqCst), 32);
    eventually("given back everywhere", SLACK, || servers.held("counter:sum") == 0).await;
}

/// Promise: acquisition and release are one command to each server each, and an extension reaches all of them.
///
/// Turned red by: asking anybody twice; asking only so many as it takes.
#[tokio::test]
async fn rs_01_05_commands_for_each_server() {
    const PAIRS: u64 = 50;
    let servers = Servers::start(5);
    let locks = servers.locks().await;
    // Connections, and scripts.
    locks.lock("warm-up").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    eventually("done everywhere", SLACK, || servers.held("warm-up") == 0).await;
    let before = [servers.counts("set"), servers.counts("evalsha"), servers.counts("eval")];
    for n in 0..PAIRS {
        let guard = locks.lock(format!("k:{n}")).ttl(TTL).acquire().await.expect("the lock");
        guard.release().await.expect("released");
    }
    let last = format!("k:{}", PAIRS - 1);
    eventually("done everywhere", SLACK, || servers.held(&last) == 0).await;
    let after = [servers.counts("set"), servers.counts("evalsha"), servers.counts("eval")];
    for server in 0..5 {
        let [sets, releases, texts] = [0, 1, 2].map(|n| after[n][server] - before[n][server]);
        assert_eq!((sets, releases, texts), (PAIRS, PAIRS, 0), "server {server}");
    }

    let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
    eventually("on all of them", SLACK, || servers.held("k") == 5).await;
    // A round trip, in which all of their answers are read.
    guard.ttl().await.expect("an answer");
    guard.extend(10 * TTL).await.expect("extended");
    let kept = |server: &lock_tests::RedisServer| server.admin().remaining("k");
    eventually("extended everywhere", SLACK, || servers.0.iter().all(|server| kept(server) > Some(9 * TTL))).await;
    guard.release().await.expect("released");
}

/// Promise: a server whose answer was lost is given back what it took.
///
/// Turned red by: giving back on those servers only that said yes.
#[tokio::test]
async fn rx_12_a_lost_answer() {
    let servers = Servers::start(3);
    let proxy = Proxy::start(servers.0[0].port()).await;
    let urls = [proxy.url(), servers.0[1].url(), servers.0[2].url()];
    let locks = LockManager::redlock(urls).await.expect("servers");
    locks.lock("warm-up").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    for server in &servers.0[1..] {
        server.admin().set("k", "theirs", &["PX", "60000"]);
    }
    let lost = proxy.next(Way::Replies, |words: &[&str]| words.first() == Some(&"SET"), Conduct::Drop);
    let begun = Instant::now();
    let error = locks.lock("k").ttl(TTL).acquire().await.expect_err("two are taken");
    assert!(error.is_busy() && begun.elapsed() < LIMIT + SLACK, "{error} after {:?}", begun.elapsed());
    eventually("the answer is lost", SLACK, || lost.has_happened()).await;
    // Its store asks behind it, on the same connection.
    proxy.conduct_replies(0, Conduct::Pass);
    eventually("given back", TTL / 2, || !servers.0[0].admin().exists("k")).await;
    assert_eq!(servers.held("k"), 2);
}

/// Promise: keys are as they are written, whatever is in them.
///
/// Turned red by: keys that are put together with something on their way to a server.
#[tokio::test]
async fn row_54_keys_of_any_kind() {
    let servers = Servers::start(3);
    let locks = servers.locks().await;
    let long = "k".repeat(1024);
    let keys = [" ", "a b", "{}", "{}x", "a}b{c", "{a}{b}", "ключ", "鍵:🔑", "line\nbreak", "*[?]", &long];
    for key in keys {
        let guard = locks.lock(key).ttl(TTL).fence().acquire().await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert!(servers.held(key) >= 2, "{key:?}");
        guard.release().await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
        eventually("given back", SLACK, || servers.held(key) == 0).await;
    }
}

/// Promise: `shutdown` leaves no key on any server.
///
/// Turned red by: a shutdown that does not wait for what goes on in the background.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_leaves_nothing_anywhere() {
    let servers = Servers::start(3);
    for round in 0..20 {
        let locks = servers.locks().await;
        let key = format!("k:{round}");
        let guard = locks.lock(key.clone()).ttl(60 * TTL).acquire().await.expect("the lock");
        if round % 2 == 0 {
            drop(guard);
        } else {
            guard.release().await.expect("released");
        }
        locks.shutdown().await;
        assert_eq!(servers.held(&key), 0, "round {round}");
    }
}

/// Promise: a lock that waits is got soon after it is free, and nobody waits for ever when many want it at the same moment.
///
/// Turned red by: pauses that are the same for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rx_07_row_50_split_votes_end() {
    const ROUNDS: usize = 12;
    let servers = Servers::start(3);
    for clients in [2, 4, 8] {
        let mut managers = Vec::new();
        for _ in 0..clients {
            managers.push(servers.locks().await);
        }
        let barrier = Arc::new(tokio::sync::Barrier::new(clients));
        let inside = Arc::new(AtomicUsize::new(0));
        let calls = managers.into_iter().map(|locks| {
            let (barrier, inside) = (barrier.clone(), inside.clone());
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for round in 0..ROUNDS {
                    barrier.wait().await;
                    let begun = Instant::now();
                    let request = locks.lock(format!("split:{round}")).ttl(5 * TTL).wait(60 * TTL);
                    let guard = request.acquire().await.expect("the lock in the end");
                    longest = longest.max(begun.elapsed());
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.expect("released");
                }
                longest
            })
        });
        let mut longest = Duration::ZERO;
        for call in calls.collect::<Vec<_>>() {
            longest = longest.max(call.await.expect("no panic"));
        }
        println!("{clients} clients: longest wait {longest:?}");
        assert!(longest < Duration::from_secs(15), "{clients} clients: {longest:?}");
    }
}
