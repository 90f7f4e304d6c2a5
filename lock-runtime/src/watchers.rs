//! Who waits for several keys at once, and is told when one of them is given back in this process.
//!
//! They stand in no line: a caller who waited in several at the same time would hold up everybody behind it in one of them
//! while it waits in another.

use std::collections::btree_map::BTreeMap;
use std::collections::hash_map::HashMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::key::LockKey;
use crate::queue::{Caller, Queue};

/// Those of one lock manager.
///
/// A key that is given back wakes whoever has watched it for longest. If nothing comes of it, because another key is not to be
/// had, that one wakes the next: not everybody at once, of whom one can win.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// How many watch: mostly nobody, and then a key that is given back costs no look at the map.
    count: AtomicUsize,
    tickets: AtomicU64,
    by_key: Mutex<ByKey>,
}

/// Those who watch a key, by their tickets.
type ByKey = HashMap<LockKey, BTreeMap<u64, Arc<Told>>>;

/// Who watches, and what it was told.
#[derive(Debug)]
struct Told {
    wanted: Arc<[LockKey]>,
    caller: Caller,
    notify: Notify,
    /// The keys that were given back, and of which nobody else was told.
    keys: Mutex<Vec<LockKey>>,
}

impl Watchers {
    /// `key` was given back.
    pub(crate) fn freed(&self, key: &LockKey) {
        // Whoever begins to watch looks at the lines afterwards, and finds what was given back before.
        if self.count.load(Ordering::Acquire) > 0 {
            self.tell(key, Bound::Unbounded);
        }
    }

    /// How many watch `key`.
    pub(crate) fn of(&self, key: &LockKey) -> usize {
        self.lock().get(key).map_or(0, BTreeMap::len)
    }

    /// Everybody who watches, and for what.
    pub(crate) fn callers(&self) -> Vec<(Arc<[LockKey]>, Caller)> {
        let by_key = self.lock();
        // Who watches several keys is found at each of them, and counts at the first.
        let watchers = by_key
            .iter()
            .flat_map(|(key, watchers)| watchers.values().filter(move |told| told.wanted.first() == Some(key)));
        watchers.map(|told| (told.wanted.clone(), told.caller)).collect()
    }

    /// Tells the first behind `after`.
    fn tell(&self, key: &LockKey, after: Bound<u64>) {
        let told = {
            let by_key = self.lock();
            let watchers = by_key.get(key);
            let Some((_, told)) = watchers.and_then(|watchers| watchers.range((after, Bound::Unbounded)).next()) else {
                return;
            };
            // Under the lock of the map: whoever leaves it has everything that it was told.
            told.keys().push(key.clone());
            told.clone()
        };
        // Wakers are foreign code: never under a lock.
        told.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, ByKey> {
        // No code that can panic runs under this lock; a poisoned map is a whole map.
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn keys(&self) -> MutexGuard<'_, Vec<LockKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who watch some keys, left when dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    queue: Arc<Queue>,
    keys: Arc<[LockKey]>,
    ticket: u64,
    told: Arc<Told>,
}

impl Watch {
    /// Watches `keys` from here on: look at the lines after this, and not before.
    pub(crate) fn new(queue: &Arc<Queue>, keys: &Arc<[LockKey]>, caller: Caller) -> Self {
        let Watchers { count, tickets, .. } = &queue.watchers;
        let ticket = tickets.fetch_add(1, Ordering::Relaxed);
        let told = Arc::new(Told { wanted: keys.clone(), caller, notify: Notify::new(), keys: Mutex::default() });
        count.fetch_add(1, Ordering::AcqRel);
        let mut by_key = queue.watchers.lock();
        for key in &**keys {
            by_key.entry(key.clone()).or_default().insert(ticket, told.clone());
        }
        drop(by_key);
        Self { queue: queue.clone(), keys: keys.clone(), ticket, told }
    }

    /// Resolves when one of the keys was given back, since the last time it resolved.
    pub(crate) async fn freed(&self) {
        self.told.notify.notified().await;
    }

    /// Nothing came of what it was told: the next are told of it.
    pub(crate) fn pass_on(&self) {
        let keys = std::mem::take(&mut *self.told.keys());
        for key in keys {
            self.queue.watchers.tell(&key, Bound::Excluded(self.ticket));
        }
    }

    /// It has all of them: nobody else is to look, until they are given back.
    pub(crate) fn won(self) {
        self.leave();
        self.told.keys().clear();
    }

    fn leave(&self) {
        let mut by_key = self.queue.watchers.lock();
        for key in &*self.keys {
            if let Some(watchers) = by_key.get_mut(key) {
                watchers.remove(&self.ticket);
                if watchers.is_empty() {
                    by_key.remove(key);
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In this order: after the first, it is told nothing more.
        self.leave();
        self.pass_on();
        self.queue.watchers.count.fetch_sub(1, Ordering::AcqRel);
    }
}
