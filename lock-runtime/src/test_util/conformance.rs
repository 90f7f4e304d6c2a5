//! What every store must do, case by case.
//!
//! The cases are those of bsm/redislock's own tests (`BL`) and of behaviour that its users rely on without a test (`BE`),
//! under the numbers of our specification, and this library's own where it differs on purpose; each such case says so. Those of
//! fencing tokens (`FE`) are this library's own. A store without tokens passes them by [saying so](Store::fences).
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

    /// BL-11: a lock that is lost is lost: no retry of its extension, the answer comes at once. (15 ms: ours start at 10.)
    bl_11_refresh_of_a_lost_lock(fixture) {
        let guard = obtained(&client(&fixture), ms(15)).await;
        expired(&fixture).await;
        let started = Instant::now();
        assert_lost(guard.extend(HOUR).await);
        assert!(started.elapsed() < ms(100), "{:?}", started.elapsed());
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
