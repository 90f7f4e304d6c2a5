//! The line before each key inside this process: first in, first out, and only its head asks the store.

use std::collections::btree_map::BTreeMap;
use std::collections::hash_map::{Entry, HashMap, OccupiedEntry, RandomState};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::hold::Hold;
use crate::holder::{Holder, Token};
use crate::key::LockKey;

/// The lines of one lock manager.
///
/// A key has a line while somebody waits for it, asks the store for it or holds it through this manager; after that nothing
/// of it is left.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    hash: RandomState,
    /// Of all lines together: a line that was closed and opened again gives no ticket out a second time.
    tickets: AtomicU64,
}

type Lines = HashMap<Spot, Line, BuildHasherDefault<Hashed>>;

/// Where the line of a key stands: the key, with its hash. A lock is looked up three times and more from its request to its end,
/// and its key is to be hashed once.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    key: LockKey,
    hash: u64,
}

impl Deref for Spot {
    type Target = LockKey;

    fn deref(&self) -> &LockKey {
        &self.key
    }
}

impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl Eq for Spot {}

impl Hash for Spot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash that a [`Spot`] brings with it.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a spot is hashed by its number alone");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
struct Line {
    /// Whether somebody has the turn to ask the store.
    turn_taken: bool,
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    /// The latest lease of the key that this manager won.
    held: Option<Held>,
    /// Told to whoever has the turn: `held` was given back.
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct Held {
    token: Token,
    hold: Weak<Hold>,
}

/// A lease of this process that stands in the way.
#[derive(Debug)]
pub(crate) struct HeldHere {
    pub(crate) holder: Holder,
    pub(crate) remaining: Duration,
}

impl Queue {
    /// Where the line of `key` stands, or would stand.
    pub(crate) fn spot(&self, key: LockKey) -> Spot {
        let hash = self.hash.hash_one(&key);
        Spot { key, hash }
    }

    /// The lease that this process holds on `key`, if it is confirmed and still valid.
    pub(crate) fn held_here(&self, key: &Spot) -> Option<HeldHere> {
        let hold = self.lock().get(key)?.held.as_ref()?.hold.upgrade()?;
        let remaining = hold.remaining();
        if remaining.is_zero() {
            return None;
        }
        let metadata = Some(hold.claim().metadata.to_string()).filter(|metadata| !metadata.is_empty());
        Some(HeldHere { holder: Holder { metadata, this_process: true }, remaining })
    }

    /// The token under which this process last held `key`.
    pub(crate) fn token_here(&self, key: &Spot) -> Option<Token> {
        Some(self.lock().get(key)?.held.as_ref()?.token.clone())
    }

    /// All leases that this process holds.
    pub(crate) fn holds(&self) -> Vec<Arc<Hold>> {
        self.lock().values().filter_map(|line| line.held.as_ref()?.hold.upgrade()).collect()
    }

    /// Waits for the turn to ask the store for `key`, behind everybody who came before.
    ///
    /// Dropping the future leaves the line; if the turn was just being handed over, it passes on to the next.
    pub(crate) async fn turn(self: &Arc<Self>, key: &Spot) -> Turn {
        loop {
            let (ticket, receiver) = {
                let mut lines = self.lock();
                let line = lines.entry(key.clone()).or_default();
                if !line.turn_taken {
                    line.turn_taken = true;
                    let freed = line.freed.clone();
                    return Turn { queue: self.clone(), key: key.clone(), freed, passed_on: false };
                }
                let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
                let (sender, receiver) = oneshot::channel();
                line.waiting.insert(ticket, sender);
                (ticket, receiver)
            };
            let _place = Waiting { queue: self, key, ticket };
            // A sender leaves the line only with a turn, or with its waiter; should it ever leave otherwise, we line up anew.
            if let Ok(turn) = receiver.await {
                return turn;
            }
        }
    }

    /// Notes that this process won `key`, until the returned place is dropped.
    pub(crate) fn occupy(self: &Arc<Self>, key: &Spot, hold: &Arc<Hold>) -> Place {
        let token = hold.claim().token.clone();
        let latest = Held { token: token.clone(), hold: Arc::downgrade(hold) };
        self.lock().entry(key.clone()).or_default().held = Some(latest);
        Place { queue: self.clone(), key: key.clone(), token }
    }

    /// Hands the turn to the next in line, or closes the line.
    fn pass_on(self: &Arc<Self>, key: &Spot) {
        loop {
            let (next, freed) = {
                let mut lines = self.lock();
                let Entry::Occupied(mut entry) = lines.entry(key.clone()) else { return };
                let line = entry.get_mut();
                let Some((_, next)) = line.waiting.pop_first() else {
                    line.turn_taken = false;
                    close_if_empty(entry);
                    return;
                };
                (next, line.freed.clone())
            };
            // Outside of the lock: a turn that is not taken comes back and is dropped here.
            let turn = Turn { queue: self.clone(), key: key.clone(), freed, passed_on: false };
            match next.send(turn) {
                Ok(()) => return,
                Err(mut refused) => refused.passed_on = true,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // No code that can panic runs under this lock; a poisoned map is a whole map.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close_if_empty(line: OccupiedEntry<'_, Spot, Line>) {
    let Line { turn_taken, waiting, held, .. } = line.get();
    if !turn_taken && waiting.is_empty() && held.is_none() {
        line.remove();
    }
}

/// The turn to ask the store for a key. Dropped, it passes on to the next in line.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Arc<Queue>,
    key: Spot,
    freed: Arc<Notify>,
    passed_on: bool,
}

impl Turn {
    /// Resolves when a lease of this process on the key was given back, since the last time it resolved.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.passed_on {
            self.queue.pass_on(&self.key);
        }
    }
}

/// A waiter's place in line, left when dropped.
struct Waiting<'a> {
    queue: &'a Arc<Queue>,
    key: &'a Spot,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lines = self.queue.lock();
        let sender = lines.get_mut(self.key).and_then(|line| line.waiting.remove(&self.ticket));
        drop(lines);
        drop(sender);
    }
}

/// A lease that this process holds, as its line knows it.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    key: Spot,
    token: Token,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queue.lock();
        let Entry::Occupied(mut entry) = lines.entry(self.key.clone()) else { return };
        let line = entry.get_mut();
        // A later lease of the same key may stand here: this one had expired before it was given back.
        if line.held.as_ref().is_none_or(|held| held.token != self.token) {
            return;
        }
        line.held = None;
        let freed = line.freed.clone();
        close_if_empty(entry);
        // Wakers are foreign code: never under the lock.
        drop(lines);
        freed.notify_one();
    }
}
