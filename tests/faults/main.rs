//! The fault matrix: what the network, the server, the clocks and the operating system may do to a lock, each done for real to
//! `redis-server` processes, workers and connections of the test's own.
//!
//! A test is named by its row of the matrix, and opens with the promise that it checks. Every fault is counted, and a test whose
//! fault never happened fails. Row 59, that no secret is shown, needs a process of its own: see `tests/secrets.rs`.

mod acquiring;
mod cancelling;
mod clocks;
mod clusters;
mod inspecting;
mod leases;
mod limits;
mod lines;
mod network;
mod processes;
mod releasing;
mod renewing;
mod scripts;
mod servers;
mod stalls;
mod users;
mod waiting;

use std::process::Command;
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{Admin, Process, RedisServer};

/// Far longer than any of these tests may take: what is freed is freed by a release, and not by its expiry.
const TTL: Duration = Duration::from_secs(60);

/// The bound of one operation: a second, which is the default, for the operation and one more for making a connection first; and
/// what a busy machine may add.
const DEADLINE: Duration = Duration::from_millis(2500);

/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How long an [`impatient`] manager waits for an answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a process may take to start, or to end.
const PROCESS: Duration = Duration::from_secs(20);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[distributed_lock(key = "work", ttl = TTL, manager = locks)]
async fn locked<T>(locks: &LockManager, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
}

/// A manager that takes a short silence for one, for tests that would wait for it.
fn impatient(url: &str) -> LockManager {
    let store = RedisStore::open(url).expect("a good address");
    LockManager::builder(store.operation_timeout(PATIENCE)).build()
}

/// Makes a connection, and the server know the scripts that a guard needs.
async fn warm_up(locks: &LockManager) {
    let guard = locks.lock("warm-up").ttl(TTL).acquire().await.expect("the lock");
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
}

/// Awaits `future`, and fails if it takes longer than the deadline of an operation.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let output = tokio::time::timeout(4 * DEADLINE, future).await;
    let took = started.elapsed();
    assert!(took < DEADLINE, "{what} took {took:?}");
    output.unwrap_or_else(|_| panic!("{what} took {took:?}"))
}

/// How often the server has executed `command`.
fn executed(admin: &mut Admin, command: &str) -> u64 {
    admin.command_counts().get(command).copied().unwrap_or_default()
}

/// Starts the worker program.
fn worker(arguments: &[&str]) -> Process {
    Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments))
}
