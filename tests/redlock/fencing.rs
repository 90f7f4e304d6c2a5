//! Fencing tokens of a majority.

use crate::servers::{Servers, TTL};

/// Promise: tokens rise with every holder, while servers of a minority are killed and come back without their data, one after
/// another, so that in the end each of the counters was lost several times.
///
/// Turned red by: tokens of the majority that happened to answer, which are not written back; counters without a clock.
#[tokio::test]
async fn tokens_rise_while_servers_forget() {
    let mut servers = Servers::start(3);
    let mut last = 0;
    for round in 0..9 {
        for _ in 0..3 {
            // Of a process that remembers nothing.
            let locks = lock_runtime::LockManager::builder(servers.store()).build();
            let guard = locks.lock("k").ttl(TTL).wait(10 * TTL).fence().acquire().await.expect("the lock");
            let fence = guard.fence().expect("asked for");
            assert!(fence > last, "{fence} after {last}, round {round}");
            last = fence;
            guard.release().await.expect("released");
            locks.shutdown().await;
        }
        servers.0[round % 3].restart_empty();
    }
}

/// Promise: a token that was given is known to a majority: whichever server is missed, the next one is higher, also where one
/// counter is far ahead of the clocks.
///
/// Turned red by: a token that is the highest of the answers, and not written back.
#[tokio::test]
async fn a_majority_knows_the_token() {
    let mut servers = Servers::start(3);
    let locks = lock_runtime::LockManager::builder(servers.store()).build();
    let guard = locks.lock("k").ttl(TTL).fence().acquire().await.expect("the lock");
    guard.release().await.expect("released");
    // Whatever its name: the only key that is left.
    let counter: Vec<String> = servers.0[0].admin().command(&["KEYS", "*"]);
    let [counter] = &*counter else { panic!("one counter: {counter:?}") };
    let ahead = 9_000_000_000_000_000_i64;
    servers.0[0].admin().set(counter, &ahead.to_string(), &[]);
    let mut last = ahead;
    for missed in [2, 0, 1, 2, 0] {
        servers.0[missed].pause();
        let locks = lock_runtime::LockManager::builder(servers.store()).build();
        let guard = locks.lock("k").ttl(TTL).wait(10 * TTL).fence().acquire().await.expect("a majority");
        let fence = guard.fence().expect("asked for");
        assert!(fence > last, "{fence} after {last}, without server {missed}");
        last = fence;
        guard.release().await.expect("released");
        servers.0[missed].resume();
    }
}
