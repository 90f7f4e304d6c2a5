//! Holding: renewal, the longest and the shortest hold, and how a loss is told; on the memory store under paused time.
#![cfg(feature = "test-util")]

use std::time::Duration;

use lock_runtime::test_util::{Operation, TestLocks};
use lock_runtime::{LockError, LockManager, LockRequest, LostCause};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

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

/// The functions under the attribute.
#[cfg(feature = "macros")]
mod bodies {
    use std::cell::Cell;
    use std::future::{Future, pending};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use lock_runtime::{LockGuard, distributed_lock};
    use tokio::time::advance;

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
