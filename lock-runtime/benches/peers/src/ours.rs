//! Our locks, by both ways of taking them.

use lock_runtime::{LockError, LockManager, distributed_lock};

use crate::contender::{Contender, Pair, TTL};

/// `manager.lock(key).ttl(ttl).acquire()`, then `guard.release()`.
#[derive(Debug)]
pub struct OursByBuilder(
    /// Of any store.
    pub LockManager,
);

impl Contender for OursByBuilder {
    type Pair = BuilderPair;

    fn name(&self) -> &'static str {
        "ours, builder"
    }

    fn task(&self, number: u32) -> BuilderPair {
        BuilderPair { manager: self.0.clone(), key: format!("builder:{number}") }
    }
}

/// See [`OursByBuilder`].
#[derive(Debug)]
pub struct BuilderPair {
    manager: LockManager,
    key: String,
}

impl Pair for BuilderPair {
    async fn once(&mut self) {
        let guard = self.manager.lock(&self.key).ttl(TTL).acquire().await.expect("a free lock");
        guard.release().await.expect("a lock of our own");
    }
}

/// A call of a function under `#[distributed_lock]`, with an empty body.
#[derive(Debug)]
pub struct OursByAttribute(
    /// Of any store.
    pub LockManager,
);

impl Contender for OursByAttribute {
    type Pair = AttributePair;

    fn name(&self) -> &'static str {
        "ours, attribute"
    }

    fn task(&self, number: u32) -> AttributePair {
        AttributePair { manager: self.0.clone(), number }
    }
}

/// See [`OursByAttribute`].
#[derive(Debug)]
pub struct AttributePair {
    manager: LockManager,
    number: u32,
}

impl Pair for AttributePair {
    async fn once(&mut self) {
        locked(&self.manager, self.number).await.expect("a free lock");
    }
}

#[distributed_lock(key = "attribute:{number}", ttl = TTL, manager = manager)]
async fn locked(manager: &LockManager, number: u32) -> Result<(), LockError> {
    Ok(())
}
