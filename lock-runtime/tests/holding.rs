//! Holding: renewal, the longest and the shortest hold, and how a loss is told; on the memory store under paused time.
#![cfg(feature = "test-util")]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, StoreFuture};
use lock_runtime::test_util::{Operation, TestLocks};
use lock_runtime::{LockError, LockManager, LockRequest, LostCause, Moment, Store};
use tokio::sync::Mutex;
use tokio::time::{Instant, advance, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Held by tests that start a keeper's thread: one of them counts the threads of this process.
static KEEPERS: Mutex<()> = Mutex::const_new(());

/// A store in memory that is as far away as a server.
#[derive(Clone, Debug)]
struct Distant {
    store: MemoryStore,
    /// How long the answer to an acquisition is under way.
    late: Duration,
    /// Whether the keeper's thread renews its locks, on a clock that cannot be paused.
    is_remote: bool,
}

impl Distant {
    fn late(late: Duration) -> Self {
        Self { store: MemoryStore::new(), late, is_remote: false }
    }

    fn remote() -> Self {
        Self { store: MemoryStore::new(), late: Duration::ZERO, is_remote: true }
    }

    fn manager(&self) -> LockManager {
        LockManager::builder(self.clone()).build()
    }
}

impl Store for Distant {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let answer = self.store.acquire(claim).await;
            if !self.late.is_zero() {
                sleep(self.late).await;
            }
            answer
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.store.extend(claim, ttl, extension)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.store.remaining(claim)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.store.release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }
}

/// Polls `future` once, and leaves it at that.
async fn begin(mut future: Pin<&mut impl Future>) {
    let pending = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
    assert!(pending, "it was to wait");
}

/// Waits for `condition`, on the clock of the test.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < 20 * SECOND, "not in time: {what}");
        sleep(2 * MILLISECOND).await;
    }
}

fn request(locks: &LockManager) -> LockRequest {
    locks.lock("k").ttl(3 * SECOND)
}

fn renewals(locks: &TestLocks) -> u64 {
    locks.faults().count(Operation::Extend)
}

/// Promise: a renewed lock is held for as long as its guard lives, and renewed no more often than is said.
#[tokio::test(start_paused = true)]
async fn a_renewed_lock_is_held_until_it_is_given_back() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    for _ in 0..60 {
        sleep(SECOND).await;
        assert!(guard.is_held() && guard.remaining() > SECOND, "{guard:?}");
        let error = request(&locks).acquire().await.expect_err("held");
        assert!(matches!(error, LockError::Busy(_)), "{error}");
    }
    let done = renewals(&locks);
    assert!((59..=61).contains(&done), "{done} renewals in a minute, one in a second");
    guard.release().await.expect("ours");
    sleep(MINUTE).await;
    assert_eq!(renewals(&locks), done, "renewed after it was given back");
    assert!(!locks.is_held("k"));
}

/// Promise: an interval of one's own is kept to.
#[tokio::test(start_paused = true)]
async fn a_lock_is_renewed_as_often_as_is_asked_for() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew_every(Duration::from_millis(2_500)).acquire().await.expect("free");
    sleep(MINUTE).await;
    assert!((23..=24).contains(&renewals(&locks)), "{}", renewals(&locks));
    guard.release().await.expect("ours");
}

/// Promise: without `renew` nothing is renewed.
#[tokio::test(start_paused = true)]
async fn a_lock_is_not_renewed_unasked() {
    let locks = TestLocks::new();
    let guard = request(&locks).acquire().await.expect("free");
    assert_eq!(guard.lost().await, LostCause::Expired);
    assert_eq!(renewals(&locks), 0);
}

/// Promise: a dropped guard is not renewed, nor one that lost its lock.
#[tokio::test(start_paused = true)]
async fn what_is_gone_is_not_renewed() {
    let locks = TestLocks::new();
    drop(request(&locks).renew().acquire().await.expect("free"));
    let lost = request(&locks).renew().acquire().await.expect("free again");
    locks.lose("k");
    assert_eq!(lost.lost().await, LostCause::Gone);
    sleep(MINUTE).await;
    assert_eq!(renewals(&locks), 0);
}

/// Promise: a renewal that is denied is a loss, told at once and not at the end of the lease.
#[tokio::test(start_paused = true)]
async fn a_denied_renewal_is_a_loss() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    let watch = guard.watch();
    locks.hold_elsewhere("k", "a thief", MINUTE);
    let stolen = Instant::now();
    assert_eq!(watch.lost().await, LostCause::Gone);
    assert!(stolen.elapsed() <= SECOND + Duration::from_millis(1), "{:?}", stolen.elapsed());
    assert!(!guard.is_held() && !watch.is_held());
    let error = guard.release().await.expect_err("the thief's");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, .. }), "{error}");
    assert!(locks.is_held("k"), "the thief's lock was deleted");
}

/// Promise: a renewal without an answer neither ends the lease nor makes it longer, and is repeated until there is one.
#[tokio::test(start_paused = true)]
async fn an_unanswered_renewal_is_unknown() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    sleep(Duration::from_millis(900)).await;
    locks.unavailable(true);
    sleep(SECOND).await;
    // 1.9 s after the acquisition, 0.9 s after the first renewal that failed.
    assert!(guard.is_held() && guard.remaining() < Duration::from_millis(1_100), "{guard:?}");
    let failed = renewals(&locks);
    assert!(failed > 4, "{failed} tries: one in 150 ms");
    locks.unavailable(false);
    sleep(Duration::from_millis(200)).await;
    assert!(guard.remaining() > Duration::from_millis(2_500), "{guard:?}");
    sleep(MINUTE).await;
    guard.release().await.expect("ours");
}

/// Promise: where no renewal is answered, the lock is lost when its lease is over, and not later.
#[tokio::test(start_paused = true)]
async fn without_answers_the_deadline_decides() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    locks.unavailable(true);
    let acquired = Instant::now();
    assert_eq!(guard.lost().await, LostCause::Expired);
    let lasted = acquired.elapsed();
    assert!(
        lasted <= Duration::from_millis(2_968 + 1),
        "{lasted:?}: 3 s less 1 % less 2 ms, and a timer's millisecond"
    );
    assert!(lasted >= Duration::from_millis(2_968), "{lasted:?}");
}

/// Promise: `max_hold` ends a renewed lock, at its holder and in the store.
#[tokio::test(start_paused = true)]
async fn the_longest_hold_is_the_end() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().max_hold(10 * SECOND).acquire().await.expect("free");
    let acquired = Instant::now();
    assert_eq!(guard.lost().await, LostCause::MaxHold);
    let lasted = acquired.elapsed();
    assert!((10 * SECOND..10 * SECOND + Duration::from_millis(2)).contains(&lasted), "{lasted:?}");
    // The drift that was taken off for its holder is what the store keeps it for.
    sleep(Duration::from_millis(40)).await;
    assert!(!locks.is_held("k"));
    let error = guard.release().await.expect_err("over");
    assert!(matches!(error, LockError::Lost { cause: LostCause::MaxHold, .. }), "{error}");
}

/// Promise: a lock that is given back before `min_hold` is over stays taken until then, and no longer; its holder has got
/// rid of it.
#[tokio::test(start_paused = true)]
async fn the_shortest_hold_outlasts_a_release() {
    for dropped in [false, true] {
        let locks = TestLocks::new();
        let guard = request(&locks).metadata("me").min_hold(2 * SECOND).acquire().await.expect("free");
        sleep(SECOND / 2).await;
        let given_back = Instant::now();
        if dropped {
            drop(guard);
        } else {
            guard.release().await.expect("ours");
        }
        let LockError::Busy(busy) = request(&locks).acquire().await.expect_err("kept") else { panic!("not busy") };
        assert_eq!(busy.retry_after, Some(SECOND * 3 / 2));
        assert_eq!(busy.holder.and_then(|holder| holder.metadata).as_deref(), Some("me"));
        let next = request(&locks).wait(MINUTE).acquire().await.expect("free in the end");
        assert_eq!(given_back.elapsed().as_millis() / 10, 150, "{:?}", given_back.elapsed());
        next.release().await.expect("ours");
    }
}

/// Promise: once `min_hold` is over, a release frees the lock.
#[tokio::test(start_paused = true)]
async fn a_shortest_hold_that_is_over_changes_nothing() {
    let locks = TestLocks::new();
    let guard = request(&locks).min_hold(SECOND).acquire().await.expect("free");
    sleep(SECOND).await;
    guard.release().await.expect("ours");
    assert!(!locks.is_held("k"));
}

/// Promise: an extension that is still on its way does not bring back what was given back and is only kept.
#[tokio::test(start_paused = true)]
async fn a_late_extension_does_not_lengthen_the_shortest_hold() {
    let locks = TestLocks::new();
    let guard = request(&locks).min_hold(2 * SECOND).acquire().await.expect("free");
    let value = locks.store().get("k").expect("held");
    guard.release().await.expect("ours");
    let kept = locks.store().get("k").expect("kept");
    assert_ne!(value, kept);
    assert!(kept.starts_with("floor:"), "{kept}");
}

/// Promise: what contradicts itself is refused, with what to write instead.
#[tokio::test(start_paused = true)]
async fn contradictions_are_invalid() {
    let locks = TestLocks::new();
    let ask = || request(&locks);
    for (request, word) in [
        (ask().max_hold(MINUTE), "add `renew`"),
        (ask().renew().max_hold(SECOND), "shorter than `ttl`"),
        (ask().renew_every(3 * SECOND), "not below `ttl`"),
        (ask().renew_every(Duration::from_millis(2_968)), "not below `ttl`"),
        (ask().renew_every(Duration::from_micros(999)), "millisecond"),
        (ask().min_hold(4 * SECOND), "longer than `ttl`"),
    ] {
        let error = request.acquire().await.expect_err("a contradiction");
        assert!(matches!(error, LockError::Invalid { .. }) && error.to_string().contains(word), "{error}");
    }
    assert_eq!(locks.faults().count(Operation::Acquire), 0);
}

/// Promise: a watch says what its lock is, also to tasks, and keeps nothing held.
#[tokio::test(start_paused = true)]
async fn a_watch_sees_the_end() {
    let locks = TestLocks::new();
    let guard = request(&locks).acquire().await.expect("free");
    let watch = guard.watch();
    let elsewhere = tokio::spawn({
        let watch = watch.clone();
        async move { watch.lost().await }
    });
    sleep(SECOND).await;
    assert!(watch.is_held() && !elsewhere.is_finished());
    drop(guard);
    assert!(!watch.is_held());
    assert_eq!(elsewhere.await.expect("no panic"), LostCause::Released);
    assert!(!locks.is_held("k"), "held by a watch");
}

/// Promise: the first renewal comes in time also where the answer to the acquisition was long under way.
///
/// Turned red by: an interval that is counted from the answer.
#[tokio::test(start_paused = true)]
async fn the_first_renewal_counts_from_the_request() {
    let locks = Distant::late(400 * MILLISECOND).manager();
    let guard = locks.lock("k").ttl(SECOND).renew_every(700 * MILLISECOND).acquire().await.expect("free");
    sleep(3 * SECOND).await;
    assert!(guard.is_held(), "{guard:?}");
}

/// Promise: a `max_hold` beyond all time is none.
///
/// Turned red by: sums that overflow.
#[tokio::test(start_paused = true)]
async fn the_longest_hold_may_be_for_ever() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().max_hold(Duration::MAX).acquire().await.expect("free");
    sleep(MINUTE).await;
    assert!(guard.is_held(), "{guard:?}");
    guard.extend(MINUTE).await.expect("ours");
    guard.release().await.expect("ours");
}

/// Promise: `max_hold` bounds extensions by hand, at the holder and in the store.
///
/// Turned red by: an extension that asks for all that it is told.
#[tokio::test(start_paused = true)]
async fn the_longest_hold_bounds_extensions_by_hand() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().max_hold(5 * SECOND).acquire().await.expect("free");
    let acquired = Instant::now();
    guard.extend(60 * MINUTE).await.expect("ours");
    assert!(locks.store().time_left("k") < Some(6 * SECOND), "{:?}", locks.store().time_left("k"));
    assert_eq!(guard.lost().await, LostCause::MaxHold);
    assert_eq!(acquired.elapsed().as_secs(), 5);
    sleep(SECOND).await;
    assert!(!locks.is_held("k"));
}

/// Promise: `min_hold` outlasts a shorter time that is set by hand.
///
/// Turned red by: a time that is set as it is told.
#[tokio::test(start_paused = true)]
async fn the_shortest_hold_outlasts_a_shorter_time() {
    let locks = TestLocks::new();
    let guard = request(&locks).min_hold(2 * SECOND).acquire().await.expect("free");
    guard.set_ttl(100 * MILLISECOND).await.expect("ours");
    drop(guard);
    assert_eq!(locks.store().time_left("k"), Some(2 * SECOND));
}

/// Promise: the time of a renewed lock cannot be set: the next renewal would change it, or come too late.
///
/// Turned red by: sending it.
#[tokio::test(start_paused = true)]
async fn a_renewed_lock_has_no_exact_time() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    let error = guard.set_ttl(SECOND).await.expect_err("renewed");
    assert!(matches!(error, LockError::Invalid { .. }) && error.to_string().contains("renewed"), "{error}");
    assert_eq!(renewals(&locks), 0, "it was sent");
    guard.extend(MINUTE).await.expect("ours");
    guard.release().await.expect("ours");
}

/// Promise: `min_hold` keeps nothing where nobody was given the lock: its answer came too late to work with.
///
/// Turned red by: keeping the key of a lock that is given back unused.
#[tokio::test(start_paused = true)]
async fn the_shortest_hold_begins_with_the_holder() {
    let store = Distant::late(600 * MILLISECOND);
    let request = store.manager().lock("k").ttl(SECOND).min_hold(SECOND);
    let error = request.acquire().await.expect_err("too late");
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(store.store.get("k"), None);
}

/// Promise: as above, where the manager is shut down before the answer comes.
///
/// Turned red by: keeping the key of a lock that is given back unused.
#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_nothing_that_nobody_was_given() {
    let store = Distant::late(100 * MILLISECOND);
    let locks = store.manager();
    let acquire = tokio::spawn(locks.lock("k").ttl(MINUTE).min_hold(MINUTE).acquire());
    sleep(50 * MILLISECOND).await;
    assert!(store.store.get("k").is_some(), "won already");
    locks.shutdown().await;
    let error = acquire.await.expect("no panic").expect_err("shut down");
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(store.store.get("k"), None);
}

/// Promise: a shutdown that takes a lock away from a guard which is held on to keeps the key for as long as any other end would.
///
/// Turned red by: a shutdown that gives back the claim as it is while it is held.
#[tokio::test(start_paused = true)]
async fn a_shutdown_keeps_to_the_shortest_hold() {
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).shutdown_grace(100 * MILLISECOND).build();
    let guard = locks.lock("k").ttl(MINUTE).min_hold(MINUTE / 2).acquire().await.expect("the lock");
    let value = store.get("k");
    locks.shutdown().await;
    assert!(store.get("k").is_some() && store.get("k") != value, "kept, and ours no more");
    let left = store.time_left("k").expect("until its time is over");
    assert!(left <= MINUTE / 2 && left > MINUTE / 3, "{left:?}");
    drop(guard);
}

/// Promise: the memory of a store grows with the locks that are held at the same time, not with all that ever were.
///
/// Turned red by: leaving what has expired until its key is asked for again.
#[tokio::test(start_paused = true)]
async fn what_has_expired_does_not_stay_in_memory() {
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).build();
    let keys = || -> usize {
        let shown = format!("{store:?}");
        let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number of keys: {shown}"))
    };
    let mut most = 0;
    for job in 0..2_000 {
        // Kept for a second, during which ten more are.
        drop(locks.lock(format!("job:{job}")).ttl(SECOND).min_hold(SECOND).acquire().await.expect("free"));
        advance(SECOND / 10).await;
        most = most.max(keys());
    }
    assert!((10..100).contains(&most), "{most} keys at a time");
}

/// Promise: an extension that nobody polls any more holds up neither the renewals nor, for long, the release.
///
/// Turned red by: renewals, or a release, that wait for whoever asked before them.
#[tokio::test(start_paused = true)]
async fn a_forgotten_extension_holds_up_nobody() {
    let locks = TestLocks::new();
    let guard = request(&locks).renew().acquire().await.expect("free");
    locks.faults().delay(Operation::Extend, SECOND);
    let mut forgotten = Box::pin(guard.extend(3 * SECOND));
    begin(forgotten.as_mut()).await;
    std::mem::forget(forgotten);
    locks.faults().delay(Operation::Extend, Duration::ZERO);
    sleep(MINUTE).await;
    assert!(guard.is_held(), "{guard:?}");
    timeout(SECOND, guard.release()).await.expect("hangs").expect("ours");
    assert!(!locks.is_held("k"));
}

/// A task that panics when it is woken, as code of others may.
#[derive(Default)]
struct Panics(AtomicBool);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        panic!("as it is meant to");
    }
}

/// Promise: a panic of whoever is told of a loss costs no other lock its renewals.
///
/// Turned red by: a panic that ends the batch, or the keeper.
#[tokio::test]
async fn a_panicking_waker_costs_no_other_lock() {
    let _keepers = KEEPERS.lock().await;
    let store = Distant::remote();
    let locks = store.manager();
    // Soon renewed, and long before they end.
    let request = |key: String| locks.lock(key).ttl(10 * MINUTE).renew_every(SECOND / 5);
    let lost = request("lost".to_owned()).acquire().await.expect("free");
    let panics = Arc::new(Panics::default());
    let mut told = pin!(lost.lost());
    let waker = Waker::from(panics.clone());
    assert!(told.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut others = Vec::new();
    for n in 0..20 {
        others.push(request(format!("other:{n}")).acquire().await.expect("free"));
    }
    store.store.remove("lost");
    eventually("the loss", || panics.0.load(Ordering::Acquire)).await;
    let deadline = |guard: &lock_runtime::LockGuard| Instant::now() + guard.remaining();
    let before: Vec<_> = others.iter().map(deadline).collect();
    // Each of them, and by more than looking at the clock twice makes.
    let renewed = || others.iter().zip(&before).all(|(guard, before)| deadline(guard) > *before + 300 * MILLISECOND);
    eventually("two renewals of the others", renewed).await;
}

/// Promise: a manager that was shut down has no thread, and starts none for a call that it refuses.
///
/// Turned red by: a keeper that is not told to stop, or is asked before the refusal.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_manager_that_was_shut_down_has_no_thread() {
    fn keepers() -> usize {
        // A thread may end while it is looked at.
        let names = std::fs::read_dir("/proc/self/task").expect("threads").filter_map(|thread| {
            let thread = thread.ok()?;
            std::fs::read_to_string(thread.path().join("comm")).ok()
        });
        names.filter(|name| name.trim() == "lock-keeper").count()
    }
    let _keepers = KEEPERS.lock().await;
    eventually("the end of other tests' keepers", || keepers() == 0).await;
    let locks = Distant::remote().manager();
    let guard = request(&locks).renew().acquire().await.expect("free");
    eventually("a keeper", || keepers() == 1).await;
    guard.release().await.expect("ours");
    locks.shutdown().await;
    eventually("its end", || keepers() == 0).await;
    let error = request(&locks).renew().acquire().await.expect_err("shut down");
    assert!(error.is_unavailable(), "{error}");
    // A thread is there as soon as it was started, and one that nobody stops stays.
    assert_eq!(keepers(), 0);
}

/// The functions under the attribute.
#[cfg(feature = "macros")]
mod bodies {
    use std::cell::Cell;
    use std::future::pending;

    use lock_runtime::{LockGuard, distributed_lock};

    use super::*;

    #[distributed_lock(key = "k", ttl = "3s", renew, manager = locks, guard = lock)]
    async fn renewed(locks: &TestLocks, work: Duration) -> Result<Duration, LockError> {
        sleep(work).await;
        Ok(lock.remaining())
    }

    /// Promise: a body may take longer than its TTL, and is free to take as long as it does.
    #[tokio::test(start_paused = true)]
    async fn a_renewed_body_runs_to_its_end() {
        let locks = TestLocks::new();
        let left = renewed(&locks, 100 * SECOND).await.expect("held to the end");
        assert!(left > SECOND, "{left:?}");
        assert!(!locks.is_held("k"));
        assert!((98..=101).contains(&renewals(&locks)), "{}", renewals(&locks));
        sleep(MINUTE).await;
        assert!((98..=101).contains(&renewals(&locks)), "renewed after its end");
    }

    /// Promise: a wedged body loses its lock when `max_hold` is over, and is dropped.
    #[tokio::test(start_paused = true)]
    async fn a_wedged_body_ends_with_the_longest_hold() {
        #[distributed_lock(key = "k", ttl = "3s", renew, max_hold = "20s", manager = locks)]
        async fn wedged(locks: &TestLocks, _alive: Alive<'_>) -> Result<(), LockError> {
            pending().await
        }
        let locks = TestLocks::new();
        let alive = Cell::new(true);
        let begun = Instant::now();
        let error = wedged(&locks, Alive(&alive)).await.expect_err("wedged");
        assert!(matches!(error, LockError::Lost { cause: LostCause::MaxHold, completed: false, .. }), "{error}");
        assert!(!alive.get());
        assert_eq!(begun.elapsed().as_secs(), 20);
    }

    struct Alive<'a>(&'a Cell<bool>);

    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }

    /// Promise: a body that nobody polls any more is not renewed for ever.
    #[tokio::test(start_paused = true)]
    async fn a_forgotten_body_loses_its_renewals() {
        let locks = TestLocks::new();
        let mut forgotten = pin!(renewed(&locks, 1_000 * SECOND));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(forgotten.as_mut().poll(&mut nobody).is_pending());
        assert!(locks.is_held("k"));
        sleep(59 * SECOND).await;
        assert!(locks.is_held("k"), "lost before a minute without a poll");
        sleep(6 * SECOND).await;
        assert!(!locks.is_held("k"), "renewed although nobody polls");
        let error = forgotten.await.expect_err("lost meanwhile");
        assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, .. }), "{error}");
    }

    /// Promise: a body that waits for something is polled often enough to keep its renewals, however long it waits.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_keeps_its_renewals() {
        let locks = TestLocks::new();
        renewed(&locks, 10 * MINUTE).await.expect("held to the end");
    }

    /// Promise: as above, where the lease is so long, by an extension by hand, that nothing else wakes the body.
    ///
    /// Turned red by: a body that is woken at the end of its lease alone.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_behind_a_long_extension_keeps_its_renewals() {
        #[distributed_lock(key = "k", ttl = "5s", renew, manager = locks, guard = lock)]
        async fn extended(locks: &TestLocks) -> Result<(), LockError> {
            lock.extend(4 * MINUTE).await?;
            sleep(6 * MINUTE).await;
            Ok(())
        }
        extended(&TestLocks::new()).await.expect("held to the end");
    }

    /// Promise: a body under a long TTL may go without a poll for three times that, though it is more than `max_stall`.
    ///
    /// Turned red by: `max_stall` without regard to the TTL.
    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_blocked_for_three_ttls() {
        #[distributed_lock(key = "k", ttl = "30s", renew, manager = locks)]
        async fn blocked(locks: &TestLocks) -> Result<(), LockError> {
            sleep(85 * SECOND).await;
            Ok(())
        }
        let locks = TestLocks::new();
        let mut call = pin!(blocked(&locks));
        begin(call.as_mut()).await;
        sleep(95 * SECOND).await;
        call.await.expect("held to the end");
    }

    /// Promise: a body that is polled again before its lease is over is renewed again.
    ///
    /// Turned red by: a hold that the keeper gives up when it has stalled.
    #[tokio::test(start_paused = true)]
    async fn a_stall_that_is_over_in_time_is_forgiven() {
        let locks = TestLocks::new();
        let mut call = pin!(renewed(&locks, 5 * MINUTE));
        begin(call.as_mut()).await;
        // `max_stall`, and half of the lease that was renewed last.
        sleep(MINUTE + 3 * SECOND / 2).await;
        let done = renewals(&locks);
        sleep(SECOND / 2).await;
        assert_eq!(renewals(&locks), done, "it has not stalled");
        call.await.expect("held to the end");
    }

    /// Promise: a call is polled for what it waits for, and for nothing else.
    ///
    /// Turned red by: a release that wakes its own body, or timers that are made anew.
    #[tokio::test(start_paused = true)]
    async fn a_call_is_polled_no_more_than_it_must_be() {
        #[distributed_lock(key = "k", ttl = "30s", manager = locks)]
        async fn waits(locks: &TestLocks) -> Result<(), LockError> {
            sleep(SECOND).await;
            Ok(())
        }
        let locks = TestLocks::new();
        locks.faults().delay(Operation::Release, SECOND);
        let mut call = pin!(waits(&locks));
        let mut polls = 0;
        let result = poll_fn(|cx| {
            polls += 1;
            call.as_mut().poll(cx)
        });
        result.await.expect("held to the end");
        assert_eq!(polls, 3, "to begin, for the body, for the release");
    }

    #[distributed_lock(key = "k", ttl = "3s", on_lost = "proceed", manager = locks, guard = lock)]
    async fn stubborn(locks: &TestLocks, work: Duration) -> Result<bool, LockError> {
        sleep(work).await;
        Ok(lock.is_held())
    }

    /// Promise: `on_lost = "proceed"` lets the body run on without its lock, and returns what it returns.
    #[tokio::test(start_paused = true)]
    async fn a_body_may_proceed_without_its_lock() {
        let locks = TestLocks::new();
        assert!(stubborn(&locks, SECOND).await.expect("its own result"));
        let expired = stubborn(&locks, 10 * SECOND);
        assert!(!expired.await.expect("its own result"));
        let mut told = pin!(stubborn(&locks, SECOND));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(told.as_mut().poll(&mut nobody).is_pending());
        locks.hold_elsewhere("k", "a thief", MINUTE);
        locks.lose("k");
        locks.hold_elsewhere("k", "a thief", MINUTE);
        assert!(!told.await.expect("its own result"));
        assert!(locks.is_held("k"), "the thief's lock was deleted");
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Returns,
        Fails,
        Panics,
        IsCancelled,
    }

    #[distributed_lock(key = "k", ttl = "3s", min_hold = "2s", manager = locks)]
    async fn job(locks: &TestLocks, way: Way) -> Result<(), LockError> {
        match way {
            Way::Returns => Ok(()),
            Way::Fails => locks.lock("").ttl(SECOND).acquire().await.map(drop),
            Way::Panics => panic!("as it is meant to"),
            Way::IsCancelled => pending().await,
        }
    }

    /// Promise: `min_hold` keeps the key whatever becomes of the body, and not for longer.
    #[tokio::test(start_paused = true)]
    async fn the_shortest_hold_outlasts_every_end() {
        for way in [Way::Returns, Way::Fails, Way::Panics, Way::IsCancelled] {
            let locks = TestLocks::new();
            let task = tokio::spawn({
                let locks = locks.clone();
                async move { job(&locks, way).await }
            });
            sleep(SECOND / 2).await;
            task.abort();
            let ended = task.await;
            match way {
                Way::Returns => assert!(matches!(ended, Ok(Ok(()))), "{ended:?}"),
                Way::Fails => assert!(matches!(ended, Ok(Err(LockError::Invalid { .. }))), "{ended:?}"),
                Way::Panics => assert!(ended.is_err_and(|error| error.is_panic())),
                Way::IsCancelled => assert!(ended.is_err_and(|error| error.is_cancelled())),
            }
            assert_eq!(locks.store().time_left("k"), Some(SECOND * 3 / 2), "{way:?}");
            advance(SECOND * 3 / 2).await;
            assert!(!locks.is_held("k"), "{way:?}");
        }
    }

    /// Promise: work that the body spawned learns of the loss.
    #[tokio::test(start_paused = true)]
    async fn spawned_work_watches_the_lock() {
        fn spawn(lock: &LockGuard) -> tokio::task::JoinHandle<LostCause> {
            let watch = lock.watch();
            tokio::spawn(async move { watch.lost().await })
        }
        #[distributed_lock(key = "k", ttl = "3s", manager = locks, guard = lock)]
        async fn spawns(
            locks: &TestLocks,
            task: &Cell<Option<tokio::task::JoinHandle<LostCause>>>,
        ) -> Result<(), LockError> {
            task.set(Some(spawn(lock)));
            pending().await
        }
        let locks = TestLocks::new();
        let task = Cell::new(None);
        spawns(&locks, &task).await.expect_err("lost");
        assert_eq!(task.take().expect("spawned").await.expect("no panic"), LostCause::Expired);
    }
}
