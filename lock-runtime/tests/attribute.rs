//! What a function under the attribute does: on the memory store, under paused time.
#![cfg(feature = "macros")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::{
    Busy, LockError, LockGuard, LockManager, LostCause, Moment, StoreError, StoreErrorKind, distributed_lock,
};
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The body's error, to tell it from the lock's.
#[derive(Debug, PartialEq)]
enum AppError {
    Body,
    Lock(String),
    Lost { completed: bool },
}

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Lost { completed, .. } => Self::Lost { completed },
            other => Self::Lock(other.to_string()),
        }
    }
}

/// A memory store that can be told to fail.
#[derive(Clone, Debug)]
struct Faulty {
    store: MemoryStore,
    silent: Arc<AtomicBool>,
    releases: Arc<AtomicU32>,
}

impl Faulty {
    fn new() -> Self {
        Self { store: MemoryStore::new(), silent: Arc::default(), releases: Arc::default() }
    }

    fn answer<'a, T: Send + 'a>(&self, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        if self.silent.load(Ordering::Relaxed) {
            Box::pin(async { Err(StoreError::new(StoreErrorKind::Timeout, "silence")) })
        } else {
            answer
        }
    }
}

impl Store for Faulty {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        self.answer(self.store.acquire(claim))
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.answer(self.store.extend(claim, ttl, extension))
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.answer(self.store.remaining(claim))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.releases.fetch_add(1, Ordering::Relaxed);
        self.answer(self.store.release(claim))
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }
}

async fn is_free(manager: &LockManager, key: &str) -> bool {
    match manager.lock(key).ttl(SECOND).acquire().await {
        Ok(guard) => guard.release().await.is_ok(),
        // Asked from inside of the body, the answer is "by yourself".
        Err(LockError::Busy(_) | LockError::AlreadyHeld { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[distributed_lock(key = "order:{id}", ttl = "5s", manager = locks, guard = lock)]
async fn settle(locks: &LockManager, id: u64, outcome: Result<u32, AppError>) -> Result<u32, AppError> {
    assert_eq!(lock.key().as_str(), format!("order:{id}"));
    assert!(!is_free(locks, lock.key().as_str()).await, "the body runs under the lock");
    outcome
}

/// Promise: the lock is held while the body runs, and given back when it returns, by whatever way.
#[tokio::test(start_paused = true)]
async fn the_lock_is_held_for_the_body_and_then_free() {
    let locks = LockManager::in_memory();
    assert_eq!(settle(&locks, 1, Ok(7)).await, Ok(7));
    assert!(is_free(&locks, "order:1").await);
    assert_eq!(settle(&locks, 1, Err(AppError::Body)).await, Err(AppError::Body));
    assert!(is_free(&locks, "order:1").await);
}

/// Promise: without the lock the body does not start.
#[tokio::test(start_paused = true)]
async fn a_busy_lock_keeps_the_body_from_running() {
    let locks = LockManager::in_memory();
    let _held = locks.lock("order:1").ttl(SECOND).acquire().await.expect("free");
    let Err(AppError::Lock(text)) = settle(&locks, 1, Ok(7)).await else { panic!("it ran") };
    assert!(text.contains("`order:1` is busy"), "{text}");
    assert_eq!(settle(&locks, 2, Ok(7)).await, Ok(7), "another key is another lock");
}

/// Promise: when it is unknown whether the lock was obtained, the body does not run; and unknown is not busy.
#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_keeps_the_body_from_running() {
    let store = Faulty::new();
    store.silent.store(true, Ordering::Relaxed);
    let locks = LockManager::builder(store).build();
    assert_eq!(settle(&locks, 1, Ok(7)).await, Err(AppError::Lock("lock `order:1`: silence".to_owned())));
}

/// Promise: a release that fails never masks the body's result.
#[tokio::test(start_paused = true)]
async fn a_failing_release_does_not_change_the_result() {
    #[distributed_lock(key = "k", ttl = "5s", manager = locks)]
    async fn body(locks: &LockManager, silent: &AtomicBool, fails: bool) -> Result<u32, AppError> {
        silent.store(true, Ordering::Relaxed);
        if fails { Err(AppError::Body) } else { Ok(7) }
    }
    for fails in [false, true] {
        let store = Faulty::new();
        let locks = LockManager::builder(store.clone()).build();
        let expected = if fails { Err(AppError::Body) } else { Ok(7) };
        assert_eq!(body(&locks, &store.silent, fails).await, expected);
        assert_eq!(store.releases.load(Ordering::Relaxed), 1, "the release was tried");
        store.silent.store(false, Ordering::Relaxed);
        assert!(is_free(&locks, "k").await, "and went on in the background");
    }
}

/// Promise: a panic of the body comes through, and the lock is given back.
#[tokio::test(start_paused = true)]
async fn a_panic_frees_the_lock() {
    #[distributed_lock(key = "k", ttl = "5s", manager = locks)]
    async fn body(locks: LockManager, late: bool) -> Result<(), AppError> {
        if late {
            sleep(ms(10)).await;
        }
        panic!("of the body");
    }
    for late in [false, true] {
        let locks = LockManager::in_memory();
        let error = tokio::spawn(body(locks.clone(), late)).await.expect_err("it panics");
        assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"of the body"));
        assert!(is_free(&locks, "k").await);
    }
}

/// Promise: a caller that goes away frees the lock: `timeout`, `select!`, an aborted task.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_the_lock() {
    #[distributed_lock(key = "k", ttl = "60s", manager = locks)]
    async fn body(locks: &LockManager) -> Result<(), AppError> {
        sleep(30 * SECOND).await;
        Ok(())
    }
    let locks = LockManager::in_memory();
    tokio::time::timeout(SECOND, body(&locks)).await.expect_err("it takes longer");
    assert!(is_free(&locks, "k").await);
}

/// Promise: the body is dropped at its current `.await` when its lease ends, and the caller is told so.
#[tokio::test(start_paused = true)]
async fn the_body_ends_with_its_lease() {
    #[distributed_lock(key = "k", ttl = "1s", manager = locks)]
    async fn body(locks: &LockManager, polled: &AtomicU32) -> Result<(), AppError> {
        loop {
            polled.fetch_add(1, Ordering::Relaxed);
            sleep(ms(100)).await;
        }
    }
    let locks = LockManager::in_memory();
    let polled = AtomicU32::new(0);
    let started = Instant::now();
    assert_eq!(body(&locks, &polled).await, Err(AppError::Lost { completed: false }));
    // 1 s less 1 % less 2 ms; tokio's timers count in whole milliseconds.
    assert!((ms(988)..=ms(990)).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(polled.load(Ordering::Relaxed), 10);
}

/// Promise: after a pause of the process the body is not polled again, though its own wake-up came first. Red when the clock
/// is not compared before the poll.
#[tokio::test(start_paused = true)]
async fn no_poll_starts_after_the_lease() {
    #[distributed_lock(key = "k", ttl = "1s", manager = locks)]
    async fn body(locks: &LockManager, went_on: &AtomicBool) -> Result<(), AppError> {
        tokio::task::yield_now().await;
        went_on.store(true, Ordering::Relaxed);
        Ok(())
    }
    let locks = LockManager::in_memory();
    let went_on = AtomicBool::new(false);
    let mut call = Box::pin(body(&locks, &went_on));
    let first = futures_poll(call.as_mut());
    assert!(first.is_pending());
    advance(SECOND).await;
    assert_eq!(call.await, Err(AppError::Lost { completed: false }));
    assert!(!went_on.load(Ordering::Relaxed));
}

/// Promise: a success that comes after the lease is no plain success; a failure stays what it is.
#[tokio::test(start_paused = true)]
async fn a_late_success_is_lost_and_a_late_failure_is_itself() {
    #[distributed_lock(key = "k", ttl = "1s", manager = locks)]
    async fn body(locks: &LockManager, store: &MemoryStore, fails: bool) -> Result<(), AppError> {
        // Time passes inside one poll, as it does when a body blocks its thread.
        std::pin::pin!(advance(2 * SECOND)).as_mut().poll_once();
        assert!(store.now().since_origin() >= 2 * SECOND);
        if fails { Err(AppError::Body) } else { Ok(()) }
    }
    for (fails, expected) in [(false, Err(AppError::Lost { completed: true })), (true, Err(AppError::Body))] {
        let store = MemoryStore::new();
        let locks = LockManager::builder(store.clone()).build();
        assert_eq!(body(&locks, &store, fails).await, expected);
    }
}

/// Promise: what the store says is gone, is lost at once: the body is not polled on.
#[tokio::test(start_paused = true)]
async fn a_lock_that_the_store_denies_stops_the_body() {
    #[distributed_lock(key = "k", ttl = "60s", manager = locks, guard = lock)]
    async fn body(locks: &LockManager, store: &MemoryStore, went_on: &AtomicBool) -> Result<(), AppError> {
        steal(store, lock).await;
        let error = lock.extend(60 * SECOND).await.expect_err("stolen");
        assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, .. }), "{error}");
        tokio::task::yield_now().await;
        went_on.store(true, Ordering::Relaxed);
        Ok(())
    }
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).build();
    let went_on = AtomicBool::new(false);
    assert_eq!(body(&locks, &store, &went_on).await, Err(AppError::Lost { completed: false }));
    assert!(!went_on.load(Ordering::Relaxed));
}

/// Takes the lock away, as an operator's `DEL` would.
async fn steal(store: &MemoryStore, guard: &LockGuard) {
    let mut claim = Claim::new(guard.key().clone(), SECOND, guard.metadata().into());
    claim.token = guard.token().clone();
    assert!(store.release(&claim).await.expect("memory answers"));
}

/// Promise: calling oneself under the same key is an error at once, and not a wait for oneself.
#[tokio::test(start_paused = true)]
async fn a_nested_call_on_the_same_key_is_an_error() {
    #[distributed_lock(key = "k:{key}", ttl = "60s", wait = "10s", manager = locks, on_busy = "skip")]
    async fn outer(locks: &LockManager, key: &str, inner: &str) -> Result<(), AppError> {
        inner_call(locks, inner).await
    }
    #[distributed_lock(key = "k:{key}", ttl = "60s", wait = "10s", manager = locks, on_busy = "skip")]
    async fn inner_call(locks: &LockManager, key: &str) -> Result<(), AppError> {
        Ok(())
    }
    let locks = LockManager::in_memory();
    let started = Instant::now();
    let Err(AppError::Lock(text)) = outer(&locks, "a", "a").await else { panic!("it went through") };
    assert!(text.contains("already held by an enclosing function"), "{text}");
    assert!(started.elapsed() < ms(10));
    assert_eq!(outer(&locks, "a", "b").await, Ok(()), "another key is fine");
    let direct = async {
        let guard = locks.lock("k:c").ttl(60 * SECOND).acquire().await.expect("free");
        let nested = inner_call(&locks, "c");
        let outcome = tokio::time::timeout(SECOND, nested).await;
        drop(guard);
        outcome
    };
    direct.await.expect_err("a guard that is held by hand is waited for");
}

/// Promise: siblings of a `join!` are no nested calls: they take turns.
#[tokio::test(start_paused = true)]
async fn siblings_of_one_task_take_turns() {
    #[distributed_lock(key = "k", ttl = "60s", wait = "10s", manager = locks)]
    async fn body(locks: &LockManager) -> Result<(), AppError> {
        sleep(SECOND).await;
        Ok(())
    }
    let locks = LockManager::in_memory();
    let started = Instant::now();
    assert_eq!(tokio::join!(body(&locks), body(&locks)), (Ok(()), Ok(())));
    assert!((ms(2000)..ms(2050)).contains(&started.elapsed()), "{:?}", started.elapsed());
}

/// Promise: a task that is spawned by a locked body and polled in the midst of it is no nested call either.
#[tokio::test(start_paused = true)]
async fn a_spawned_task_waits_for_its_spawner() {
    #[distributed_lock(key = "k", ttl = "60s", manager = locks)]
    async fn outer(locks: LockManager) -> Result<tokio::task::JoinHandle<Result<(), AppError>>, AppError> {
        let spawned = tokio::spawn(inner(locks.clone()));
        sleep(SECOND).await;
        Ok(spawned)
    }
    #[distributed_lock(key = "k", ttl = "60s", wait = "10s", manager = locks)]
    async fn inner(locks: LockManager) -> Result<(), AppError> {
        Ok(())
    }
    let spawned = outer(LockManager::in_memory()).await.expect("free");
    assert_eq!(spawned.await.expect("no panic"), Ok(()));
}

/// Promise: a busy lock goes to `on_busy`, everything else goes past it.
#[tokio::test(start_paused = true)]
async fn on_busy_answers_a_busy_lock_only() {
    #[distributed_lock(key = "k", ttl = "5s", manager = locks, on_busy = |busy: Busy| Ok(busy.key.to_string()))]
    async fn closure(locks: &LockManager) -> Result<String, AppError> {
        Ok("ran".to_owned())
    }
    #[distributed_lock(key = "k", ttl = "5s", manager = locks, on_busy = Ok(busy_answer(name).await?))]
    async fn expression(locks: &LockManager, name: String) -> Result<String, AppError> {
        Ok(name)
    }
    async fn busy_answer(name: String) -> Result<String, AppError> {
        sleep(ms(1)).await;
        if name.is_empty() { Err(AppError::Body) } else { Ok(format!("busy {name}")) }
    }
    #[distributed_lock(key = "k", ttl = "5s", manager = locks, on_busy = "skip")]
    async fn skip(locks: &LockManager) -> Result<Option<u32>, AppError> {
        Ok(Some(1))
    }
    let store = Faulty::new();
    let locks = LockManager::builder(store.clone()).build();
    let held = locks.lock("k").ttl(60 * SECOND).acquire().await.expect("free");
    assert_eq!(closure(&locks).await, Ok("k".to_owned()));
    assert_eq!(expression(&locks, "Ann".to_owned()).await, Ok("busy Ann".to_owned()));
    assert_eq!(expression(&locks, String::new()).await, Err(AppError::Body));
    assert_eq!(skip(&locks).await, Ok(None));
    held.release().await.expect("ours");
    assert_eq!(closure(&locks).await, Ok("ran".to_owned()));
    assert_eq!(skip(&locks).await, Ok(Some(1)));
    store.silent.store(true, Ordering::Relaxed);
    assert!(matches!(skip(&locks).await, Err(AppError::Lock(text)) if text.contains("silence")));
}

/// Promise: `on_error` lets any return type stand under the attribute, and sees every failure but those of the body.
#[tokio::test(start_paused = true)]
async fn on_error_answers_for_types_that_cannot() {
    #[distributed_lock(key = "k", ttl = "1s", manager = locks, on_error = |error| error.to_string())]
    async fn text(locks: &LockManager, work: Duration) -> String {
        sleep(work).await;
        "done".to_owned()
    }
    let locks = LockManager::in_memory();
    assert_eq!(text(&locks, ms(1)).await, "done");
    assert!(text(&locks, 2 * SECOND).await.contains("was lost"));
    let _held = locks.lock("k").ttl(SECOND).acquire().await.expect("free");
    assert!(text(&locks, ms(1)).await.contains("is busy"));
}

/// Promise: a call without a manager is an error that says what to do; the task's scope is used where there is one.
#[tokio::test(start_paused = true)]
async fn the_manager_comes_from_the_scope_or_is_missing() {
    #[distributed_lock(key = "k", ttl = "1s")]
    async fn body() -> Result<(), AppError> {
        Ok(())
    }
    let Err(AppError::Lock(text)) = body().await else { panic!("it ran") };
    assert!(text.contains("no lock manager") && text.contains("install"), "{text}");
    let locks = LockManager::in_memory();
    assert_eq!(locks.scope(body()).await, Ok(()));
    let other = LockManager::in_memory();
    let _held = other.lock("k").ttl(SECOND).acquire().await.expect("free");
    assert!(locks.scope(other.scope(body())).await.is_err(), "the inner scope counts");
}

/// Promise: `release = "background"` gives the lock back too.
#[tokio::test(start_paused = true)]
async fn a_release_in_the_background_frees_the_lock() {
    #[distributed_lock(key = "k", ttl = "60s", manager = locks, release = "background")]
    async fn body(locks: &LockManager) -> Result<(), AppError> {
        Ok(())
    }
    let store = Faulty::new();
    let locks = LockManager::builder(store.clone()).build();
    assert_eq!(body(&locks).await, Ok(()));
    assert_eq!(store.releases.load(Ordering::Relaxed), 0, "nobody waits for an answer");
    assert!(is_free(&locks, "k").await);
}

/// Promise: shutting down gives a running body its grace, and ends it after that.
#[tokio::test(start_paused = true)]
async fn shutdown_lets_bodies_finish_within_the_grace_period() {
    #[distributed_lock(key = "k:{work}", ttl = "60s", manager = locks)]
    async fn body(locks: LockManager, work: u64) -> Result<(), AppError> {
        sleep(ms(work)).await;
        Ok(())
    }
    let locks = LockManager::in_memory();
    let (short, long) = (tokio::spawn(body(locks.clone(), 3_000)), tokio::spawn(body(locks.clone(), 30_000)));
    sleep(ms(10)).await;
    locks.shutdown().await;
    assert_eq!(short.await.expect("no panic"), Ok(()));
    assert_eq!(long.await.expect("no panic"), Err(AppError::Lost { completed: false }));
}

/// Promise: a runtime without timers gets an error, not a panic; a body that is ready at once needs none.
#[test]
fn a_runtime_without_timers_is_an_error() {
    #[distributed_lock(key = "k", ttl = "60s", manager = locks)]
    async fn body(locks: &LockManager, waits: bool) -> Result<(), AppError> {
        if waits {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
    let bare = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let locks = LockManager::in_memory();
    assert_eq!(bare.block_on(body(&locks, false)), Ok(()));
    let Err(AppError::Lock(text)) = bare.block_on(body(&locks, true)) else { panic!("it ran") };
    assert!(text.contains("enable_all"), "{text}");
    assert!(bare.block_on(is_free(&locks, "k")));
}

fn futures_poll<F: Future>(future: Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// Polls a future once where nothing can be awaited.
trait PollOnce: Future {
    fn poll_once(self: Pin<&mut Self>);
}

impl<F: Future> PollOnce for F {
    fn poll_once(self: Pin<&mut Self>) {
        let _ = futures_poll(self);
    }
}
