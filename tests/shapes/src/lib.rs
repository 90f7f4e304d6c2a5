//! What the tests of this package have in common: a store that keeps a journal, and two questions asked of a call under the
//! attribute: did its body run under this lock and no longer, and did it not run while somebody else had the lock?
//!
//! The journal belongs to the thread: a test has its own, and so has everything that it polls.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::{LockManager, Moment, StoreError, StoreErrorKind};

thread_local! {
    static JOURNAL: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Writes a line of the journal.
pub fn note(entry: impl Into<String>) {
    JOURNAL.with_borrow_mut(|journal| journal.push(entry.into()));
}

/// Written by every body, so that it is known when it ran.
pub fn body() {
    note("body");
}

/// What was written since the last call.
#[must_use]
pub fn noted() -> Vec<String> {
    JOURNAL.take()
}

/// Writes `drop NAME` into the journal when it is dropped.
#[derive(Debug)]
pub struct Witness(pub &'static str);

impl Witness {
    /// A use of the whole value; of `self.0`, an `async move` block copies the field alone.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        note(format!("drop {}", self.0));
    }
}

/// A memory store that writes down what reaches it: `lock KEY`, `release KEY`, and `abandon KEY` for a release that nobody
/// waits for. Several keys are separated by commas.
#[derive(Clone, Debug)]
pub struct Recorder {
    store: MemoryStore,
    deaf: Arc<AtomicBool>,
}

impl Recorder {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { store: MemoryStore::new(), deaf: Arc::default() }
    }

    /// From now on, releases reach the store, and are not answered.
    pub fn stop_answering_releases(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for Recorder {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn fences(&self) -> bool {
        self.store.fences()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let attempt = self.store.acquire(claim).await?;
            if matches!(attempt, Attempt::Acquired { .. }) {
                note(format!("lock {}", names(claim)));
            }
            Ok(attempt)
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.store.extend(claim, ttl, extension)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.store.remaining(claim)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        note(format!("release {}", names(claim)));
        if self.deaf.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::new(StoreErrorKind::Timeout, "no answer")) });
        }
        self.store.release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        note(format!("abandon {}", names(&claim)));
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }
}

fn names(claim: &Claim) -> String {
    claim.keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",")
}

/// A manager over a [`Recorder`] of its own.
#[must_use]
pub fn recorded() -> LockManager {
    LockManager::builder(Recorder::new()).build()
}

/// The result of `call`, which must have run its body once, after `key` was locked and before it was released, and have
/// asked for no other lock. Names no manager, so that the call finds the one of the task's scope.
///
/// # Panics
///
/// When it did not.
pub async fn under<F: Future>(key: &str, call: F) -> F::Output {
    drop(noted());
    let output = recorded().scope(call).await;
    assert_eq!(noted(), [format!("lock {key}"), "body".to_owned(), format!("release {key}")]);
    output
}

/// The result of `call` while somebody else holds `key`. It must not have run its body.
///
/// # Panics
///
/// When it did.
pub async fn while_busy<F: Future>(key: &str, call: F) -> F::Output {
    let manager = recorded();
    let held = manager.lock(key).ttl(Duration::from_secs(60)).acquire().await.expect("nobody else is here");
    drop(noted());
    let output = manager.scope(call).await;
    let noted = noted();
    assert!(!noted.iter().any(|entry| entry == "body"), "the body ran: {noted:?}");
    held.release().await.expect("nobody took it");
    output
}
