//! A job that several instances start at the same time, and that runs once.
//!
//! ```sh
//! redis-server &
//! cargo run --example scheduled   # in two or three terminals
//! ```
//!
//! Each instance has a timer of its own, as every replica of a service has its cron. Whoever is first does the job. It is
//! done in no time, and the instances' clocks differ by some milliseconds: `min_hold` keeps the lock until the last of them
//! has come and gone, or the job would run once for each that is late.
//!
//! `REDIS_URL` names another server; `PERIOD` is the time between two runs, in milliseconds.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lock_runtime::{LockError, LockManager, distributed_lock};
use tokio::time::sleep;

/// `None`: another instance is at it, or was just now.
#[distributed_lock(key = "report", ttl = period, min_hold = period / 2, on_busy = "skip", manager = locks)]
async fn report(locks: &LockManager, period: Duration, run: u128) -> Result<Option<String>, LockError> {
    Ok(Some(format!("report number {run}")))
}

/// Sleeps until the next full period of the wall clock, and gives its number.
async fn next_run(period: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run = now.as_nanos() / period.as_nanos() + 1;
    let rest = period.as_nanos() - now.as_nanos() % period.as_nanos();
    sleep(Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))).await;
    run
}

#[tokio::main]
async fn main() -> ExitCode {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let period = env::var("PERIOD").ok().and_then(|millis| millis.parse().ok()).unwrap_or(5_000).max(100);
    let period = Duration::from_millis(period);
    let locks = match LockManager::connect(&url).await {
        Ok(locks) => locks,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Start a server with `redis-server`, or set REDIS_URL to the address of one.");
            return ExitCode::FAILURE;
        }
    };
    println!("a report every {period:?}");
    loop {
        let run = next_run(period).await;
        match report(&locks, period, run).await {
            Ok(Some(report)) => println!("run {run}: {report}"),
            Ok(None) => println!("run {run}: done elsewhere"),
            Err(error) => println!("run {run}: {error}"),
        }
    }
}
