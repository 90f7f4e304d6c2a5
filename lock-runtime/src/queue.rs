//! The line before each key inside this process: first in, first out, and only its head asks the store.

use std::collections::btree_map::BTreeMap;
use std::collections::hash_map::{Entry, HashMap, OccupiedEntry, RandomState};
use std::future::{Future as _, poll_fn};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::Moment;
use crate::handover::{Leaving, Offer, Want};
use crate::hold::Hold;
use crate::holder::{Holder, Token};
use crate::key::LockKey;
use crate::store::waiter::Waiter;
use crate::watchers::Watchers;

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
    /// How many turns there are, in all lines.
    turns: AtomicUsize,
    /// Those who wait for several keys at once, and stand in none of the lines.
    pub(crate) watchers: Watchers,
}

#[derive(Debug, Default)]
struct Lines {
    at: HashMap<Spot, Line, BuildHasherDefault<Hashed>>,
    /// Where leases have been offered lately: looked at by whoever takes back what is not accepted. `None` while nobody does.
    offering: Option<Vec<Spot>>,
    /// Nobody gets a turn any more.
    is_closed: bool,
}

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
    /// Who has the turn, by the number of its ticket. Others who believe that they have it have lost it.
    turn: Option<u64>,
    /// Who that is.
    caller: Option<Caller>,
    /// What whoever has the turn would take over from a holder of this process; `None` while it asks the store.
    wanted: Option<Want>,
    waiting: BTreeMap<u64, Seat>,
    /// The latest lease of the key that this manager won.
    held: Option<Held>,
    /// That lease, when its holder has done with it and the next may have it.
    offer: Option<Offer>,
    /// Whether the line is among those where leases are offered, and whether one was since that was last looked at.
    is_offering: bool,
    has_offered: bool,
    /// Told to whoever has the turn: `held` was given back, or is on offer.
    freed: Arc<Notify>,
}

/// Somebody who waits, as it is told of him.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// What the call is called in logs.
    pub(crate) label: &'static str,
    /// When it began.
    pub(crate) since: Moment,
}

/// Somebody in line.
#[derive(Debug)]
struct Seat {
    call: oneshot::Sender<Turn>,
    want: Want,
}

#[derive(Debug)]
struct Held {
    /// By which its place finds it.
    number: u64,
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
        let hold = self.lock().at.get(key)?.held.as_ref()?.hold.upgrade()?;
        let remaining = hold.remaining();
        if remaining.is_zero() {
            return None;
        }
        let metadata = Some(hold.claim().metadata.to_string()).filter(|metadata| !metadata.is_empty());
        Some(HeldHere { holder: Holder { metadata, this_process: true }, remaining })
    }

    /// The hold of `key` that this process has won last.
    pub(crate) fn hold_here(&self, key: &Spot) -> Option<Arc<Hold>> {
        self.lock().at.get(key)?.held.as_ref()?.hold.upgrade()
    }

    /// The token under which this process last held `key`.
    pub(crate) fn token_here(&self, key: &Spot) -> Option<Token> {
        Some(self.lock().at.get(key)?.held.as_ref()?.token.clone())
    }

    /// How many of this process wait for `key`: in its line, or for several keys at once.
    pub(crate) fn waiting_here(&self, key: &Spot) -> usize {
        let in_line = self.lock().at.get(key).map_or(0, |line| line.waiting.len() + usize::from(line.turn.is_some()));
        in_line + self.watchers.of(key)
    }

    /// Everybody of this process who waits in a line, and for what.
    pub(crate) fn callers(&self) -> Vec<(LockKey, Caller)> {
        let lines = self.lock();
        let callers = lines.at.iter().flat_map(|(spot, line)| {
            let with_turn = line.turn.and(line.caller);
            let behind = line.waiting.values().map(|seat| seat.want.caller);
            with_turn.into_iter().chain(behind).map(|caller| (spot.key.clone(), caller))
        });
        callers.collect()
    }

    /// How many of this process wait for `key`, behind whoever has the turn.
    pub(crate) fn waiting(&self, key: &Spot) -> u32 {
        self.lock().at.get(key).map_or(0, |line| u32::try_from(line.waiting.len()).unwrap_or(u32::MAX))
    }

    /// All leases that this process holds.
    pub(crate) fn holds(&self) -> Vec<Arc<Hold>> {
        // A hold of several keys stands in the line of each, and counts at the first.
        let held = |(spot, line): (&Spot, &Line)| {
            Some(line.held.as_ref()?.hold.upgrade()?).filter(|hold| *hold.key() == **spot)
        };
        self.lock().at.iter().filter_map(held).collect()
    }

    /// Waits for the turn to have `key`, behind everybody who came before; `want` says what a lease must be like that can be
    /// taken over from somebody else.
    ///
    /// No line is longer than `most`.
    ///
    /// Dropping the future leaves the line; if the turn was just being handed over, it passes on to the next.
    pub(crate) async fn turn(self: &Arc<Self>, key: &Spot, want: &Want, most: usize) -> Result<Turn, NoTurn> {
        loop {
            let (ticket, receiver) = {
                let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
                let mut lines = self.lock();
                if lines.is_closed {
                    return Err(NoTurn::Closed);
                }
                let line = lines.at.entry(key.clone()).or_default();
                if line.turn.is_none() {
                    (line.turn, line.caller) = (Some(ticket), Some(want.caller));
                    line.wanted = Some(want.clone());
                    let freed = line.freed.clone();
                    return Ok(Turn::new(self, key, ticket, freed, None));
                }
                if line.waiting.len() >= most {
                    return Err(NoTurn::LineIsFull);
                }
                let (call, receiver) = oneshot::channel();
                line.waiting.insert(ticket, Seat { call, want: want.clone() });
                (ticket, receiver)
            };
            let _place = Waiting { queue: self, key, ticket };
            // A sender leaves the line only with a turn, with its waiter, or because the lines are closed.
            if let Ok(turn) = receiver.await {
                return Ok(turn);
            }
        }
    }

    /// Sends everybody away who waits for a turn, from here on, too.
    pub(crate) fn close(&self) {
        let mut lines = self.lock();
        lines.is_closed = true;
        let seats: Vec<_> = lines.at.values_mut().map(|line| std::mem::take(&mut line.waiting)).collect();
        // Wakers are foreign code: never under the lock.
        drop(lines);
        drop(seats);
    }

    /// Notes that this process won the keys of `hold`, of which `first` is the first, until the returned place is dropped.
    pub(crate) fn occupy(self: &Arc<Self>, first: &Spot, hold: &Arc<Hold>) -> Place {
        let more = hold.claim().keys.iter().skip(1).map(|key| self.occupy_one(&self.spot(key.clone()), hold)).collect();
        let mut place = self.occupy_one(first, hold);
        place.more = more;
        place
    }

    fn occupy_one(self: &Arc<Self>, key: &Spot, hold: &Arc<Hold>) -> Place {
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let latest = Held { number, token: hold.claim().token.clone(), hold: Arc::downgrade(hold) };
        self.lock().at.entry(key.clone()).or_default().held = Some(latest);
        Place { queue: self.clone(), key: key.clone(), number, more: Box::default() }
    }

    /// Whether anybody waits for anything that somebody of this process holds. A look that costs nothing: it may have changed.
    pub(crate) fn is_wanted(&self) -> bool {
        self.turns.load(Ordering::Relaxed) > 0
    }

    /// Offers the lease at `place` to whoever has the turn, if that can make use of it; else the place stays.
    pub(crate) fn offer(&self, place: &mut Option<Place>, leaving: Leaving) -> Offered {
        let mut lines = self.lock();
        let lines = &mut *lines;
        let Some(Place { key, number, .. }) = place else { return Offered::No };
        let Some(line) = lines.at.get_mut(key) else { return Offered::No };
        // A later lease of the same key may stand here: this one had expired before it was given back.
        let is_latest = line.held.as_ref().is_some_and(|held| held.number == *number);
        let suits = line.wanted.as_ref().is_some_and(|want| leaving.suits(want));
        if !is_latest || !suits || line.offer.is_some() {
            return Offered::No;
        }
        let freed = line.freed.clone();
        line.has_offered = true;
        let is_first = if line.is_offering {
            false
        } else {
            line.is_offering = true;
            let is_first = lines.offering.is_none();
            lines.offering.get_or_insert_default().push(key.clone());
            is_first
        };
        line.offer = place.take().map(|place| Offer::new(leaving, place));
        Offered::To { freed, is_first }
    }

    /// Where offers have been there for too long at `now`. `None` when there have been none for a while, and nobody looks any more.
    pub(crate) fn late_offers(&self, now: Moment) -> Option<Vec<Spot>> {
        let mut lines = self.lock();
        let Lines { at, offering, .. } = &mut *lines;
        let offerings = offering.as_mut()?;
        let mut late = Vec::new();
        offerings.retain(|key| {
            let Some(line) = at.get_mut(key) else { return false };
            if line.offer.as_ref().is_some_and(|offer| offer.is_late(now)) {
                late.push(key.clone());
            }
            line.is_offering = std::mem::take(&mut line.has_offered) || line.offer.is_some();
            line.is_offering
        });
        if offerings.is_empty() {
            *offering = None;
            return None;
        }
        Some(late)
    }

    /// Takes the turn from whoever has not accepted what it was offered, and offers that to the next.
    pub(crate) fn revoke(self: &Arc<Self>, key: &Spot, now: Moment) {
        let mut lines = self.lock();
        let Some(line) = lines.at.get_mut(key) else { return };
        let Some(offer) = line.offer.as_mut().filter(|offer| offer.is_late(now)) else { return };
        offer.renew(now);
        let Some(ticket) = line.turn else { return };
        drop(lines);
        self.pass_on(key, ticket, None);
    }

    /// Nobody takes late offers back: they are all given back now.
    pub(crate) fn take_back_all(&self) {
        let mut lines = self.lock();
        let offering = lines.offering.take().unwrap_or_default();
        let mut offers = Vec::new();
        for key in &offering {
            if let Some(line) = lines.at.get_mut(key) {
                line.is_offering = false;
                offers.extend(line.offer.take());
            }
        }
        drop(lines);
        drop(offers);
    }

    /// Hands the turn from the one who has it with `ticket` to the next in line, with the place in the store's line, and with what
    /// is on offer if that suits; or closes the line.
    fn pass_on(self: &Arc<Self>, key: &Spot, mut ticket: u64, mut waiter: Option<Box<dyn Waiter>>) {
        loop {
            let mut lines = self.lock();
            let Entry::Occupied(mut entry) = lines.at.entry(key.clone()) else { return };
            let line = entry.get_mut();
            if line.turn != Some(ticket) {
                return;
            }
            let next = line.waiting.pop_first();
            let want = next.as_ref().map(|(_, seat)| &seat.want);
            let offer = line.offer.take_if(|offer| want.is_none_or(|want| !offer.suits(want)));
            line.wanted = want.cloned();
            line.turn = next.as_ref().map(|(ticket, _)| *ticket);
            line.caller = want.map(|want| want.caller);
            let Some((next, Seat { call, want })) = next else {
                close_if_empty(entry);
                // Foreign code, as what is sent to the store: never under the lock.
                drop(lines);
                drop((offer, waiter));
                return;
            };
            let freed = line.freed.clone();
            drop(lines);
            drop(offer);
            // The place in the store's line is the process's. But the next holder's value may be another.
            let left = waiter.take_if(|waiter| waiter.claim().metadata != want.metadata);
            drop(left);
            let turn = Turn::new(self, key, next, freed, waiter.take());
            // Outside of the lock: a turn that is not taken comes back, and goes on to the one behind.
            let Err(mut refused) = call.send(turn) else { return };
            (ticket, waiter) = (next, refused.waiter.take());
            refused.ticket = LAPSED;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // No code that can panic runs under this lock; a poisoned map is a whole map.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close_if_empty(line: OccupiedEntry<'_, Spot, Line>) {
    let Line { turn, waiting, held, offer, .. } = line.get();
    if turn.is_none() && waiting.is_empty() && held.is_none() && offer.is_none() {
        line.remove();
    }
}

/// Why there is no turn to be had.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoTurn {
    /// As many wait as may.
    LineIsFull,
    /// The manager is shut down.
    Closed,
}

/// What became of a lease that was offered.
#[must_use]
pub(crate) enum Offered {
    /// Nobody can make use of it.
    No,
    /// Somebody can, who is to be told of it.
    To {
        freed: Arc<Notify>,
        /// It is the only one: nobody takes it back yet, should it not be accepted.
        is_first: bool,
    },
}

/// The turn to have a key: from a holder of this process, or from the store. Dropped, it passes on to the next in line.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Arc<Queue>,
    key: Spot,
    ticket: u64,
    freed: Arc<Notify>,
    /// The place in the store's line. It is this process's: who has the turn next has it, too.
    pub(crate) waiter: Option<Box<dyn Waiter>>,
}

/// The ticket of a turn that nobody has. None has this number: they are counted from zero.
const LAPSED: u64 = u64::MAX;

/// What there is for whoever has the turn.
pub(crate) enum Offering {
    /// A lease of somebody of this process.
    Lease(Offer),
    /// Nothing.
    Nothing,
    /// The turn was taken away: an offer was not accepted in time. Line up anew.
    Lapsed,
}

impl Turn {
    fn new(queue: &Arc<Queue>, key: &Spot, ticket: u64, freed: Arc<Notify>, waiter: Option<Box<dyn Waiter>>) -> Self {
        queue.turns.fetch_add(1, Ordering::Relaxed);
        Self { queue: queue.clone(), key: key.clone(), ticket, freed, waiter }
    }

    /// Resolves when a lease of this process on the key was given back or offered, since the last time it resolved.
    pub(crate) async fn freed(&mut self) {
        let freed = &self.freed;
        freed.notified().await;
    }

    /// As [`freed`](Self::freed), or when the store calls. Whether it did.
    pub(crate) async fn news(&mut self) -> bool {
        let Self { freed, waiter, .. } = self;
        let mut freed = pin!(freed.notified());
        let mut called = waiter.as_mut().map(|waiter| waiter.called());
        poll_fn(|cx| match called.as_mut().map(|called| called.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(true),
            Some(Poll::Pending) | None => freed.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    /// What was offered to us. Nothing is from here on, if there is nothing yet, until it is [waited](Self::offered) for: the
    /// store is asked.
    pub(crate) fn last_offer(&self) -> Offering {
        self.look(|line| line.wanted = None)
    }

    /// What was offered to us. If there is nothing yet, something that `want` can make use of may be.
    pub(crate) fn offered(&self, want: &Want) -> Offering {
        self.look(|line| {
            line.wanted.get_or_insert_with(|| want.clone());
        })
    }

    fn look(&self, if_nothing: impl FnOnce(&mut Line)) -> Offering {
        let mut lines = self.queue.lock();
        let line = lines.at.get_mut(&self.key).filter(|line| line.turn == Some(self.ticket));
        let Some(line) = line else { return Offering::Lapsed };
        if let Some(offer) = line.offer.take() {
            return Offering::Lease(offer);
        }
        if_nothing(line);
        Offering::Nothing
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ticket != LAPSED {
            self.queue.pass_on(&self.key, self.ticket, self.waiter.take());
        }
        self.queue.turns.fetch_sub(1, Ordering::Relaxed);
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
        let seat = lines.at.get_mut(self.key).and_then(|line| line.waiting.remove(&self.ticket));
        drop(lines);
        drop(seat);
    }
}

/// A lease that this process holds, as its line knows it.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    key: Spot,
    /// Of the lease, among all that this queue has known.
    number: u64,
    /// Those of the other keys, where there are several. Given back after this one.
    more: Box<[Place]>,
}

impl Place {
    /// The lease has another holder now.
    pub(crate) fn pass_to(&self, hold: &Arc<Hold>) {
        if let Some(line) = self.queue.lock().at.get_mut(&self.key)
            && let Some(held) = line.held.as_mut().filter(|held| held.number == self.number)
        {
            held.hold = Arc::downgrade(hold);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queue.lock();
        let Entry::Occupied(mut entry) = lines.at.entry(self.key.clone()) else { return };
        let line = entry.get_mut();
        // A later lease of the same key may stand here: this one had expired before it was given back.
        if line.held.as_ref().is_none_or(|held| held.number != self.number) {
            return;
        }
        line.held = None;
        let freed = line.freed.clone();
        close_if_empty(entry);
        // Wakers are foreign code: never under the lock.
        drop(lines);
        freed.notify_one();
        self.queue.watchers.freed(&self.key);
    }
}
