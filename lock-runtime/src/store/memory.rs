//! Locks in the memory of this process.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Attempt, Claim, Done, Extension, Reading, Store, StoreFuture};
use crate::clock::Moment;
use crate::key::LockKey;

/// Locks in the memory of this process: for tests, and for programs of one process.
///
/// It behaves as a Redis server would, expiry included, and its leases run wholly on tokio's clock: under
/// `#[tokio::test(start_paused = true)]` they end without anybody waiting for them. Clones are one store: give each
/// manager its own to play several processes.
///
/// Fencing tokens are taken from the system's clock all the same: the database that remembers the last one outlives the
/// process, and the next process has to start above it.
#[derive(Clone)]
pub struct MemoryStore {
    origin: Instant,
    locks: Arc<Mutex<HashMap<LockKey, Stored>>>,
    /// The last fencing token. One for all keys, whatever counter a claim names; taken inside of `locks`, never around it.
    fence: Arc<Mutex<i64>>,
}

struct Stored {
    value: String,
    /// `None`: never. No lock of ours is like that.
    expires: Option<Moment>,
}

impl Stored {
    fn is_over(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), locks: Arc::default(), fence: Arc::default() }
    }

    /// The live entries, those that have expired swept out of the way of `claim` first.
    fn live(&self, claim: &Claim) -> MutexGuard<'_, HashMap<LockKey, Stored>> {
        let now = self.now();
        let mut locks = self.lock();
        for key in &*claim.keys {
            // Not by `entry`: that makes room for a key that is not there, before anything was swept.
            if locks.get(key).is_some_and(|stored| stored.is_over(now)) {
                locks.remove(key);
            }
        }
        locks
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LockKey, Stored>> {
        // No code that can panic runs under this lock; a poisoned map is a whole map.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owns(locks: &HashMap<LockKey, Stored>, claim: &Claim) -> bool {
        let value = claim.value();
        claim.keys.iter().all(|key| locks.get(key).is_some_and(|stored| stored.value == value))
    }

    /// The next fencing token: above the last one, and at least the time of day in microseconds.
    fn raise(&self) -> i64 {
        // A clock that was never set is before 1970, or says so: the counter alone has to do.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or_default();
        let mut last = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now.max(*last + 1);
        *last
    }

    fn take(&self, claim: &Claim) -> Attempt {
        let sent = self.now();
        let mut locks = self.live(claim);
        for key in &*claim.keys {
            match locks.get(key) {
                Some(Stored { expires: None, .. }) => return Attempt::foreign(key.clone()),
                Some(Stored { value, .. }) if claim.replaces.contains(value) => {}
                Some(Stored { value, expires: Some(expires) }) => {
                    let (value, remaining) = (value.clone(), expires.since(sent));
                    return Attempt::busy_at(key.clone(), Some(value), Some(remaining));
                }
                None => {}
            }
        }
        if locks.len() + claim.keys.len() > locks.capacity() {
            // Before it grows: what has expired and was never asked for again.
            locks.retain(|_, stored| !stored.is_over(sent));
            let live = locks.len();
            locks.reserve(live + claim.keys.len());
        }
        for key in &*claim.keys {
            // What is replaced keeps the time that it had: its holder may not know yet.
            let before = locks.get(key).and_then(|stored| stored.expires);
            let expires = before.max(Some(sent.plus(claim.ttl)));
            locks.insert(key.clone(), Stored { value: claim.value(), expires });
        }
        if claim.fence.is_some() { Attempt::acquired_with_fence(sent, self.raise()) } else { Attempt::acquired(sent) }
    }

    fn give_back(&self, claim: &Claim) -> bool {
        let mut locks = self.live(claim);
        let now = self.now();
        let (value, kept) = (claim.value(), claim.kept_for(now));
        let mut owned = true;
        for key in &*claim.keys {
            match locks.get_mut(key).filter(|stored| stored.value == value) {
                None => owned = false,
                Some(_) if kept.is_zero() => drop(locks.remove(key)),
                Some(stored) => {
                    let end = stored.expires.map_or(now.plus(kept), |end| end.min(now.plus(kept)));
                    *stored = Stored { value: claim.tombstone(), expires: Some(end) };
                }
            }
        }
        owned
    }
}

/// The store from outside, for tests: what an operator, or another program, would see and do.
#[cfg(feature = "test-util")]
impl MemoryStore {
    /// Writes `value` under `key`, whatever is there; for ever, if there is no `ttl`.
    pub fn put(&self, key: impl Into<LockKey>, value: impl Into<String>, ttl: Option<Duration>) {
        let expires = ttl.map(|ttl| self.now().plus(ttl));
        self.lock().insert(key.into(), Stored { value: value.into(), expires });
    }

    /// The value under `key`, if there is one that has not expired.
    #[must_use]
    pub fn get(&self, key: impl Into<LockKey>) -> Option<String> {
        let now = self.now();
        self.lock().get(&key.into()).filter(|stored| !stored.is_over(now)).map(|stored| stored.value.clone())
    }

    /// The time until `key` expires, if it is there and ever does.
    #[must_use]
    pub fn time_left(&self, key: impl Into<LockKey>) -> Option<Duration> {
        let now = self.now();
        self.lock().get(&key.into())?.expires.map(|expires| expires.since(now)).filter(|left| !left.is_zero())
    }

    /// Removes `key`, whoever holds it.
    pub fn remove(&self, key: impl Into<LockKey>) {
        self.lock().remove(&key.into());
    }
}

/// Without the values: they hold tokens.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.lock().len()).finish_non_exhaustive()
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

    fn fences(&self) -> bool {
        true
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
                            Extension::AtLeast => stored.expires.max(Some(until)),
                            Extension::Exactly => Some(until),
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
            let stored = claim.keys.iter().filter_map(|key| locks.get(key));
            let left = stored.map(|stored| stored.expires.map_or(Duration::ZERO, |expires| expires.since(now)));
            Ok(if Self::owns(&locks, claim) { left.min() } else { None })
        })
    }

    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        Box::pin(async move {
            let now = self.now();
            let locks = self.lock();
            let Some(stored) = locks.get(key).filter(|stored| !stored.is_over(now)) else { return Ok(None) };
            let remaining = stored.expires.map(|expires| expires.since(now));
            // There is no line: whoever waits is in this process.
            Ok(Some(Reading::new(Some(stored.value.clone()), remaining, Some(0))))
        })
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(async move { Ok(self.give_back(claim)) })
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.give_back(&claim);
        drop(done);
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let locks = self.live(claim);
            let owned = Self::owns(&locks, claim);
            if owned {
                let mut last = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
                *last = fence.max(*last);
            }
            Ok(owned)
        })
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    fn is_remote(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: tokens rise by the counter where the clock does not: it was put back, or there were more holders within a
    /// microsecond.
    ///
    /// Turned red by: a token that is the time alone.
    #[test]
    fn tokens_rise_while_the_clock_is_behind() {
        let store = MemoryStore::new();
        let ahead = store.raise() + 1_000_000_000_000;
        *store.fence.lock().expect("nothing has panicked") = ahead;
        for next in ahead + 1..ahead + 10 {
            assert_eq!(store.raise(), next);
        }
    }
}
