//! A store in front of another, which counts, delays and fails what passes through.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{StoreError, StoreErrorKind};
use crate::keeper::Background;
use crate::key::LockKey;
use crate::store::{Attempt, Claim, Done, Extension, Reading, Store, StoreFuture};

/// The operations of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::acquire`]
    Acquire,
    /// [`Store::extend`]
    Extend,
    /// [`Store::remaining`]
    Remaining,
    /// [`Store::inspect`]
    Inspect,
    /// [`Store::release`]
    Release,
    /// [`Store::raise_fence`]
    RaiseFence,
}

/// A store in front of another. What is told to one clone is told to all.
#[derive(Debug)]
pub struct Faults<S> {
    store: Arc<S>,
    plans: Arc<Mutex<Plans>>,
}

impl<S> Clone for Faults<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), plans: self.plans.clone() }
    }
}

#[derive(Debug, Default)]
struct Plans {
    unavailable: bool,
    plans: HashMap<Operation, Plan>,
}

#[derive(Clone, Debug, Default)]
struct Plan {
    seen: u64,
    delay: Duration,
    failures: u64,
    error: Option<StoreError>,
}

impl<S: Store> Faults<S> {
    /// Puts itself in front of `store`; nothing fails yet.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store: Arc::new(store), plans: Arc::default() }
    }

    /// While `true`, nothing gets through: every operation ends as if the store did not answer, and clean-ups are lost.
    pub fn unavailable(&self, unavailable: bool) {
        self.plans().unavailable = unavailable;
    }

    /// Lets the next `times` calls of `operation` fail as if the store had not answered. They are not carried out.
    pub fn fail(&self, operation: Operation, times: u64) {
        self.fail_with(operation, times, silence());
    }

    /// Lets the next `times` calls of `operation` fail with `error`. They are not carried out.
    pub fn fail_with(&self, operation: Operation, times: u64, error: StoreError) {
        let mut plans = self.plans();
        let plan = plans.plans.entry(operation).or_default();
        plan.failures = times;
        plan.error = Some(error);
    }

    /// Lets every call of `operation` take `delay` longer, before it is carried out.
    pub fn delay(&self, operation: Operation, delay: Duration) {
        self.plans().plans.entry(operation).or_default().delay = delay;
    }

    /// How often `operation` was called, failures included.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.plans().plans.get(&operation).map_or(0, |plan| plan.seen)
    }

    fn through<'a, T: Send + 'a>(&'a self, operation: Operation, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let (delay, fault) = {
                let mut plans = self.plans();
                let unavailable = plans.unavailable;
                let plan = plans.plans.entry(operation).or_default();
                plan.seen += 1;
                let fails = plan.failures > 0;
                plan.failures = plan.failures.saturating_sub(1);
                let fault = if unavailable {
                    Some(silence())
                } else if fails {
                    plan.error.clone()
                } else {
                    None
                };
                (plan.delay, fault)
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            match fault {
                Some(error) => Err(error),
                None => answer.await,
            }
        })
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silence() -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, "the store did not answer (a fault of the test)")
}

impl<S: Store> Store for Faults<S> {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn fences(&self) -> bool {
        self.store.fences()
    }

    fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        self.store.flaw(keys)
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        self.through(Operation::Acquire, self.store.acquire(claim))
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.through(Operation::Extend, self.store.extend(claim, ttl, extension))
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.through(Operation::Remaining, self.store.remaining(claim))
    }

    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        self.through(Operation::Inspect, self.store.inspect(key))
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        self.through(Operation::RaiseFence, self.store.raise_fence(claim, fence))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.through(Operation::Release, self.store.release(claim))
    }

    fn abandon(&self, claim: Claim, done: Done) {
        if !self.plans().unavailable {
            self.store.abandon(claim, done);
        }
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }

    fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    fn attach(&self, background: &Background) {
        self.store.attach(background);
    }
}
