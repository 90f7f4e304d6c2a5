//! A server that has forgotten the scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_tests::{RedisServer, Sometimes, eventually};

use crate::{AT_ONCE, TTL, connect, executed, in_time, locked};

/// Promise: that the server forgets its scripts between two operations (a restart, a failover, `SCRIPT FLUSH`) is invisible, whatever
/// operation comes next.
///
/// Turned red by: `EVALSHA` without the fallback.
#[tokio::test]
async fn row_25_scripts_forgotten_before_each_operation() {
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
        eventually("the dropped guard's key is gone", AT_ONCE, || !admin.exists("flushed")).await;
    }
}

/// Promise: the same while it forgets them all the time, between a script's hash and its text too.
///
/// Turned red by: `SCRIPT LOAD`, then `EVALSHA`.
#[tokio::test]
async fn row_25_scripts_forgotten_all_the_time() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (locks, others) = (connect(&server).await, connect(&server).await);
    let forgotten = Sometimes::new("a forgotten script");
    let over = Arc::new(AtomicBool::new(false));
    let forget = std::thread::spawn({
        let (mut admin, over) = (server.admin(), over.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                admin.forget_scripts();
            }
        }
    });
    for _ in 0..100 {
        let guard = locks.lock("flushed").ttl(TTL).acquire().await.expect("the lock");
        let busy = others.lock("flushed").ttl(TTL).acquire().await.expect_err("it is held");
        assert!(busy.is_busy(), "{busy}");
        guard.extend(2 * TTL).await.expect("extended");
        guard.release().await.expect("released");
    }
    over.store(true, Ordering::Relaxed);
    forget.join().expect("no panic");
    // The text is sent where the hash was not known.
    for _ in 0..executed(&mut admin, "eval") {
        forgotten.happened();
    }
}

/// Promise: the same after a restart of the server.
///
/// Turned red by: `EVALSHA` without the fallback.
#[tokio::test]
async fn row_25_scripts_forgotten_by_a_restart() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    for round in 0..3 {
        assert_eq!(in_time("a call", locked(&locks, async { round })).await.expect("the lock"), round);
        server.restart_empty();
    }
}
