//! Fencing tokens in memory, and stores that have none, or say that they have. (Redis: in the workspace's `tests`.)
#![cfg(feature = "test-util")]

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::test_util::conformance::{self, Fixture};
use lock_runtime::test_util::{Faults, Operation, TestLocks};
use lock_runtime::{LockError, LockGuard, LockManager, Moment, StoreErrorKind};

const TTL: Duration = Duration::from_secs(60);

async fn fenced(locks: &LockManager, key: &str) -> LockGuard {
    locks.lock(key).ttl(TTL).wait(TTL).fence().acquire().await.expect("the lock")
}

/// Promise: the tokens of the next process are above those of this one, although its store starts empty: the database that
/// remembers the last token outlives both.
///
/// Turned red by: a counter that starts at zero; one on tokio's clock.
#[tokio::test(start_paused = true)]
async fn a_new_store_starts_above_the_last_one() {
    let before = fenced(&LockManager::in_memory(), "account").await.fence();
    // Tokens of two processes in one microsecond may be equal: the next comes later.
    let then = SystemTime::now();
    while then.elapsed().unwrap_or_default() < Duration::from_micros(2) {}
    let after = fenced(&LockManager::in_memory(), "account").await.fence();
    assert!(after > before, "{after:?} after {before:?}");
}

/// Promise: whoever tests with faults, tests with tokens.
///
/// Turned red by: a `Faults` that does not pass the question on.
#[tokio::test(start_paused = true)]
async fn locks_with_faults_have_tokens() {
    let locks = TestLocks::new();
    assert!(fenced(&locks, "account").await.fence().is_some());
    locks.unavailable(true);
    let error = locks.lock("account:2").ttl(TTL).fence().acquire().await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
}

/// Promise: nobody locks the counter, with or without a prefix: it would stop every lock with a token.
///
/// Turned red by: leaving out the check.
#[tokio::test(start_paused = true)]
async fn the_counter_is_no_lock() {
    let plain = LockManager::in_memory();
    let prefixed = LockManager::builder(MemoryStore::new()).key_prefix("app:").build();
    for (locks, key) in
        [(&plain, "lock_runtime:fence"), (&plain, "app:lock_runtime:fence"), (&prefixed, "lock_runtime:fence")]
    {
        let error = locks.lock(key).ttl(TTL).acquire().await.expect_err("the counter");
        assert!(matches!(error, LockError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("counter of fencing tokens"), "{error}");
    }
}

/// Promise: a store that has no tokens is not asked for a lock with one: nobody works on in the belief of having a token.
///
/// Turned red by: leaving out the question, or the default answer *yes*.
#[tokio::test(start_paused = true)]
async fn a_store_without_tokens_is_not_asked() {
    let store = Other { fences: false, store: Faults::new(MemoryStore::new()) };
    let locks = LockManager::builder(store.clone()).build();
    let error = locks.lock("account").ttl(TTL).fence().acquire().await.expect_err("no tokens");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("gives no fencing tokens"), "{error}");
    assert_eq!(store.store.count(Operation::Acquire), 0);
    // Without one, it locks.
    let guard = locks.lock("account").ttl(TTL).acquire().await.expect("free");
    guard.release().await.expect("ours");
}

/// Promise: a lock that came without the token that it was asked for with is no success, and is given back.
///
/// Turned red by: leaving out the check of what the store gave.
#[tokio::test(start_paused = true)]
async fn a_lock_without_its_token_is_refused() {
    let store = Other { fences: true, store: Faults::new(MemoryStore::new()) };
    let locks = LockManager::builder(store.clone()).build();
    let error = locks.lock("account").ttl(TTL).wait(TTL).fence().acquire().await.expect_err("no token");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Protocol, "{error}");
    assert_eq!(store.store.count(Operation::Acquire), 1, "there is no point in asking again");
    assert_eq!(store.store.count(Operation::Release), 1);
    let guard = locks.lock("account").ttl(TTL).acquire().await.expect("it was given back");
    guard.release().await.expect("ours");
}

/// Promise: the conformance suite accepts a store that says that it has no tokens, and fails one that only says it has.
///
/// Turned red by: a case that asks for nothing where there are no tokens, or believes what a store says.
#[tokio::test(start_paused = true)]
async fn the_suite_takes_a_store_at_its_word_and_checks_it() {
    struct Without(MemoryStore);
    struct Pretending(MemoryStore);

    macro_rules! fixture {
        ($fixture:ident, $fences:literal) => {
            impl Fixture for $fixture {
                type Store = Other;

                async fn new() -> Self {
                    Self(MemoryStore::new())
                }

                fn store(&self) -> Other {
                    Other { fences: $fences, store: Faults::new(self.0.clone()) }
                }

                async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
                    self.0.put(key, value, ttl);
                }

                async fn get(&self, key: &str) -> Option<String> {
                    self.0.get(key)
                }

                async fn time_left(&self, key: &str) -> Option<Duration> {
                    self.0.time_left(key)
                }
            }
        };
    }
    fixture!(Without, false);
    fixture!(Pretending, true);

    conformance::fe_01_fences_rise_across_holders(Without::new().await).await;
    conformance::fe_02_no_fence_unless_asked_for(Without::new().await).await;
    conformance::fe_03_fences_rise_after_expiry(Without::new().await).await;
    conformance::fe_04_fenced_and_unfenced_exclude_each_other(Without::new().await).await;
    let pretending = Pretending::new().await;
    let case = tokio::spawn(conformance::fe_01_fences_rise_across_holders(pretending));
    assert!(case.await.is_err_and(|error| error.is_panic()), "the case has believed it");
}

/// A store of somebody else's, from before there were tokens: it takes no notice of the wish for one.
#[derive(Clone, Debug)]
struct Other {
    /// What it says.
    fences: bool,
    store: Faults<MemoryStore>,
}

impl Store for Other {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn fences(&self) -> bool {
        self.fences
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let mut claim = claim.clone();
            claim.fence = None;
            self.store.acquire(&claim).await
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
}
