//! Locks in the memory of this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use crate::clock::Moment;
use crate::key::LockKey;

/// Locks in the memory of this process: for tests, and for programs of one process.
///
/// It behaves as a Redis server would, expiry included, and runs wholly on tokio's clock: under
/// `#[tokio::test(start_paused = true)]` leases end without anybody waiting for them. Clones are one store: give each
/// manager its own to play several processes.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    origin: Instant,
    locks: Arc<Mutex<HashMap<LockKey, Stored>>>,
}

#[derive(Debug)]
struct Stored {
    value: String,
    expires: Moment,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), locks: Arc::default() }
    }

    /// The live entries, those that have expired swept out of the way of `claim` first.
    fn live(&self, claim: &Claim) -> MutexGuard<'_, HashMap<LockKey, Stored>> {
        let now = self.now();
        // No code that can panic runs under this lock; a poisoned map is a whole map.
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &*claim.keys {
            if let Entry::Occupied(stored) = locks.entry(key.clone())
                && stored.get().expires <= now
            {
                stored.remove();
            }
        }
        locks
    }

    fn owns(locks: &HashMap<LockKey, Stored>, claim: &Claim) -> bool {
        let value = claim.value();
        claim.keys.iter().all(|key| locks.get(key).is_some_and(|stored| stored.value == value))
    }

    fn take(&self, claim: &Claim) -> Attempt {
        let sent = self.now();
        let mut locks = self.live(claim);
        if let Some(holder) = claim.keys.iter().find_map(|key| locks.get(key)) {
            return Attempt::busy(Some(holder.value.clone()), Some(holder.expires.since(sent)));
        }
        let expires = sent.plus(claim.ttl);
        for key in &*claim.keys {
            locks.insert(key.clone(), Stored { value: claim.value(), expires });
        }
        Attempt::acquired(sent)
    }

    fn give_back(&self, claim: &Claim) -> bool {
        let mut locks = self.live(claim);
        let owned = Self::owns(&locks, claim);
        if owned {
            for key in &*claim.keys {
                locks.remove(key);
            }
        }
        owned
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn now(&self) -> Moment {
        Moment::from_origin(Instant::now().saturating_duration_since(self.origin))
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move { Ok(self.take(claim)) })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let until = self.now().plus(ttl);
            let mut locks = self.live(claim);
            let owned = Self::owns(&locks, claim);
            if owned {
                for key in &*claim.keys {
                    if let Some(stored) = locks.get_mut(key) {
                        stored.expires = match extension {
                            Extension::AtLeast => stored.expires.max(until),
                            Extension::Exactly => until,
                        };
                    }
                }
            }
            Ok(owned)
        })
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(async move {
            let now = self.now();
            let locks = self.live(claim);
            let left = claim.keys.iter().filter_map(|key| locks.get(key)).map(|stored| stored.expires.since(now));
            Ok(if Self::owns(&locks, claim) { left.min() } else { None })
        })
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(async move { Ok(self.give_back(claim)) })
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.give_back(&claim);
        drop(done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}
