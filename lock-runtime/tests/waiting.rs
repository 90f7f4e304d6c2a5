//! Asking and waiting, through the builder, on the memory store under paused time.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Store};
use lock_runtime::{LockError, LockManager, LostCause, Retry, StoreErrorKind};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Promise: one holder at a time, and what is given back is free at once.
#[tokio::test(start_paused = true)]
async fn a_lock_excludes_until_it_is_released() {
    let manager = LockManager::in_memory();
    let guard = manager.lock("k").ttl(SECOND).metadata("me").acquire().await.expect("free");
    let error = manager.lock("k").ttl(SECOND).acquire().await.expect_err("held");
    let LockError::Busy(busy) = error else { panic!("{error}") };
    assert_eq!(busy.key.as_str(), "k");
    assert!(busy.waited.is_zero());
    assert!(busy.holder.as_ref().is_some_and(|holder| holder.this_process), "{busy}");
    assert_eq!(busy.holder.and_then(|holder| holder.metadata).as_deref(), Some("me"));
    guard.release().await.expect("ours");
    manager.lock("k").ttl(SECOND).acquire().await.expect("free again").release().await.expect("ours");
}

/// Promise: dropping a guard gives the lock back.
#[tokio::test(start_paused = true)]
async fn a_dropped_guard_frees_the_lock() {
    let manager = LockManager::in_memory();
    drop(manager.lock("k").ttl(SECOND).acquire().await.expect("free"));
    manager.lock("k").ttl(SECOND).acquire().await.expect("free again").release().await.expect("ours");
}

/// Promise: a lock that ran out is free, its holder is told so, and cannot end the next one's.
#[tokio::test(start_paused = true)]
async fn a_lease_ends_by_itself() {
    let manager = LockManager::in_memory();
    let first = manager.lock("k").ttl(SECOND).acquire().await.expect("free");
    tokio::time::advance(SECOND).await;
    assert_eq!(first.remaining(), Duration::ZERO);
    let second = manager.lock("k").ttl(SECOND).acquire().await.expect("free");
    let error = first.release().await.expect_err("over");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, completed: false, .. }), "{error}");
    assert!(second.remaining() > ms(900));
    assert_eq!(second.ttl().await.expect("memory answers"), SECOND);
    second.release().await.expect("untouched");
}

/// Promise: `wait` is the limit of the waiting, whatever the TTL is.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_busy_when_it_is_over() {
    let (manager, other) = two_managers();
    let _held = other.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    let started = Instant::now();
    let error = manager.lock("k").ttl(SECOND).wait(3 * SECOND).acquire().await.expect_err("held");
    assert!(error.is_busy(), "{error}");
    assert!((ms(3000)..ms(3050)).contains(&started.elapsed()), "{:?}", started.elapsed());
}

/// Promise: a waiter gets a lock that somebody else lets go, and a crashed holder's when its TTL is over.
#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_lock_when_it_is_free() {
    let (manager, other) = two_managers();
    let held = other.lock("k").ttl(SECOND).acquire().await.expect("free");
    std::mem::forget(held);
    let started = Instant::now();
    let guard = manager.lock("k").ttl(SECOND).wait(Duration::MAX).acquire().await.expect("its ttl ends");
    assert!((ms(1000)..ms(1010)).contains(&started.elapsed()), "{:?}", started.elapsed());
    guard.release().await.expect("ours");
}

/// Promise: tasks of one process are served first in, first out, and the next one starts as soon as the lock is given back.
#[tokio::test(start_paused = true)]
async fn the_line_of_one_process_is_fifo_and_without_polling() {
    let manager = LockManager::in_memory();
    let held = manager.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    let started = Instant::now();
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..50 {
        let (manager, order) = (manager.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let guard = manager.lock("k").ttl(60 * SECOND).wait(60 * SECOND).acquire().await.expect("its turn");
            order.lock().expect("not poisoned").push(number);
            tokio::time::sleep(ms(10)).await;
            guard.release().await.expect("ours");
        }));
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(ms(100)).await;
    held.release().await.expect("ours");
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("not poisoned"), (0..50).collect::<Vec<_>>());
    // 100 ms held, then 50 holds of 10 ms, and nothing in between.
    assert!(started.elapsed() < ms(100 + 50 * 11 + 10), "{:?}", started.elapsed());
}

/// Promise: a waiter that gives up leaves the line in order for those behind.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_is_passed_over() {
    let manager = LockManager::in_memory();
    let held = manager.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    let impatient = manager.lock("k").ttl(SECOND).wait(ms(100));
    let patient = manager.lock("k").ttl(SECOND).wait(10 * SECOND);
    let (first, second, third, ()) = tokio::join!(
        impatient.clone().acquire(),
        impatient.acquire(),
        async { patient.acquire().await.expect("its turn").release().await },
        async {
            tokio::time::sleep(SECOND).await;
            held.release().await.expect("ours");
        }
    );
    assert!(first.expect_err("gave up").is_busy());
    assert!(second.expect_err("gave up").is_busy());
    third.expect("ours");
}

/// Promise: a strategy decides how often a busy lock is asked for; without an end and without a `wait` it is refused.
#[tokio::test(start_paused = true)]
async fn a_strategy_decides_when_to_ask_again() {
    let (manager, other) = two_managers();
    let held = other.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    let started = Instant::now();
    let retry = Retry::linear(ms(5)).limit(2);
    let error = manager.lock("k").ttl(SECOND).retry(retry).acquire().await.expect_err("held");
    assert!(error.is_busy());
    assert!((ms(10)..ms(15)).contains(&started.elapsed()), "{:?}", started.elapsed());

    // The same when the holder is in this process, where nobody has to be asked.
    let started = Instant::now();
    let error = other.lock("k").ttl(SECOND).retry(retry).acquire().await.expect_err("held");
    assert!(error.is_busy());
    assert!((ms(10)..ms(15)).contains(&started.elapsed()), "{:?}", started.elapsed());

    let endless = manager.lock("k").ttl(SECOND).retry(Retry::linear(ms(5)));
    let error = endless.clone().acquire().await.expect_err("endless");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert!(endless.wait(ms(20)).acquire().await.expect_err("held").is_busy());
    held.release().await.expect("ours");
}

/// Promise: what cannot be a lock is refused before anything is sent.
#[tokio::test(start_paused = true)]
async fn nonsense_is_invalid() {
    let manager = LockManager::in_memory();
    let day = 24 * 60 * 60 * SECOND;
    for (key, ttl) in [("", SECOND), ("k", ms(9)), ("k", Duration::ZERO), ("k", 31 * day), ("k", Duration::MAX)] {
        let error = manager.lock(key).ttl(ttl).acquire().await.expect_err("nonsense");
        assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    }
    let guard = manager.lock("k").ttl(30 * day).acquire().await.expect("just possible");
    assert!(matches!(guard.extend(ms(9)).await, Err(LockError::Invalid { .. })));
    assert!(matches!(guard.extend(Duration::MAX).await, Err(LockError::Invalid { .. })));
    let huge = manager.lock("k2").ttl(SECOND).metadata("x".repeat(2000)).acquire().await;
    assert!(matches!(huge, Err(LockError::Invalid { .. })));
}

/// Promise: `extend` never shortens and never brings back; `set_ttl` sets exactly.
#[tokio::test(start_paused = true)]
async fn a_lease_can_be_extended_and_set() {
    let manager = LockManager::in_memory();
    let guard = manager.lock("k").ttl(10 * SECOND).acquire().await.expect("free");
    guard.extend(SECOND).await.expect("ours");
    assert_eq!(guard.ttl().await.expect("memory answers"), 10 * SECOND);
    guard.extend(20 * SECOND).await.expect("ours");
    assert_eq!(guard.ttl().await.expect("memory answers"), 20 * SECOND);
    assert!(guard.remaining() > 19 * SECOND);
    guard.set_ttl(SECOND).await.expect("ours");
    assert_eq!(guard.ttl().await.expect("memory answers"), SECOND);
    assert!(guard.remaining() < SECOND);
    tokio::time::advance(SECOND).await;
    assert!(guard.extend(SECOND).await.expect_err("over").is_lost());
    assert_eq!(guard.ttl().await.expect("memory answers"), Duration::ZERO);
    manager.lock("k").ttl(SECOND).acquire().await.expect("not brought back").release().await.expect("ours");
}

/// Promise: a prefix is part of the key, for the store and for people.
#[tokio::test(start_paused = true)]
async fn a_prefix_stands_before_every_key() {
    let manager = LockManager::builder(lock_runtime::store::memory::MemoryStore::new()).key_prefix("app:").build();
    let guard = manager.lock("k").ttl(SECOND).acquire().await.expect("free");
    assert_eq!(guard.key().as_str(), "app:k");
    let error = manager.lock("k").ttl(SECOND).acquire().await.expect_err("held");
    assert!(error.to_string().contains("`app:k`"), "{error}");
}

/// Promise: after `shutdown` no lock is given out, waiters are told at once, and what is held is given back.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_waits_and_gives_back() {
    let manager = LockManager::in_memory();
    let held = manager.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    let waiter = tokio::spawn(manager.lock("k").ttl(SECOND).wait(Duration::MAX).acquire());
    let in_line = tokio::spawn(manager.lock("k").ttl(SECOND).wait(Duration::MAX).acquire());
    tokio::time::sleep(ms(50)).await;
    let started = Instant::now();
    manager.shutdown().await;
    for waiter in [waiter, in_line] {
        let error = waiter.await.expect("no panic").expect_err("shut down");
        assert!(error.is_unavailable() && error.to_string().contains("shut down"), "{error}");
    }
    // The guard that is held by hand had its grace of 5 s, and a second to react.
    assert!((5 * SECOND..7 * SECOND).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(held.ttl().await.expect("memory answers"), Duration::ZERO);
    assert!(manager.lock("k").ttl(SECOND).acquire().await.expect_err("shut down").is_unavailable());
    assert!(held.release().await.expect_err("taken").is_lost());
}

/// Promise: outside of any runtime, and on one without timers, there is an error and no panic of ours.
#[test]
fn a_runtime_without_timers_is_an_error() {
    let bare = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let manager = LockManager::in_memory();
    // Nothing has to be waited for: no timer is needed.
    let guard = bare.block_on(manager.lock("k").ttl(SECOND).acquire()).expect("free");
    let waiting = manager.lock("k").ttl(SECOND).wait(SECOND).acquire();
    let error = bare.block_on(waiting).expect_err("no timers");
    assert!(error.to_string().contains("enable_all"), "{error}");
    bare.block_on(guard.release()).expect("ours");
}

/// Promise: a lock in memory that nobody could renew is refused before it is taken.
///
/// Turned red by: a renewal that is first missed when it is due.
#[test]
fn a_renewed_lock_needs_timers() {
    let bare = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let manager = LockManager::in_memory();
    let error = bare.block_on(manager.lock("k").ttl(SECOND).renew().acquire()).expect_err("no timers");
    assert!(error.is_unavailable() && error.to_string().contains("enable_all"), "{error}");
    let guard = bare.block_on(manager.lock("k").ttl(SECOND).acquire()).expect("free");
    bare.block_on(guard.release()).expect("ours");
}

/// Two managers of one store: what one holds is somebody else's to the other.
fn two_managers() -> (LockManager, LockManager) {
    let store = lock_runtime::store::memory::MemoryStore::new();
    (LockManager::builder(store.clone()).build(), LockManager::builder(store).build())
}

/// A waker of a program that is called back at any moment, and then uses the library itself.
struct CallsBack {
    manager: LockManager,
    key: &'static str,
    on: On,
    called: AtomicU32,
}

/// When a [`CallsBack`] does so.
#[derive(PartialEq, Eq)]
enum On {
    Wake,
    Drop,
}

impl CallsBack {
    fn waker(manager: &LockManager, key: &'static str, on: On) -> Waker {
        Waker::from(Arc::new(Self { manager: manager.clone(), key, on, called: AtomicU32::new(0) }))
    }

    fn call_back(&self) {
        // Once: asking may wake somebody in turn.
        if self.called.fetch_add(1, Ordering::Relaxed) == 0 {
            let mut call = Box::pin(self.manager.lock(self.key).ttl(SECOND).acquire());
            assert!(poll(call.as_mut(), Waker::noop()).is_ready(), "memory answers at once");
        }
    }
}

impl Wake for CallsBack {
    fn wake(self: Arc<Self>) {
        if self.on == On::Wake {
            self.call_back();
        }
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        if self.on == On::Drop {
            self.call_back();
        }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicU32);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Runs `test` inside of a runtime with paused time, on a thread of its own, and fails if it hangs: a deadlock must not hang the tests.
fn without_deadlock(test: impl FnOnce(&Runtime) + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let _inside = runtime.enter();
        test(&runtime);
        done.send(()).expect("somebody waits");
    });
    match finished.recv_timeout(20 * SECOND) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a deadlock"),
        // Whatever it is, the thread says it.
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Promise: a waker that calls back into the library does not deadlock: wakers are foreign code.
///
/// Turned red by: waking the next in line while the line is locked.
#[test]
fn a_waker_may_call_back() {
    without_deadlock(|_| {
        let manager = LockManager::in_memory();
        for key in ["k", "other"] {
            let mut first = Box::pin(manager.lock("k").ttl(SECOND).acquire());
            let Poll::Ready(Ok(guard)) = poll(first.as_mut(), Waker::noop()) else { panic!("it is free") };
            // One has the turn and is woken by the guard; the other is in line and is woken by the first one's going.
            let waker = CallsBack::waker(&manager, key, On::Wake);
            let mut head = Box::pin(manager.lock("k").ttl(SECOND).wait(SECOND).acquire());
            assert!(poll(head.as_mut(), &waker).is_pending());
            let in_line_waker = CallsBack::waker(&manager, key, On::Wake);
            let mut in_line = Box::pin(manager.lock("k").ttl(SECOND).wait(SECOND).acquire());
            assert!(poll(in_line.as_mut(), &in_line_waker).is_pending());
            drop(guard);
            drop(head);
            drop(in_line);
        }
    });
}

/// Promise: the same when the waker calls back as it is dropped, because the task is polled by another one.
///
/// Turned red by: replacing the waker of a body while the state of its lock is locked.
#[cfg(feature = "macros")]
#[test]
fn a_waker_that_is_dropped_may_call_back() {
    #[lock_runtime::distributed_lock(key = "k", ttl = "60s", manager = manager)]
    async fn endless(manager: &LockManager) -> Result<(), LockError> {
        std::future::pending().await
    }

    without_deadlock(|runtime| {
        let manager = LockManager::in_memory();
        let mut body = Box::pin(endless(&manager));
        let waker = CallsBack::waker(&manager, "k", On::Drop);
        assert!(poll(body.as_mut(), &waker).is_pending());
        drop(waker);
        // The timer of the lease rings, and is done with the waker: the lock has the last one, until the next poll brings
        // another.
        runtime.block_on(tokio::time::advance(61 * SECOND));
        let Poll::Ready(Err(error)) = poll(body.as_mut(), Waker::noop()) else { panic!("the lease is over") };
        assert!(error.is_lost(), "{error}");
    });
}

/// Promise: `Retry::none()` never waits, wherever the holder is.
///
/// Turned red by: waiting for a holder of this process for as long as it holds, whatever the strategy says.
#[tokio::test(start_paused = true)]
async fn a_strategy_without_retries_does_not_wait() {
    let (manager, other) = two_managers();
    let _held = manager.lock("k").ttl(3600 * SECOND).acquire().await.expect("free");
    let _in_line = tokio::spawn(manager.lock("k").ttl(SECOND).wait(Duration::MAX).acquire());
    tokio::task::yield_now().await;
    for manager in [manager, other] {
        let started = Instant::now();
        let error = manager.lock("k").ttl(SECOND).retry(Retry::none()).acquire().await.expect_err("held");
        let LockError::Busy(busy) = error else { panic!("{error}") };
        assert!(busy.holder.is_some(), "{busy}");
        // The timer of tokio counts in milliseconds.
        assert!(started.elapsed() <= ms(1), "{:?}", started.elapsed());
    }
}

/// Promise: a holder for ever is busy like any other, and waiting for it ends when it should.
///
/// Turned red by: arithmetic on the holder's remaining time that overflows.
#[tokio::test(start_paused = true)]
async fn a_holder_for_ever_is_busy() {
    let store = MemoryStore::new();
    let claim = Claim::new("k".into(), Duration::MAX, "for ever".into());
    assert!(matches!(store.acquire(&claim).await.expect("memory answers"), Attempt::Acquired { .. }));
    let manager = LockManager::builder(store).build();
    let started = Instant::now();
    for request in [manager.lock("k").ttl(SECOND), manager.lock("k").ttl(SECOND).wait(SECOND)] {
        let LockError::Busy(busy) = request.acquire().await.expect_err("held") else { panic!("not busy") };
        assert!(busy.retry_after > Some(Duration::MAX / 2), "{busy}");
    }
    assert!((SECOND..SECOND + ms(50)).contains(&started.elapsed()), "{:?}", started.elapsed());
    let patient = manager.lock("k").ttl(SECOND).wait(Duration::MAX).acquire();
    assert!(tokio::time::timeout(3600 * SECOND, patient).await.is_err());
}

/// Promise: a waiter that is cancelled at the very moment when it is handed the turn passes it on, and never disturbs those
/// who line up after it: not even when its line was closed in between, and theirs is a new one.
///
/// Turned red by: a place in line that is given back by a number which a later line gives out again.
#[test]
fn a_waiter_cancelled_at_its_turn_leaves_later_lines_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let (manager, other) = two_managers();
    let waiting = || {
        let mut waiting = Box::pin(manager.lock("k").ttl(60 * SECOND).wait(Duration::MAX).acquire());
        assert!(poll(waiting.as_mut(), Waker::noop()).is_pending());
        waiting
    };
    for round in 0..3000 {
        let mut theirs = Box::pin(other.lock("k").ttl(60 * SECOND).acquire());
        let Poll::Ready(Ok(elsewhere)) = poll(theirs.as_mut(), Waker::noop()) else {
            panic!("round {round}: not free")
        };
        let (head, second) = (waiting(), waiting());
        let start = Barrier::new(3);
        let (woken, next, mut last) = std::thread::scope(|scope| {
            let (start, apart) = (&start, round % 2 == 0);
            // Together: the turn is handed to the second one, which goes without having looked. Apart: at the same moment.
            let (here, there) = if apart { (None, Some(second)) } else { (Some(second), None) };
            scope.spawn(move || {
                start.wait();
                drop(head);
                drop(here);
            });
            scope.spawn(move || {
                start.wait();
                drop(there);
            });
            start.wait();
            let next = waiting();
            let woken = Arc::new(Counter::default());
            let mut last = Box::pin(manager.lock("k").ttl(60 * SECOND).wait(Duration::MAX).acquire());
            assert!(poll(last.as_mut(), &Waker::from(woken.clone())).is_pending());
            (woken, next, last)
        });
        // Everybody before `next` has gone; `next` stands before `last`.
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "round {round}: woken before its turn");
        drop(elsewhere);
        drop(next);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "round {round}: its turn, and nobody says so");
        let Poll::Ready(Ok(guard)) = poll(last.as_mut(), Waker::noop()) else { panic!("round {round}: not its turn") };
        drop(guard);
    }
}

/// Promise: a line is not longer than it may be, and whoever finds it full is told so at once.
///
/// Turned red by: a line that everybody may join.
#[tokio::test(start_paused = true)]
async fn a_line_can_be_full() {
    let manager = LockManager::builder(MemoryStore::new()).max_waiting(2).build();
    let guard = manager.lock("k").ttl(SECOND).acquire().await.expect("free");
    let ask = || manager.lock("k").ttl(SECOND).wait(SECOND).acquire();
    // The head of the line, which asks the store, and two behind it.
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(ask())).collect();
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(waiting.iter_mut().all(|call| call.as_mut().poll(&mut nobody).is_pending()));
    let error = ask().await.expect_err("too many");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Overloaded);
    assert!(error.to_string().contains("2 calls of this process wait for it already (`max_waiting`)"), "{error}");
    // Not a word to those who look only once: they do not wait.
    assert!(manager.lock("k").ttl(SECOND).acquire().await.expect_err("held").is_busy());
    // One leaves, another comes.
    drop(waiting.pop());
    waiting.push(Box::pin(ask()));
    assert!(waiting[2].as_mut().poll(&mut nobody).is_pending());
    guard.release().await.expect("ours");
    for call in waiting {
        call.await.expect("the lock").release().await.expect("ours");
    }
}
