//! Locks for the tests of programs that use locks.

use std::ops::Deref;
use std::time::Duration;

use super::faults::Faults;
use crate::key::LockKey;
use crate::lease::Event;
use crate::manager::LockManager;
use crate::store::Claim;
use crate::store::memory::MemoryStore;

/// A [`LockManager`] in memory whose locks are busy, lost, slow or out of reach on command.
///
/// It is a manager: `locks.scope(…)`, `locks.lock(…)`, `manager = locks`. See the [module](crate::test_util) for one example
/// of each fault.
#[derive(Clone, Debug)]
pub struct TestLocks {
    manager: LockManager,
    store: MemoryStore,
    faults: Faults<MemoryStore>,
}

impl TestLocks {
    /// Locks that are all free, on a store that works.
    #[must_use]
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let faults = Faults::new(store.clone());
        Self { manager: LockManager::builder(faults.clone()).build(), store, faults }
    }

    /// Lets somebody else hold `key` for `ttl`, as if the process `holder` had just taken it; whoever held it before has lost
    /// it without being told.
    pub fn hold_elsewhere(&self, key: impl Into<LockKey>, holder: &str, ttl: Duration) {
        let claim = Claim::new(key.into(), ttl, holder.into());
        self.store.put(claim.keys[0].clone(), claim.value(), Some(ttl));
    }

    /// Removes `key` from the store, as if its TTL were over or an operator had deleted it. Its holder is not told: it finds
    /// out when it asks or gives the lock back.
    pub fn expire(&self, key: impl Into<LockKey>) {
        self.store.remove(key);
    }

    /// Takes `key` from its holder, and tells it: a body under the attribute is dropped at its current `.await`.
    pub fn lose(&self, key: impl Into<LockKey>) {
        let key = key.into();
        self.store.remove(key.clone());
        for hold in self.manager.shared().queue.holds() {
            if hold.claim().keys.contains(&key) {
                hold.on(Event::NotOurs);
            }
        }
    }

    /// Whether somebody holds `key`.
    #[must_use]
    pub fn is_held(&self, key: impl Into<LockKey>) -> bool {
        self.store.get(key).is_some()
    }

    /// While `true`, the store answers nothing.
    pub fn unavailable(&self, unavailable: bool) {
        self.faults.unavailable(unavailable);
    }

    /// Faults of single operations, and how often each was called.
    #[must_use]
    pub fn faults(&self) -> &Faults<MemoryStore> {
        &self.faults
    }

    /// The store behind the faults.
    #[must_use]
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }
}

impl Default for TestLocks {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TestLocks {
    type Target = LockManager;

    fn deref(&self) -> &LockManager {
        &self.manager
    }
}

impl AsRef<LockManager> for TestLocks {
    fn as_ref(&self) -> &LockManager {
        &self.manager
    }
}
