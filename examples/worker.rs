//! One worker at a time, for as long as it lives: the lock is renewed while the work goes on, and passes to another
//! instance when this one ends, is killed, or is stopped for longer than the lease.
//!
//! ```sh
//! redis-server &
//! cargo run --example worker   # in two terminals; then Ctrl-C, `kill -9` or `kill -STOP` the one that works
//! ```
//!
//! `REDIS_URL` names another server.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use lock_runtime::{LockError, LockManager, distributed_lock};
use tokio::time::sleep;

/// Works through the feed, batch after batch, for longer than any TTL.
///
/// The lease is short, so that another instance can take over soon; renewal makes it last. `max_hold` is for the day on which a
/// batch hangs: without it, that would hold the lock for as long as this process lives.
#[distributed_lock(
    key = "feed:{feed}",
    ttl = "1s",
    renew,
    max_hold = "1h",
    wait = Duration::MAX,
    metadata = "worker {id}",
    manager = locks,
    guard = lock
)]
async fn import(locks: &LockManager, feed: &str, id: u32, batches: u32) -> Result<u32, LockError> {
    println!("worker {id}: importing {feed}");
    for batch in 1..=batches {
        // If the lock is lost here, this future is dropped, and nothing below runs.
        sleep(Duration::from_millis(500)).await;
        println!("worker {id}: batch {batch}, {:?} left", lock.remaining());
    }
    Ok(batches)
}

#[tokio::main]
async fn main() -> ExitCode {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let batches = env::var("BATCHES").ok().and_then(|batches| batches.parse().ok()).unwrap_or(u32::MAX);
    let locks = match LockManager::connect(&url).await {
        Ok(locks) => locks,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Start a server with `redis-server`, or set REDIS_URL to the address of one.");
            return ExitCode::FAILURE;
        }
    };
    let id = std::process::id();
    let work = tokio::spawn({
        let locks = locks.clone();
        async move {
            loop {
                match import(&locks, "orders", id, batches).await {
                    Ok(batches) => return println!("worker {id}: done after {batches} batches"),
                    // Somebody else goes on from here. Line up again.
                    Err(error @ LockError::Lost { .. }) => println!("worker {id}: stopped working: {error}"),
                    Err(error) => {
                        println!("worker {id}: {error}");
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    });
    let stop = work.abort_handle();
    tokio::spawn(async move {
        // Without a signal handler the process would end at once, and the lock only with its TTL.
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.abort();
        }
    });
    let ended = work.await;
    // The next worker starts now, and not after the lease.
    locks.shutdown().await;
    match ended {
        Err(error) if error.is_panic() => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
