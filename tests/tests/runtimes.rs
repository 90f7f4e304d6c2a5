//! One manager in a `static`, many runtimes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisServer;
use tokio::runtime::{Builder, Runtime};

/// As an application has it: made before any runtime, never dropped.
fn locks() -> &'static LockManager {
    static LOCKS: OnceLock<LockManager> = OnceLock::new();
    LOCKS.get_or_init(|| LockManager::connect_lazy(&server().url()).expect("a good address"))
}

/// Never dropped either: it ends with the process.
fn server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads.max(1)).enable_all().build().expect("a runtime")
}

#[distributed_lock(key = "once", ttl = "60s", manager = locks())]
async fn once() -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(key = "counted", ttl = "60s", wait = "60s", manager = locks())]
async fn counted(inside: &AtomicBool, count: &AtomicUsize) -> Result<(), LockError> {
    assert!(!inside.swap(true, Ordering::SeqCst), "two bodies at once");
    tokio::time::sleep(Duration::from_millis(1)).await;
    count.fetch_add(1, Ordering::SeqCst);
    inside.store(false, Ordering::SeqCst);
    Ok(())
}

/// Promise: a manager in a `static` works on one runtime after another, as in one `#[tokio::test]` after another.
///
/// Turned red by: one connection for all runtimes. It dies with the first, and whoever does not wait learns of it.
#[test]
fn one_after_the_other() {
    for round in 0..20 {
        let runtime = runtime(round % 3);
        for _ in 0..2 {
            let call = async { tokio::time::timeout(Duration::from_secs(10), once()).await };
            runtime.block_on(call).expect("no hang").expect("the lock");
        }
    }
}

/// Promise: it works on several runtimes at once, and excludes their bodies from each other.
///
/// Turned red by: a waiter in the local queue that is woken on a runtime which has ended.
#[test]
fn at_once() {
    let (inside, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (inside, count) = (&inside, &count);
            scope.spawn(move || {
                for _ in 0..5 {
                    runtime(thread % 3).block_on(async {
                        let five = [(); 5].map(|()| counted(inside, count));
                        for call in five {
                            call.await.expect("the lock");
                        }
                    });
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 4 * 5 * 5);
}

/// Promise: a runtime that ends in the middle of everything (bodies under way, callers in the queue) hinders nobody on
/// another: its waiters leave the queue, and its lock is free when its ttl is over, at the latest.
///
/// Turned red by: a dropped waiter that keeps its place.
#[test]
fn a_runtime_ends_in_the_middle() {
    #[distributed_lock(key = "middle", ttl = "1s", wait = "60s", manager = locks())]
    async fn hang() -> Result<(), LockError> {
        std::future::pending().await
    }

    let first = runtime(2);
    for _ in 0..5 {
        first.spawn(hang());
    }
    lock_tests::eventually_blocking("the first body runs", Duration::from_secs(10), || {
        server().admin().exists("middle")
    });
    first.shutdown_background();

    runtime(0).block_on(async {
        let acquire = locks().lock("middle").ttl(Duration::from_secs(1)).wait(Duration::from_secs(10)).acquire();
        let guard = tokio::time::timeout(Duration::from_secs(5), acquire).await;
        guard.expect("no hang").expect("the lock").release().await.expect("ours");
    });
}

/// Promise: without tokio there is an error, and no panic.
///
/// Turned red by: `Handle::current()`.
#[test]
fn without_a_runtime() {
    let acquire = locks().lock("nowhere").ttl(Duration::from_secs(1)).acquire();
    let outcome = poll_once(acquire);
    assert!(outcome.is_some_and(|outcome| outcome.is_err_and(|error| error.is_unavailable())));
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
