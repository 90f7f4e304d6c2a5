//! Rows 48 to 53 of the matrix of faults, and 39 once more.

use std::time::{Duration, Instant};

use lock_runtime::{LockManager, SetupError};
use lock_tests::{RedisServer, WallClock, eventually};

use crate::servers::{LIMIT, SLACK, Servers, TTL};

/// Promise: a minority that is stopped, or killed, costs no lock, and after the first ones no time.
///
/// Turned red by: waiting for everybody; nodes that are asked again by everybody while they hang.
#[tokio::test]
async fn row_48_a_minority_is_stopped() {
    for (count, minority) in [(3, 1), (5, 2)] {
        let mut servers = Servers::start(count);
        let locks = servers.locks().await;
        let pair = async || {
            let begun = Instant::now();
            let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
            guard.release().await.expect("released");
            begun.elapsed()
        };
        pair().await;
        for server in &mut servers.0[..minority] {
            server.pause();
        }
        let mut times = Vec::new();
        for _ in 0..200 {
            times.push(pair().await);
        }
        times.sort_unstable();
        println!("{minority} of {count} stopped: median {:?}, longest {:?}", times[100], times[199]);
        assert!(times[199] < LIMIT + SLACK, "{:?}", times[199]);
        assert!(times[100] < LIMIT / 4, "{:?}", times[100]);
        for server in &mut servers.0[..minority] {
            server.resume();
            server.kill();
        }
        for _ in 0..20 {
            assert!(pair().await < LIMIT + SLACK);
        }
        for server in &mut servers.0[..minority] {
            server.restart_empty();
        }
        let all = || {
            // A second after they were given up.
            servers.held("again") == count
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let guard = locks.lock("again").ttl(TTL).acquire().await.expect("the lock");
            tokio::time::sleep(LIMIT / 2).await;
            let is_all = all();
            guard.release().await.expect("released");
            if is_all {
                break;
            }
            assert!(Instant::now() < deadline, "they take part again");
        }
    }
}

/// Promise: a lock that somebody else has is busy, and not unavailable, while a minority is dead.
///
/// Turned red by: an error as soon as no majority can say yes any more, although not all have answered.
#[tokio::test]
async fn row_48_busy_beside_dead_servers() {
    for (count, minority) in [(3, 1), (5, 2)] {
        let mut servers = Servers::start(count);
        let (theirs, ours) = (servers.locks().await, servers.locks().await);
        servers.0[..minority].iter_mut().for_each(RedisServer::kill);
        let guard = theirs.lock("k").ttl(30 * TTL).acquire().await.expect("the lock");
        for _ in 0..100 {
            let error = ours.lock("k").ttl(TTL).acquire().await.expect_err("held");
            assert!(error.is_busy(), "{minority} of {count} dead: {error}");
        }
        guard.release().await.expect("released");
    }
}

/// Promise: without a majority there is no lock but an error, in the time that a node has; what the others gave is given back, and
/// what the stopped ones do later does not stay.
///
/// Turned red by: an error that leaves the third one taken; servers that are forgotten because they did not answer.
#[tokio::test]
async fn row_49_a_majority_is_stopped() {
    let mut servers = Servers::start(3);
    let locks = servers.locks().await;
    locks.lock("warm-up").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    for server in &mut servers.0[..2] {
        server.pause();
    }
    for _ in 0..3 {
        let begun = Instant::now();
        let error = locks.lock("k").ttl(10 * TTL).acquire().await.expect_err("no majority");
        assert!(error.is_unavailable(), "{error}");
        // A node has a second of such a TTL.
        assert!(begun.elapsed() < 10 * LIMIT + SLACK, "{:?}", begun.elapsed());
    }
    eventually("given back on the third", SLACK, || !servers.0[2].admin().exists("k")).await;
    for server in &mut servers.0[..2] {
        server.resume();
    }
    // What they were sent is carried out now, with a whole TTL each; and so is what was sent behind it.
    eventually("given back everywhere", 5 * TTL, || servers.held("k") == 0).await;
    let guard = locks.lock("k").ttl(TTL).wait(5 * TTL).acquire().await.expect("it is free");
    guard.release().await.expect("released");
}

/// Promise, and its limit: a server that loses a lock while it is held, and is used again at once, can let two have it. The
/// documentation says so; started again after the longest TTL, it cannot.
///
/// Turned red by: this not being so any more, which would be worth a promise.
#[tokio::test]
async fn row_51_a_server_forgets() {
    let mut servers = Servers::start(3);
    servers.0[2].kill();
    let first = LockManager::builder(servers.store()).build();
    let held = first.lock("k").ttl(TTL).acquire().await.expect("two of three");
    servers.0[2].restart_empty();
    servers.0[0].admin().command::<()>(&["FLUSHALL"]);
    let second = LockManager::builder(servers.store()).build();
    let too = second.lock("k").ttl(TTL).acquire().await.expect("two of three, one of which has forgotten");
    assert!(held.remaining() > Duration::ZERO && too.remaining() > Duration::ZERO, "two holders");
    too.release().await.expect("released");
    drop(held);
    first.shutdown().await;

    // The same, where it comes back when all locks that it knew are over.
    servers.0[2].kill();
    let held = first_again(&servers).await;
    servers.0[0].kill();
    servers.0[2].restart_empty();
    let begun = Instant::now();
    let error = second.lock("k").ttl(TTL).acquire().await.expect_err("the one that is left keeps it");
    assert!(error.is_busy() || error.is_unavailable(), "{error}");
    let until = held.remaining();
    tokio::time::sleep(TTL.saturating_sub(begun.elapsed())).await;
    servers.0[0].restart_empty();
    let guard = second.lock("k").ttl(TTL).wait(5 * TTL).acquire().await.expect("when it is over");
    assert!(begun.elapsed() >= until && held.remaining() == Duration::ZERO);
    guard.release().await.expect("released");
}

/// A lock of another process, on two of three.
async fn first_again(servers: &Servers) -> lock_runtime::LockGuard {
    let locks = LockManager::builder(servers.store()).build();
    locks.lock("k").ttl(TTL).acquire().await.expect("two of three")
}

/// Promise: an extension without a majority fails, in the time that a node has; the lock is not given back, its deadline stands, and
/// when the servers are back it can be extended.
///
/// Turned red by: giving it back when an extension fails.
#[tokio::test]
async fn row_52_a_failed_extension() {
    let ttl = 5 * TTL;
    let mut servers = Servers::start(3);
    let locks = servers.locks().await;
    let guard = locks.lock("k").ttl(ttl).acquire().await.expect("the lock");
    eventually("on all of them", SLACK, || servers.held("k") == 3).await;
    for server in &mut servers.0[..2] {
        server.pause();
    }
    let (begun, before) = (Instant::now(), guard.remaining());
    let error = guard.extend(ttl).await.expect_err("no majority");
    assert!(error.is_unavailable(), "{error}");
    assert!(begun.elapsed() < 5 * LIMIT + SLACK, "{:?}", begun.elapsed());
    assert!(guard.remaining() > Duration::ZERO && guard.remaining() <= before);
    assert!(servers.0[2].admin().exists("k"), "not given back");
    for server in &mut servers.0[..2] {
        server.resume();
    }
    assert_eq!(servers.held("k"), 3);
    let deadline = Instant::now() + ttl / 2;
    while let Err(error) = guard.extend(ttl).await {
        assert!(error.is_unavailable() && Instant::now() < deadline, "{error}");
    }
    guard.release().await.expect("released");
}

/// Promise: servers that are not independent are refused when the manager is made, and so is a set of which no majority answers;
/// the error says which, and no password.
///
/// Turned red by: comparing addresses.
#[tokio::test]
async fn row_53_servers_that_are_not_independent() {
    let servers = Servers::start(2);
    let [one, two] = [servers.0[0].url(), servers.0[1].url()];
    let same = one.replace("127.0.0.1", "localhost");
    let error = LockManager::redlock([&one, &two, &same]).await.expect_err("one server twice");
    assert!(matches!(error, SetupError::Address { .. }), "{error}");
    assert!(error.to_string().contains("nodes 1 and 3 are the same server"), "{error}");

    let clustered = RedisServer::options().arguments(["--cluster-enabled", "yes"]).start();
    let error = LockManager::redlock([&one, &clustered.url(), &two]).await.expect_err("a node of a cluster");
    assert!(error.to_string().contains("node 2 belongs to a cluster"), "{error}");

    let away = |n: u16| format!("redis://:s3cret@127.0.0.1:{n}/");
    let error = LockManager::redlock([one, away(1), away(2)]).await.expect_err("no majority");
    let text = error.to_string();
    assert!(matches!(error, SetupError::Unreachable { .. }) && !text.contains("s3cret"), "{text}");
    assert!(text.contains("node 2 of 3: redis at 127.0.0.1:1 ") && text.contains("node 3 of 3: "), "{text}");
}

/// What is not promised: a server whose clock is set forwards ends a lock early, as one that forgets it, and then two can have it.
/// Promise: neither gives back what is the other's, and the later one's fencing token is the higher.
///
/// Turned red by: a release by bare `DEL`; tokens that are not those of a majority.
#[tokio::test]
async fn row_39_the_clock_of_a_server_is_set_forwards() {
    const LEASE: Duration = Duration::from_secs(30);
    let Some(mut clock) = WallClock::new() else { return };
    let stepped = RedisServer::options().environment(clock.environment()).start();
    let mut servers = Servers(vec![stepped, RedisServer::start(), RedisServer::start()]);
    servers.0[2].kill();
    let ours = LockManager::builder(servers.store()).build();
    let first = ours.lock("k").ttl(LEASE).fence().acquire().await.expect("two of three");
    servers.0[2].restart_empty();
    let theirs = LockManager::builder(servers.store()).build();
    let busy = theirs.lock("k").ttl(LEASE).acquire().await.expect_err("two of three are taken");
    assert!(busy.is_busy(), "{busy}");
    eventually("what one gave is given back", SLACK, || !servers.0[2].admin().exists("k")).await;
    clock.step(31);
    let second =
        theirs.lock("k").ttl(LEASE).wait(5 * TTL).fence().acquire().await.expect("it has ended on one of them");
    assert!(first.remaining() > Duration::ZERO, "two holders");
    assert!(second.fence() > first.fence() && first.fence().is_some());
    let error = first.release().await.expect_err("one of three is no majority");
    assert!(error.is_lost() || error.is_unavailable(), "{error}");
    second.extend(LEASE).await.expect("still theirs");
    second.release().await.expect("still theirs");
}
