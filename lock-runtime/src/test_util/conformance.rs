//! What every store must do, case by case.
//!
//! The cases are those of bsm/redislock's own tests (`BL`) and of behaviour that its users rely on without a test (`BE`),
//! under the numbers of our specification, and this library's own where it differs on purpose; each such case says so. Where a
//! case has a row, it is one of the edge cases in which bsm/redislock does what nobody would want, and this library does not.
//! Those of fencing tokens (`FE`) are this library's own. A store without tokens passes them by [saying so](Store::fences).
//!
//! Authors of a store implement [`Fixture`] and let [`conformance_tests!`](crate::conformance_tests) write one test for each
//! case:
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::store::{Store, memory::MemoryStore};
//! use lock_runtime::test_util::conformance::Fixture;
//!
//! struct Memory(MemoryStore);
//!
//! impl Fixture for Memory {
//!     type Store = MemoryStore;
//!     async fn new() -> Self {
//!         Self(MemoryStore::new())
//!     }
//!     fn store(&self) -> MemoryStore {
//!         self.0.clone()
//!     }
//!     async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
//!         self.0.put(key, value, ttl);
//!     }
//!     async fn get(&self, key: &str) -> Option<String> {
//!         self.0.get(key)
//!     }
//!     async fn time_left(&self, key: &str) -> Option<Duration> {
//!         self.0.time_left(key)
//!     }
//! }
//!
//! # mod tests {
//! # use super::Memory;
//! lock_runtime::conformance_tests!(#[tokio::test(start_paused = true)] Memory);
//! # }
//! # fn main() {}
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Faults, Operation};
use crate::error::{LockError, StoreError, StoreErrorKind};
use crate::guard::LockGuard;
use crate::manager::LockManager;
use crate::retry::Retry;
use crate::store::{Attempt, Claim, Store};

/// A place for locks that the suite can look at from outside.
pub trait Fixture: Sized + Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// A place of its own for one case, with nothing in it.
    fn new() -> impl Future<Output = Self> + Send;

    /// A client of that place, as another process would have one.
    fn store(&self) -> Self::Store;

    /// Writes a value past the store; for ever, if there is no `ttl`.
    fn put(&self, key: &str, value: &str, ttl: Option<Duration>) -> impl Future<Output = ()> + Send;

    /// Reads the value under `key` past the store.
    fn get(&self, key: &str) -> impl Future<Output = Option<String>> + Send;

    /// Reads the time until `key` expires past the store.
    fn time_left(&self, key: &str) -> impl Future<Output = Option<Duration>> + Send;

    /// Makes the place forget what it may have cached for its clients, as `SCRIPT FLUSH` does.
    fn forget(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

const KEY: &str = "conformance";
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn client(fixture: &impl Fixture) -> LockManager {
    LockManager::builder(fixture.store()).build()
}

async fn obtain(manager: &LockManager, ttl: Duration) -> Result<LockGuard, LockError> {
    manager.lock(KEY).ttl(ttl).acquire().await
}

async fn obtained(manager: &LockManager, ttl: Duration) -> LockGuard {
    obtain(manager, ttl).await.expect("the lock is free")
}

#[track_caller]
fn assert_busy<T>(outcome: Result<T, LockError>) {
    match outcome {
        Ok(_) => panic!("the lock was given twice"),
        Err(error) => assert!(error.is_busy(), "{error}"),
    }
}

#[track_caller]
fn assert_lost<T>(outcome: Result<T, LockError>) {
    match outcome {
        Ok(_) => panic!("a lock that was lost is not noticed"),
        Err(error) => assert!(error.is_lost(), "{error}"),
    }
}

#[track_caller]
fn assert_about(ttl: Duration, expected: Duration) {
    assert!(ttl.abs_diff(expected) <= Duration::from_secs(1), "{ttl:?} is not about {expected:?}");
}

/// Tokens of callers' own choice.
const FOO: &str = "f00f00f00f00f00f00f00f00f00f00f0";
const BAR: &str = "ba5ba5ba5ba5ba5ba5ba5ba5ba5ba5ba";

/// A client, and its store, to wait for what it does in the background.
fn client_and_store<F: Fixture>(fixture: &F) -> (LockManager, Arc<F::Store>) {
    let store = Arc::new(fixture.store());
    (LockManager::builder(store.clone()).build(), store)
}

/// A lock on several keys, under any token.
async fn obtain_all(manager: &LockManager, keys: &[&str], ttl: Duration) -> Result<LockGuard, LockError> {
    manager.lock_many(keys.iter().copied()).ttl(ttl).acquire().await
}

/// A lock under a token of the caller's own choice.
async fn obtain_as(manager: &LockManager, token: &str, metadata: &str) -> Result<LockGuard, LockError> {
    manager.lock(KEY).ttl(HOUR).token(token).metadata(metadata).acquire().await
}

#[track_caller]
fn assert_invalid<T>(outcome: Result<T, LockError>) {
    match outcome {
        Ok(_) => panic!("what cannot be was done"),
        Err(error) => assert!(matches!(error, LockError::Invalid { .. }), "{error}"),
    }
}

async fn fenced(manager: &LockManager, ttl: Duration) -> LockGuard {
    manager.lock(KEY).ttl(ttl).fence().acquire().await.expect("the lock is free")
}

/// The token, if it is above the last one.
#[track_caller]
fn assert_risen(guard: &LockGuard, last: i64) -> i64 {
    let fence = guard.fence().expect("a store that fences gives the token that it is asked for");
    assert!(fence > last, "{fence} is not above {last}");
    fence
}

/// Whether the store says that it has no tokens. Then it must not lock as if it had.
async fn refuses_fences(fixture: &impl Fixture) -> bool {
    if fixture.store().fences() {
        return false;
    }
    let error = client(fixture).lock(KEY).ttl(HOUR).fence().acquire().await.expect_err("a lock without its token");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert_eq!(fixture.get(KEY).await, None);
    true
}

/// Whether the store says that it locks one key at a time. Then it must not take some of several.
async fn refuses_several(fixture: &impl Fixture) -> bool {
    if fixture.store().flaw(&["1".into(), "2".into()]).is_none() {
        return false;
    }
    assert_invalid(obtain_all(&client(fixture), &["1", "2"], HOUR).await);
    assert_eq!((fixture.get("1").await, fixture.get("2").await), (None, None));
    true
}

async fn assert_ttl_about(guard: &LockGuard, expected: Duration) {
    assert_about(guard.ttl().await.expect("the store answers"), expected);
}

/// Waits until the place has let the key go by itself.
async fn expired(fixture: &impl Fixture) {
    let started = Instant::now();
    while fixture.get(KEY).await.is_some() {
        assert!(started.elapsed() < MINUTE, "the key does not expire");
        sleep(ms(1)).await;
    }
}

macro_rules! cases {
    (($d:tt) $($(#[$doc:meta])* $name:ident($fixture:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Panics
            ///
            /// When the store does something else.
            pub async fn $name<F: Fixture>($fixture: F) $body
        )*

        /// Writes one test for each case of the [suite](crate::test_util::conformance), over the given
        /// [`Fixture`](crate::test_util::conformance::Fixture) and under the given test attribute.
        #[macro_export]
        macro_rules! conformance_tests {
            (#[$test:meta] $fixture_type:ty) => {
                $crate::conformance_tests!(@each #[$test] $fixture_type; $($name)*);
            };
            (@each #[$test:meta] $fixture_type:ty; $d($case:ident)*) => {
                $d(
                    #[$test]
                    async fn $case() {
                        use $crate::test_util::conformance::{self, Fixture};
                        conformance::$case(<$fixture_type as Fixture>::new().await).await;
                    }
                )*
            };
        }
    };
}

cases! {
    ($)

    /// BL-01: taken, excluded, given back, taken again. On purpose different: our token is 32 characters long, not 22.
    bl_01_client(fixture) {
        let manager = client(&fixture);
        let guard = obtained(&manager, HOUR).await;
        assert_eq!(guard.token().as_str().len(), 32);
        assert_ttl_about(&guard, HOUR).await;
        assert_busy(obtain(&manager, HOUR).await);
        assert_busy(obtain(&client(&fixture), HOUR).await);
        guard.release().await.expect("ours");
        obtained(&manager, HOUR).await.release().await.expect("ours");
    }

    /// BL-02: taken and given back.
    bl_02_obtain(fixture) {
        obtained(&client(&fixture), HOUR).await.release().await.expect("ours");
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// BL-03: metadata are kept, stored behind the token, and shown to others.
    bl_03_metadata(fixture) {
        let guard = client(&fixture).lock(KEY).ttl(HOUR).metadata("my-data").acquire().await.expect("free");
        assert_eq!(guard.metadata(), "my-data");
        assert_eq!(fixture.get(KEY).await, Some(format!("{} my-data", guard.token().as_str())));
        let Err(LockError::Busy(busy)) = obtain(&client(&fixture), HOUR).await else { panic!("given twice") };
        assert_eq!(busy.holder.and_then(|holder| holder.metadata).as_deref(), Some("my-data"));
        guard.release().await.expect("ours");
    }

    /// BL-04: a token of the caller's own choice: it excludes others, and takes over a lock that is held under it, with whatever
    /// metadata. The first holder has lost it. On purpose different: a token is 32 characters long, and what is stored has 16 more
    /// behind a colon: no two acquisitions store the same.
    bl_04_custom_token(fixture) {
        let manager = client(&fixture);
        let first = obtain_as(&manager, FOO, "bar").await.expect("free");
        assert_eq!((first.token().as_str(), first.metadata()), (FOO, "bar"));
        let stored = fixture.get(KEY).await.expect("it is there");
        assert!(stored.starts_with(&format!("{FOO}:")) && stored.ends_with(" bar") && stored.len() == 49 + 4, "{stored}");
        assert_busy(obtain(&manager, HOUR).await);
        assert_busy(obtain_as(&manager, BAR, "bar").await);
        assert_busy(obtain_as(&client(&fixture), BAR, "bar").await);
        let second = obtain_as(&manager, FOO, "baz").await.expect("held under the same token");
        assert_eq!((second.token().as_str(), second.metadata()), (FOO, "baz"));
        assert!(!first.is_held(), "in one process, it is told at once");
        assert_lost(first.release().await);
        assert!(second.is_held());
        second.release().await.expect("ours");
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// BL-05: retries until a holder's lease is over. (Upstream's test takes two different keys and proves nothing.)
    bl_05_retry_success(fixture) {
        let held = obtained(&client(&fixture), ms(20)).await;
        let started = Instant::now();
        let retry = Retry::linear(ms(20)).limit(3);
        let guard = client(&fixture).lock(KEY).ttl(HOUR).retry(retry).acquire().await.expect("it expires");
        assert!(started.elapsed() >= ms(10), "it was not retried: {:?}", started.elapsed());
        assert_lost(held.release().await);
        guard.release().await.expect("ours");
    }

    /// BL-06: gives up when the strategy ends: three attempts for two retries.
    bl_06_retry_failure(fixture) {
        let _held = obtained(&client(&fixture), ms(500)).await;
        let faults = Faults::new(fixture.store());
        let started = Instant::now();
        let retry = Retry::linear(ms(5)).limit(2);
        assert_busy(LockManager::builder(faults.clone()).build().lock(KEY).ttl(HOUR).retry(retry).acquire().await);
        assert!((ms(10)..ms(500)).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert_eq!(faults.count(Operation::Acquire), 3);
    }

    /// BL-07: gives up when the time is over, and says both: busy, and how long it waited.
    bl_07_retry_deadline(fixture) {
        let _held = obtained(&client(&fixture), HOUR).await;
        let request = client(&fixture).lock(KEY).ttl(HOUR).retry(Retry::linear(ms(5))).wait(ms(20));
        let Err(LockError::Busy(busy)) = request.acquire().await else { panic!("given twice") };
        assert!(busy.waited >= ms(20), "{busy}");
    }

    /// BL-08: of 100 callers at the same time one gets it, and the others are told that it is busy, and nothing else.
    bl_08_concurrent(fixture) {
        let managers: Vec<_> = (0..5).map(|_| client(&fixture)).collect();
        let callers: Vec<_> = (0..100_u64).map(|number| {
            let manager = managers[usize::try_from(number % 5).unwrap_or(0)].clone();
            tokio::spawn(async move {
                // In any order, but not at random: a failure must come again.
                sleep(ms(number * 37 % 11)).await;
                obtain(&manager, MINUTE).await
            })
        }).collect();
        let mut guards = Vec::new();
        for caller in callers {
            match caller.await.expect("no panic") {
                Ok(guard) => guards.push(guard),
                Err(error) => assert!(error.is_busy(), "{error}"),
            }
        }
        assert_eq!(guards.len(), 1);
    }

    /// BL-09: the remaining time can be replaced, and shortened: by `set_ttl`. On purpose different: `extend` never shortens.
    bl_09_refresh(fixture) {
        let guard = obtained(&client(&fixture), HOUR).await;
        guard.extend(MINUTE).await.expect("ours");
        assert_ttl_about(&guard, HOUR).await;
        guard.extend(2 * HOUR).await.expect("ours");
        assert_ttl_about(&guard, 2 * HOUR).await;
        guard.set_ttl(MINUTE).await.expect("ours");
        assert_ttl_about(&guard, MINUTE).await;
        assert!(guard.remaining() < MINUTE);
    }

    /// BL-10: an extension may have a strategy, and need not use it. On purpose different: `extend` never shortens.
    bl_10_refresh_retry_success(fixture) {
        let faults = Faults::new(fixture.store());
        let guard = obtained(&LockManager::builder(faults.clone()).build(), MINUTE).await;
        guard.extend_with(HOUR, Retry::linear(ms(20)).limit(3)).await.expect("ours");
        assert_eq!(faults.count(Operation::Extend), 1);
        assert_ttl_about(&guard, HOUR).await;
        assert!(guard.remaining() > MINUTE);
    }

    /// BL-11: a lock that is lost is lost: no retry of its extension, the answer comes at once. (15 ms: ours start at 10.)
    bl_11_refresh_of_a_lost_lock(fixture) {
        let guard = obtained(&client(&fixture), ms(15)).await;
        expired(&fixture).await;
        let started = Instant::now();
        assert_lost(guard.extend(HOUR).await);
        assert_lost(guard.extend_with(HOUR, Retry::linear(ms(100)).limit(2)).await);
        assert!(started.elapsed() < ms(100), "{:?}", started.elapsed());
        // Nor where the store is the one to say so.
        let guard = obtained(&client(&fixture), HOUR).await;
        fixture.put(KEY, "somebody", Some(HOUR)).await;
        let started = Instant::now();
        assert_lost(guard.extend_with(HOUR, Retry::linear(ms(1000)).limit(2)).await);
        assert!(started.elapsed() < ms(1000), "{:?}", started.elapsed());
    }

    /// BL-12: an extension rides out trouble that passes.
    bl_12_refresh_retry_transient_error(fixture) {
        let faults = Faults::new(fixture.store());
        let guard = obtained(&LockManager::builder(faults.clone()).build(), MINUTE).await;
        faults.fail(Operation::Extend, 2);
        guard.extend_with(HOUR, Retry::linear(ms(5)).limit(5)).await.expect("it passes");
        assert_eq!(faults.count(Operation::Extend), 3);
        assert_ttl_about(&guard, HOUR).await;
        assert!(guard.remaining() > MINUTE);
    }

    /// BL-13: when the strategy ends, the error is the store's: three attempts for two retries. What does not pass is not asked
    /// again at all; and however patient the strategy, it ends with the lease.
    bl_13_refresh_retry_transient_error_exhausted(fixture) {
        let faults = Faults::new(fixture.store());
        let manager = LockManager::builder(faults.clone()).build();
        let guard = obtained(&manager, MINUTE).await;
        faults.fail_with(Operation::Extend, 10, StoreError::new(StoreErrorKind::Refused, "LOADING"));
        match guard.extend_with(HOUR, Retry::linear(ms(5)).limit(2)).await {
            Err(LockError::Unavailable { source, .. }) => assert_eq!(source.to_string(), "LOADING"),
            other => panic!("{other:?}"),
        }
        assert_eq!(faults.count(Operation::Extend), 3);
        assert!(guard.is_held(), "an answer that did not come is no loss");
        faults.fail_with(Operation::Extend, 10, StoreError::new(StoreErrorKind::Denied, "NOPERM"));
        assert!(guard.extend_with(HOUR, Retry::linear(ms(5))).await.expect_err("denied").is_unavailable());
        assert_eq!(faults.count(Operation::Extend), 4);
        guard.release().await.expect("ours");
        let guard = obtained(&manager, ms(100)).await;
        faults.fail(Operation::Extend, u64::MAX);
        let started = Instant::now();
        assert_lost(guard.extend_with(HOUR, Retry::linear(ms(5))).await);
        assert!(started.elapsed() < ms(500), "{:?}", started.elapsed());
    }

    /// BL-14: an expired lock cannot be extended. (15 ms: ours start at 10.)
    bl_14_refresh_expired(fixture) {
        let guard = obtained(&client(&fixture), ms(15)).await;
        expired(&fixture).await;
        assert_lost(guard.extend(MINUTE).await);
        assert_lost(guard.set_ttl(MINUTE).await);
    }

    /// BL-15: an expired lock cannot be given back. (15 ms: ours start at 10.)
    bl_15_release_expired(fixture) {
        let guard = obtained(&client(&fixture), ms(15)).await;
        expired(&fixture).await;
        assert_lost(guard.release().await);
    }

    /// BL-16: what somebody else wrote is not ours, and is left alone.
    bl_16_release_not_own(fixture) {
        let guard = obtained(&client(&fixture), HOUR).await;
        fixture.put(KEY, "ABCD", None).await;
        assert_lost(guard.release().await);
        assert_eq!(fixture.get(KEY).await.as_deref(), Some("ABCD"));
        // And it is no lock: waiting for it would never end.
        let error = obtain(&client(&fixture), HOUR).await.expect_err("a foreign key");
        assert!(matches!(error, LockError::ForeignKey { .. }), "{error}");
    }

    /// BL-17: who did not get the lock has nothing to give back (here: no guard), and the holder's stays.
    bl_17_release_not_held(fixture) {
        let guard = obtained(&client(&fixture), HOUR).await;
        assert_busy(obtain(&client(&fixture), HOUR).await);
        assert_ttl_about(&guard, HOUR).await;
        guard.release().await.expect("ours");
    }

    /// BL-18: several keys, all or nothing.
    bl_18_obtain_multi(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let manager = client(&fixture);
        let first = obtain_all(&manager, &["1", "2"], HOUR).await.expect("free");
        let second = obtain_all(&client(&fixture), &["3", "4"], HOUR).await.expect("free");
        for manager in [&manager, &client(&fixture)] {
            assert_busy(obtain_all(manager, &["2", "3"], HOUR).await);
        }
        first.release().await.expect("ours");
        let _single = obtain_all(&manager, &["1"], HOUR).await.expect("free");
        for manager in [&manager, &client(&fixture)] {
            let Err(LockError::Busy(busy)) = obtain_all(manager, &["2", "3"], HOUR).await else { panic!("given twice") };
            assert_eq!(busy.key.as_str(), "3");
            assert_eq!(fixture.get("2").await, None, "a part was taken");
        }
        second.release().await.expect("ours");
        let guard = obtain_all(&manager, &["3", "2"], HOUR).await.expect("free");
        assert_eq!(guard.keys().iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["2", "3"]);
    }

    /// BL-24: the example: time left while it is held, extended, and none when it is over; that is no error.
    bl_24_example(fixture) {
        let guard = obtained(&client(&fixture), ms(200)).await;
        sleep(ms(100)).await;
        assert!(guard.ttl().await.expect("the store answers") > Duration::ZERO);
        guard.extend(ms(200)).await.expect("ours");
        sleep(ms(200)).await;
        expired(&fixture).await;
        assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO);
    }

    /// BL-25: the example with retries: three looks, 50 ms apart.
    bl_25_example_retry(fixture) {
        let held = obtained(&client(&fixture), HOUR).await;
        let request = client(&fixture).lock(KEY).ttl(HOUR).retry(Retry::linear(ms(50)).limit(3));
        let waiting = tokio::spawn(request.acquire());
        sleep(ms(70)).await;
        held.release().await.expect("ours");
        let guard = waiting.await.expect("no panic").expect("free at the second retry");
        guard.release().await.expect("ours");
    }

    /// BL-26: the example with a watchdog: the lock is kept for longer than its TTL, and when it is lost, the work is stopped. What
    /// others have written is left alone.
    bl_26_example_watchdog(fixture) {
        let guard = client(&fixture).lock(KEY).ttl(ms(900)).renew().acquire().await.expect("free");
        sleep(ms(1800)).await;
        assert!(guard.is_held(), "it was not renewed");
        assert_busy(obtain(&client(&fixture), HOUR).await);
        fixture.put(KEY, "somebody", Some(HOUR)).await;
        // The watchdog ends the work, which would have taken an hour.
        let stopped = tokio::time::timeout(HOUR, guard.lost()).await.ok();
        assert_eq!(stopped, Some(crate::lease::LostCause::Gone));
        assert_lost(guard.release().await);
        assert_eq!(fixture.get(KEY).await.as_deref(), Some("somebody"));
    }

    /// BL-27: an explicit wait may be longer than the lease that is asked for.
    bl_27_example_custom_deadline(fixture) {
        let _held = obtained(&client(&fixture), ms(300)).await;
        let started = Instant::now();
        let guard = client(&fixture).lock(KEY).ttl(ms(100)).wait(MINUTE).acquire().await.expect("it expires");
        assert!(started.elapsed() > ms(100), "{:?}", started.elapsed());
        drop(guard);
    }

    /// BE-01: on purpose different: a wait is not capped at the TTL. A strategy without an end needs a `wait`, and
    /// `Duration::MAX` means for ever.
    be_01_waits_are_not_capped_at_the_ttl(fixture) {
        let _held = obtained(&client(&fixture), ms(200)).await;
        let request = client(&fixture).lock(KEY).ttl(ms(50)).retry(Retry::linear(ms(10)));
        let error = request.clone().acquire().await.expect_err("no end");
        assert!(matches!(error, LockError::Invalid { .. }), "{error}");
        let started = Instant::now();
        let _guard = request.wait(Duration::MAX).acquire().await.expect("it expires");
        assert!(started.elapsed() > ms(100), "{:?}", started.elapsed());
    }

    /// BE-02: a lock that was waited for has its full TTL.
    be_02_a_long_wait_takes_nothing_off_the_ttl(fixture) {
        let _held = obtained(&client(&fixture), ms(300)).await;
        let guard = client(&fixture).lock(KEY).ttl(ms(250)).wait(MINUTE).acquire().await.expect("it expires");
        assert!(guard.remaining() > ms(125), "{:?}", guard.remaining());
        assert!(guard.ttl().await.expect("the store answers") > ms(100));
    }

    /// BE-03: an error of the store ends a single try at once. On purpose different: a wait rides out what passes (a server
    /// that is loading or read-only), and gives up at once on what does not.
    be_03_errors_of_the_store(fixture) {
        let faults = Faults::new(fixture.store());
        let manager = LockManager::builder(faults.clone()).build();
        let passing = StoreError::new(StoreErrorKind::Refused, "LOADING");
        faults.fail_with(Operation::Acquire, 1, passing.clone());
        assert!(obtain(&manager, HOUR).await.expect_err("refused").is_unavailable());
        faults.fail_with(Operation::Acquire, 2, passing);
        let retry = Retry::linear(ms(5)).limit(5);
        let guard = manager.lock(KEY).ttl(HOUR).retry(retry).acquire().await.expect("it passes");
        guard.release().await.expect("ours");
        let before = faults.count(Operation::Acquire);
        faults.fail_with(Operation::Acquire, 9, StoreError::new(StoreErrorKind::Denied, "NOPERM"));
        assert!(manager.lock(KEY).ttl(HOUR).retry(retry).acquire().await.expect_err("denied").is_unavailable());
        assert_eq!(faults.count(Operation::Acquire), before + 1);
    }

    /// BE-04: a server that forgets its scripts between any two operations is not noticed.
    be_04_forgotten_scripts(fixture) {
        let manager = client(&fixture);
        fixture.forget().await;
        let guard = obtained(&manager, HOUR).await;
        fixture.forget().await;
        assert_busy(obtain(&client(&fixture), HOUR).await);
        fixture.forget().await;
        guard.extend(2 * HOUR).await.expect("ours");
        fixture.forget().await;
        assert_ttl_about(&guard, 2 * HOUR).await;
        fixture.forget().await;
        guard.release().await.expect("ours");
    }

    /// BE-05: whose lock was taken over under the same token can do nothing to it any more, and it is not disturbed: with other
    /// metadata, and (on purpose different) with the same.
    be_05_stale_handle_after_the_token_was_used_again(fixture) {
        for metadata in ["other", "same"] {
            let ((before, its_store), after) = (client_and_store(&fixture), client(&fixture));
            let stale = [(); 4].map(|()| obtain_as(&before, FOO, "same"));
            for (way, stale) in stale.into_iter().enumerate() {
                let stale = stale.await.expect("free");
                let guard = obtain_as(&after, FOO, metadata).await.expect("held under the same token");
                let value = fixture.get(KEY).await;
                match way {
                    0 => assert_lost(stale.release().await),
                    1 => assert_lost(stale.extend(2 * HOUR).await),
                    2 => assert_eq!(stale.ttl().await.expect("no error"), Duration::ZERO),
                    _ => assert_lost(stale.set_ttl(MINUTE).await),
                }
                its_store.drain().await;
                assert_eq!(fixture.get(KEY).await, value);
                assert_ttl_about(&guard, HOUR).await;
                guard.release().await.expect("ours");
            }
        }
    }

    /// BE-05 again: one request that is made twice stores two values, so that giving back what it won first ends nothing of what it
    /// won then.
    be_05_each_acquisition_under_a_token_is_its_own(fixture) {
        let request = client(&fixture).lock(KEY).ttl(HOUR).token(FOO);
        let stale = request.clone().acquire().await.expect("free");
        let before = fixture.get(KEY).await;
        let guard = request.acquire().await.expect("held under the same token");
        assert_ne!(fixture.get(KEY).await, before);
        assert_lost(stale.release().await);
        assert_ttl_about(&guard, HOUR).await;
        guard.release().await.expect("ours");
    }

    /// BE-06: giving back twice: the second time it is not ours, and nothing happens. (A guard can only be released once; this
    /// is the store's own operation.)
    be_06_double_release(fixture) {
        let store = fixture.store();
        let claim = Claim::new(KEY.into(), HOUR, "".into());
        assert!(matches!(store.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
        assert_eq!(fixture.get(KEY).await.as_deref(), Some(claim.token.as_str()));
        assert!(store.release(&claim).await.expect("the store answers"));
        assert!(!store.release(&claim).await.expect("the store answers"));
    }

    /// BE-07: an expired or stolen lock has no time left, and that is no error; a store that does not answer is one.
    be_07_ttl_of_what_is_not_ours(fixture) {
        let faults = Faults::new(fixture.store());
        let guard = obtained(&LockManager::builder(faults.clone()).build(), HOUR).await;
        faults.fail(Operation::Remaining, 1);
        assert!(guard.ttl().await.expect_err("silence").is_unavailable());
        fixture.put(KEY, "somebody", Some(HOUR)).await;
        assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO);
    }

    /// BE-08: an extension brings nothing back.
    be_08_no_resurrection(fixture) {
        let store = fixture.store();
        let claim = Claim::new(KEY.into(), ms(15), "".into());
        assert!(matches!(store.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
        expired(&fixture).await;
        assert!(!store.extend(&claim, HOUR, crate::store::Extension::AtLeast).await.expect("the store answers"));
        assert!(!store.extend(&claim, HOUR, crate::store::Extension::Exactly).await.expect("the store answers"));
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// BE-09: a stale holder changes neither the new holder's value nor its time.
    be_09_stale_holders(fixture) {
        let store = fixture.store();
        let stale = Claim::new(KEY.into(), ms(15), "stale".into());
        assert!(matches!(store.acquire(&stale).await, Ok(Attempt::Acquired { .. })));
        expired(&fixture).await;
        let guard = obtained(&client(&fixture), HOUR).await;
        let value = fixture.get(KEY).await;
        for extension in [crate::store::Extension::AtLeast, crate::store::Extension::Exactly] {
            assert!(!store.extend(&stale, 2 * HOUR, extension).await.expect("the store answers"));
        }
        assert_eq!(store.remaining(&stale).await.expect("the store answers"), None);
        assert!(!store.release(&stale).await.expect("the store answers"));
        store.abandon(stale, crate::store::Done::nothing());
        store.drain().await;
        assert_eq!(fixture.get(KEY).await, value);
        assert_about(fixture.time_left(KEY).await.expect("it is there"), HOUR);
        guard.release().await.expect("ours");
    }

    /// BE-10, row 1: a TTL that rounds to nothing would delete the key, and one of 10 ms is the least that there is. Upstream says
    /// that it is held.
    be_10_row_01_a_ttl_of_nothing(fixture) {
        let faults = Faults::new(fixture.store());
        let manager = LockManager::builder(faults.clone()).build();
        let nothing = [Duration::ZERO, Duration::from_micros(999), ms(9)];
        for ttl in nothing {
            assert_invalid(obtain(&manager, ttl).await);
            assert_invalid(obtain_all(&manager, &["1", "2"], ttl).await);
        }
        assert_eq!(faults.count(Operation::Acquire), 0);
        let guard = obtained(&manager, HOUR).await;
        for ttl in nothing {
            assert_invalid(guard.extend(ttl).await);
            assert_invalid(guard.extend_with(ttl, Retry::none()).await);
            assert_invalid(guard.set_ttl(ttl).await);
        }
        assert_eq!(faults.count(Operation::Extend), 0);
        guard.release().await.expect("ours");
    }

    /// BE-10, row 2: a token that is the beginning of another does not open its lock. Upstream's does.
    be_10_row_02_a_token_that_begins_like_another(fixture) {
        let manager = client(&fixture);
        let _held = obtain_as(&manager, FOO, "bar").await.expect("free");
        for beginning in ["f00", &FOO[..31], &format!("{FOO}0"), &FOO.to_uppercase(), &format!("{FOO}:")] {
            assert_invalid(obtain_as(&client(&fixture), beginning, "bar").await);
        }
        for other in [format!("{FOO}0"), format!("{FOO}bar"), format!("{FOO}: bar"), format!("x{FOO}")] {
            fixture.put(KEY, &other, Some(HOUR)).await;
            assert_busy(obtain_as(&client(&fixture), FOO, "bar").await);
            assert_eq!(fixture.get(KEY).await, Some(other));
        }
    }

    /// BE-10, row 3: an empty token is none. Upstream makes one.
    be_10_row_03_an_empty_token(fixture) {
        assert_invalid(obtain_as(&client(&fixture), "", "bar").await);
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// Row 4: with one key held under the token and the other free, both are taken. Upstream refuses, and refuses for ever if the
    /// holder has crashed. With one of them held by somebody else, nothing changes.
    row_04_some_keys_held_under_the_token(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let all = |manager: &LockManager, keys: &[&str]| {
            manager.lock_many(keys.iter().copied()).ttl(HOUR).token(FOO).acquire()
        };
        let first = all(&client(&fixture), &["1"]).await.expect("free");
        let (manager, store) = client_and_store(&fixture);
        let both = all(&manager, &["1", "2"]).await.expect("held under the same token, and free");
        assert_lost(first.release().await);
        assert_ttl_about(&both, HOUR).await;
        let subset = all(&manager, &["2"]).await.expect("held under the same token");
        assert!(!both.is_held());
        store.drain().await;
        assert_eq!(fixture.get("1").await, None, "a part of a lock is no lock");
        let other = obtain_all(&client(&fixture), &["3"], HOUR).await.expect("free");
        let Err(LockError::Busy(busy)) = all(&client(&fixture), &["1", "2", "3"]).await else { panic!("given twice") };
        assert_eq!(busy.key.as_str(), "3");
        assert_eq!(fixture.get("1").await, None);
        subset.release().await.expect("it was not touched");
        other.release().await.expect("ours");
    }

    /// Row 5: a key that is named twice is named once.
    row_05_the_same_key_twice(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let guard = obtain_all(&client(&fixture), &["1", "2", "1"], HOUR).await.expect("free");
        assert_eq!(guard.keys().len(), 2);
        guard.extend(2 * HOUR).await.expect("ours");
        assert_ttl_about(&guard, 2 * HOUR).await;
        guard.release().await.expect("ours");
    }

    /// BE-10, row 6: no keys are no lock. Upstream sends a script that fails.
    be_10_row_06_no_keys(fixture) {
        let faults = Faults::new(fixture.store());
        assert_invalid(obtain_all(&LockManager::builder(faults.clone()).build(), &[], HOUR).await);
        assert_eq!(faults.count(Operation::Acquire), 0);
    }

    /// Row 8: a held key that somebody made permanent: it has no time of its own, is held all the same, is given its time back by
    /// the next extension, and is deleted when it is given back. (Upstream leaves it at the first.)
    row_08_a_held_key_without_expiry(fixture) {
        let guard = obtained(&client(&fixture), HOUR).await;
        let value = fixture.get(KEY).await.expect("it is there");
        fixture.put(KEY, &value, None).await;
        assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO);
        assert!(guard.is_held());
        guard.extend(HOUR).await.expect("ours");
        assert_about(fixture.time_left(KEY).await.expect("it ends again"), HOUR);
        fixture.put(KEY, &value, None).await;
        guard.release().await.expect("ours");
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// Row 9: the same for one of several keys. Upstream shows the time of the other one.
    row_09_one_of_several_keys_without_expiry(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let guard = obtain_all(&client(&fixture), &["1", "2"], HOUR).await.expect("free");
        let value = fixture.get("2").await.expect("it is there");
        fixture.put("2", &value, None).await;
        assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO);
        guard.extend(HOUR).await.expect("ours");
        assert_ttl_about(&guard, HOUR).await;
        assert_about(fixture.time_left("2").await.expect("it ends again"), HOUR);
        guard.release().await.expect("ours");
    }

    /// Row 10: other metadata under the same token: see [BE-05](be_05_stale_handle_after_the_token_was_used_again). Here: through
    /// one manager, where the first is told at once, and what it had beside is given back.
    row_10_other_metadata_under_the_same_token(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let (manager, store) = client_and_store(&fixture);
        let first = manager.lock_many([KEY, "beside"]).ttl(HOUR).token(FOO).metadata("a").acquire().await.expect("free");
        let watch = first.watch();
        let second = obtain_as(&manager, FOO, "b").await.expect("held under the same token");
        assert!(!watch.is_held());
        store.drain().await;
        assert_eq!(fixture.get("beside").await, None);
        drop(first);
        store.drain().await;
        assert_ttl_about(&second, HOUR).await;
        assert_busy(obtain(&manager, HOUR).await);
        second.release().await.expect("ours");
    }

    /// Row 11: taken over under the same token, a lock is never shortened: its first holder may not know yet. Upstream's is. And
    /// the lease is counted for what was asked for, not for what is left.
    row_11_the_same_token_never_shortens(fixture) {
        let first = obtain_as(&client(&fixture), FOO, "bar").await.expect("free");
        let request = client(&fixture).lock(KEY).token(FOO);
        let second = request.clone().ttl(MINUTE).acquire().await.expect("held under the same token");
        assert!(second.remaining() <= MINUTE);
        assert_about(fixture.time_left(KEY).await.expect("it is there"), HOUR);
        drop(first);
        second.set_ttl(MINUTE).await.expect("ours");
        let third = request.ttl(2 * HOUR).acquire().await.expect("held under the same token");
        assert_ttl_about(&third, 2 * HOUR).await;
        assert!(third.remaining() > HOUR);
    }

    /// BE-10, row 12: of several keys one is gone. Its release says so, and frees those that are left; upstream's leaves them
    /// locked. So does everything else by which it becomes known.
    be_10_row_12_one_of_several_keys_is_gone(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        for way in 0..4 {
            let guard = obtain_all(&client(&fixture), &["1", "2", "3"], HOUR).await.expect("free");
            fixture.put("2", "somebody", Some(HOUR)).await;
            match way {
                0 => assert_lost(guard.extend(2 * HOUR).await),
                1 => assert_eq!(guard.ttl().await.expect("no error"), Duration::ZERO),
                2 => assert_lost(guard.set_ttl(MINUTE).await),
                _ => assert_lost(guard.release().await),
            }
            let started = Instant::now();
            while fixture.get("1").await.is_some() || fixture.get("3").await.is_some() {
                assert!(started.elapsed() < ms(5000), "way {way}: they are still there");
                sleep(ms(1)).await;
            }
            assert_eq!(fixture.get("2").await.as_deref(), Some("somebody"));
            fixture.put("2", "", Some(ms(1))).await;
            let started = Instant::now();
            while fixture.get("2").await.is_some() {
                assert!(started.elapsed() < MINUTE, "the key does not expire");
                sleep(ms(1)).await;
            }
        }
    }

    /// BE-10, row 13: a TTL without end is refused before anything is sent. Upstream's leaves a lock for ever.
    be_10_row_13_a_ttl_without_end(fixture) {
        let faults = Faults::new(fixture.store());
        let manager = LockManager::builder(faults.clone()).build();
        let (end, most) = (Duration::MAX, Duration::from_secs(30 * 24 * 60 * 60));
        for ttl in [end, ms(u64::MAX), most + ms(1)] {
            assert_invalid(obtain(&manager, ttl).await);
            assert_invalid(obtain_all(&manager, &["1", "2"], ttl).await);
        }
        assert_eq!(faults.count(Operation::Acquire), 0);
        let keys: &[&str] = if refuses_several(&fixture).await { &["1"] } else { &["1", "2"] };
        let guard = obtain_all(&manager, keys, most).await.expect("the most that there is");
        assert_ttl_about(&guard, most).await;
        assert_invalid(guard.extend(end).await);
        assert_invalid(guard.set_ttl(end).await);
        guard.release().await.expect("ours");
    }

    /// BE-11: a strategy has no memory: every acquisition starts it afresh. (Upstream's counts on.)
    be_11_a_strategy_is_fresh_for_every_call(fixture) {
        let _held = obtained(&client(&fixture), HOUR).await;
        let faults = Faults::new(fixture.store());
        let request = LockManager::builder(faults.clone()).build().lock(KEY).ttl(HOUR).retry(Retry::linear(ms(1)).limit(3));
        assert_busy(request.clone().acquire().await);
        assert_busy(request.acquire().await);
        assert_eq!(faults.count(Operation::Acquire), 8);
    }

    /// BE-12: a wait that is dropped ends at once, and asks nothing more. On purpose different: a request that is under way is
    /// followed by a clean-up, so that the lock does not stay.
    be_12_a_dropped_wait_asks_nothing_more(fixture) {
        let held = obtained(&client(&fixture), HOUR).await;
        let faults = Faults::new(fixture.store());
        let manager = LockManager::builder(faults.clone()).build();
        let request = manager.lock(KEY).ttl(HOUR).retry(Retry::linear(ms(20))).wait(HOUR);
        let started = Instant::now();
        assert!(tokio::time::timeout(ms(50), request.acquire()).await.is_err());
        assert!(started.elapsed() < ms(70), "{:?}", started.elapsed());
        let asked = faults.count(Operation::Acquire);
        held.release().await.expect("ours");
        sleep(ms(100)).await;
        assert_eq!(faults.count(Operation::Acquire), asked);
        assert_eq!(fixture.get(KEY).await, None);
    }

    /// BE-13: an extension changes the time and nothing else. (Upstream ignores the metadata and the token that it may be given;
    /// ours takes none.)
    be_13_an_extension_changes_the_time_alone(fixture) {
        let guard = obtain_as(&client(&fixture), FOO, "bar").await.expect("free");
        let value = fixture.get(KEY).await;
        guard.extend(2 * HOUR).await.expect("ours");
        guard.extend_with(3 * HOUR, Retry::none()).await.expect("ours");
        guard.set_ttl(HOUR).await.expect("ours");
        assert_eq!(fixture.get(KEY).await, value);
        assert_eq!((guard.token().as_str(), guard.metadata()), (FOO, "bar"));
        guard.release().await.expect("ours");
    }

    /// BE-14: the time of several keys is the least of theirs. An extension is for all of them.
    be_14_ttl_of_several_keys(fixture) {
        if refuses_several(&fixture).await {
            return;
        }
        let guard = obtain_all(&client(&fixture), &["1", "2", "3"], HOUR).await.expect("free");
        assert_ttl_about(&guard, HOUR).await;
        let value = fixture.get("3").await.expect("it is there");
        fixture.put("3", &value, Some(MINUTE)).await;
        assert_ttl_about(&guard, MINUTE).await;
        guard.extend(2 * HOUR).await.expect("ours");
        for key in ["1", "2", "3"] {
            assert_about(fixture.time_left(key).await.expect("it is there"), 2 * HOUR);
        }
    }

    /// FE-01: tokens rise from holder to holder: those of one client, of several, and of a client that has just come. A store
    /// that [has none](Store::fences) refuses to lock with one, and takes nothing.
    fe_01_fences_rise_across_holders(fixture) {
        if refuses_fences(&fixture).await {
            return;
        }
        let clients = [client(&fixture), client(&fixture)];
        let mut last = 0;
        for turn in 0..20 {
            let manager = if turn % 5 == 4 { client(&fixture) } else { clients[turn % 2].clone() };
            let guard = fenced(&manager, HOUR).await;
            last = assert_risen(&guard, last);
            assert_busy(manager.lock(KEY).ttl(HOUR).fence().acquire().await);
            assert_busy(client(&fixture).lock(KEY).ttl(HOUR).fence().acquire().await);
            guard.extend(2 * HOUR).await.expect("ours");
            assert_eq!(guard.fence(), Some(last), "a token is for the whole hold");
            guard.release().await.expect("ours");
        }
    }

    /// FE-02: a token that nobody asked for is not given.
    fe_02_no_fence_unless_asked_for(fixture) {
        let guard = obtained(&client(&fixture), HOUR).await;
        assert_eq!(guard.fence(), None);
        guard.release().await.expect("ours");
        let claim = Claim::new(KEY.into(), HOUR, "".into());
        assert!(matches!(fixture.store().acquire(&claim).await, Ok(Attempt::Acquired { fence: None, .. })));
    }

    /// FE-03: whoever takes over an expired lock has the higher token.
    fe_03_fences_rise_after_expiry(fixture) {
        if refuses_fences(&fixture).await {
            return;
        }
        let mut last = 0;
        for _ in 0..3 {
            let stale = fenced(&client(&fixture), ms(15)).await;
            last = assert_risen(&stale, last);
            expired(&fixture).await;
            let guard = fenced(&client(&fixture), HOUR).await;
            last = assert_risen(&guard, last);
            assert_lost(stale.release().await);
            guard.release().await.expect("ours");
        }
    }

    /// FE-04: a lock with a token and one without exclude each other, and holders without one do not set tokens back.
    fe_04_fenced_and_unfenced_exclude_each_other(fixture) {
        if refuses_fences(&fixture).await {
            return;
        }
        let with = fenced(&client(&fixture), HOUR).await;
        let last = assert_risen(&with, 0);
        assert_busy(obtain(&client(&fixture), HOUR).await);
        with.release().await.expect("ours");
        let without = obtained(&client(&fixture), HOUR).await;
        assert_busy(client(&fixture).lock(KEY).ttl(HOUR).fence().acquire().await);
        without.release().await.expect("ours");
        assert_risen(&fenced(&client(&fixture), HOUR).await, last);
    }

    /// ST-01: the self-test passes on a store that works, and leaves nothing behind. This library's own.
    st_01_self_test(fixture) {
        for _ in 0..2 {
            fixture.store().self_test(&KEY.into()).await.expect("it works");
            assert_eq!(fixture.get(KEY).await, None);
        }
        client(&fixture).self_test().await.expect("it works");
    }
}
