//! A held lock, as its holder has it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::error::LockError;
use crate::hold::Hold;
use crate::holder::Token;
use crate::key::LockKey;
use crate::lease::{Event, LostCause, MAX_TTL, MIN_TTL, Standing, whole_millis};
use crate::outstanding::Ticket;
use crate::queue::{Offered, Place, Spot};
use crate::retry::Retry;
use crate::store::{Done, Extension};
use crate::telemetry::Release;
use crate::timer;
use crate::watch::LockWatch;

/// How long a release waits for the answers to requests that were sent before it.
const ORDER: Duration = Duration::from_millis(100);

/// A place in the order of requests: beside others that extend, or alone.
enum Order<'a> {
    Shared(#[expect(dead_code, reason = "held until it is dropped")] RwLockReadGuard<'a, ()>),
    Alone(#[expect(dead_code, reason = "held until it is dropped")] RwLockWriteGuard<'a, ()>),
}

/// A held lock.
///
/// Dropping it gives the lock back in the background; [`release`](LockGuard::release) does so and waits for the answer. The
/// guard does not stop anybody from working on after the lease has ended: that is what the attribute does. By hand, look at
/// [`remaining`](LockGuard::remaining) before what must not happen twice.
#[must_use = "dropping a guard gives the lock back"]
pub struct LockGuard {
    hold: Arc<Hold>,
    place: Mutex<Option<Place>>,
    /// Set when nothing is left to be done about the claim.
    finished: AtomicBool,
    /// Counts the guard until it is dropped; `shutdown` waits for it.
    _counted: Ticket,
}

impl LockGuard {
    pub(crate) fn new(hold: Hold, spot: &Spot, counted: Ticket) -> Self {
        let hold = Arc::new(hold);
        let place = hold.shared().queue.occupy(spot, &hold);
        Self { hold, place: Mutex::new(Some(place)), finished: AtomicBool::new(false), _counted: counted }
    }

    /// Of a lease that another holder had at `place`.
    pub(crate) fn taken_over(hold: Hold, place: Place, counted: Ticket) -> Self {
        let hold = Arc::new(hold);
        place.pass_to(&hold);
        Self { hold, place: Mutex::new(Some(place)), finished: AtomicBool::new(false), _counted: counted }
    }

    /// The key, as the store sees it. The first in order, where there are [several](LockGuard::keys).
    #[must_use]
    pub fn key(&self) -> &LockKey {
        self.hold.key()
    }

    /// All keys of the lock, as the store sees them: sorted, each once. One, unless it was asked for by
    /// [`lock_many`](crate::LockManager::lock_many) or `keys = …`.
    #[must_use]
    pub fn keys(&self) -> &[LockKey] {
        &self.hold.claim().keys
    }

    /// The token that proves the lock ours. Whoever knows it can release the lock: keep it out of logs.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.hold.claim().token
    }

    /// What others read about this holder when they find the lock busy.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.hold.claim().metadata
    }

    /// The fencing token; `None` if none was [asked for](crate::LockRequest::fence).
    ///
    /// It is greater than the token of every earlier holder of this key, in whatever process, and stays the same for as long
    /// as this lock is held. That survives a `FLUSHALL`, a restart without data and a promoted replica that has missed
    /// writes: a token is at least the server's clock, in microseconds. It does not survive the loss of the counter by a
    /// server whose clock is behind: either of the two has to be left.
    ///
    /// A number stops nobody. What does is a resource that refuses one lower than it has seen: see
    /// [`fencing`](crate::guide::fencing).
    #[must_use]
    pub fn fence(&self) -> Option<i64> {
        self.hold.fence()
    }

    /// Whether the lock is held, as far as this process can know: its lease is not over, and the store has not denied it.
    /// Local: nothing is sent.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.hold.standing(), Standing::Held { .. })
    }

    /// Resolves when the lock is lost, and says why. A body under the attribute is dropped then, unless it has
    /// `on_lost = "proceed"`.
    ///
    /// # Panics
    ///
    /// On a runtime without timers.
    ///
    /// # Cancellation
    ///
    /// Safe to drop.
    pub async fn lost(&self) -> LostCause {
        self.hold.ended().await
    }

    /// A view of the lock for work that is spawned: such work is not stopped when the lock is lost.
    #[must_use]
    pub fn watch(&self) -> LockWatch {
        LockWatch::new(self.hold.clone())
    }

    /// How long the lock may still be believed in: what is left of the lease on this machine's clock, drift taken off. Zero
    /// when the lease is over or known to be lost. Local: nothing is sent.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Asks the store how long it will keep the lock. Zero when it is not ours any more.
    ///
    /// # Errors
    ///
    /// [`LockError::Unavailable`] when the store cannot say.
    ///
    /// # Cancellation
    ///
    /// Safe to drop; nothing is changed.
    pub async fn ttl(&self) -> Result<Duration, LockError> {
        let left = self.hold.shared().store.remaining(self.hold.claim()).await;
        let left = left.map_err(|source| LockError::Unavailable { key: self.key().clone(), source })?;
        if left.is_none() {
            self.hold.on(Event::NotOurs);
        }
        Ok(left.unwrap_or_default())
    }

    /// Makes sure that at least `ttl` is left. Never shortens the lease, and never brings back a lock that is gone.
    ///
    /// # Errors
    ///
    /// [`LockError::Lost`] when the lock is not ours any more, or the answer came only after the lease had ended: a body
    /// under the attribute is dropped at its next `.await`. [`LockError::Unavailable`] when the store cannot say: the lease
    /// then ends when it would have, and asking again is fine. [`LockError::Invalid`] for a `ttl` below 10 ms or above 30
    /// days; nothing is sent then.
    ///
    /// # Cancellation
    ///
    /// Safe to drop; the extension may or may not take place, and is not counted on.
    pub async fn extend(&self, ttl: Duration) -> Result<(), LockError> {
        self.change_ttl(ttl, Extension::AtLeast).await
    }

    /// As [`extend`](LockGuard::extend), and asks again by `retry` after trouble of the store that may pass: a server that is loading,
    /// a connection that broke, an answer that did not come. For as long as the lease lasts, and the strategy goes on; one
    /// without an end is no mistake here. A lock that is lost is not asked for again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lock_runtime::{LockError, LockGuard, Retry};
    /// async fn go_on(guard: &LockGuard) -> Result<(), LockError> {
    ///     guard.extend_with(Duration::from_secs(30), Retry::linear(Duration::from_millis(200))).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`extend`](LockGuard::extend); [`LockError::Unavailable`] is what the store said last.
    ///
    /// # Cancellation
    ///
    /// Safe to drop; nothing is asked any more. An extension that was under way may or may not take place, and is not counted
    /// on.
    pub async fn extend_with(&self, ttl: Duration, retry: Retry) -> Result<(), LockError> {
        let mut delays = retry.delays();
        loop {
            let error = match self.extend(ttl).await {
                Err(error) if error.is_passing() => error,
                outcome => return outcome,
            };
            let Some(delay) = delays.next() else { return Err(error) };
            // Other requests about the lock are not kept waiting meanwhile, and neither is who waits for this one when it is lost.
            let pause = timer::timeout(delay, self.hold.ended());
            let pause = pause.map_err(|source| LockError::Unavailable { key: self.key().clone(), source })?;
            if let Ok(cause) = pause.await {
                return Err(self.hold.lost(cause));
            }
        }
    }

    /// Sets the time that is left to exactly `ttl`, shorter or longer than it was. The local deadline is lowered before the
    /// request is sent. It stays within [`min_hold`](crate::LockRequest::min_hold) and
    /// [`max_hold`](crate::LockRequest::max_hold), where the lock has those.
    ///
    /// # Errors
    ///
    /// As [`extend`](LockGuard::extend), and [`LockError::Invalid`] for a lock that is
    /// [renewed](crate::LockRequest::renew), whose time is not left to anybody. After [`LockError::Unavailable`] the lock counts as shortened for good, and cannot be
    /// extended past that again: the request may still be executed, at any later time. For that reason it is not repeated, either,
    /// when an idle connection turns out to be dead.
    ///
    /// # Cancellation
    ///
    /// As after [`LockError::Unavailable`].
    pub async fn set_ttl(&self, ttl: Duration) -> Result<(), LockError> {
        self.change_ttl(ttl, Extension::Exactly).await
    }

    async fn change_ttl(&self, ttl: Duration, extension: Extension) -> Result<(), LockError> {
        let mut ttl = checked_ttl(self.key(), ttl)?;
        let hold = &*self.hold;
        if extension == Extension::Exactly && hold.renewal_interval().is_some() {
            let reason = "a renewed lock has no exact time: its next renewal would change that; give it back instead";
            return Err(LockError::Invalid { key: self.key().clone(), reason: reason.into() });
        }
        let in_order = async {
            match extension {
                Extension::AtLeast => Order::Shared(hold.order.read().await),
                Extension::Exactly => Order::Alone(hold.order.write().await),
            }
        };
        // Not for longer than the lease lasts: whoever is before us may be a future that nobody polls any more.
        let in_order = timer::timeout(hold.remaining(), in_order);
        let in_order = in_order.map_err(|source| LockError::Unavailable { key: self.key().clone(), source })?;
        let Ok(_in_order) = in_order.await else { return Err(hold.lost(LostCause::Expired)) };
        let sent = hold.shared().store.now();
        ttl = hold.within_cap(ttl, sent);
        if extension == Extension::Exactly {
            ttl = ttl.max(whole_millis(hold.kept_for(sent)));
        }
        let before = match extension {
            Extension::AtLeast => Event::Tick,
            Extension::Exactly => Event::Shortening { sent, ttl },
        };
        if let Standing::Lost(cause) = hold.on(before) {
            return Err(hold.lost(cause));
        }
        let after = match hold.shared().store.extend(hold.claim(), ttl, extension).await {
            Ok(true) if extension == Extension::AtLeast => Event::Extended { sent, ttl },
            Ok(true) => Event::Shortened { sent, ttl },
            Ok(false) => Event::NotOurs,
            Err(source) => return Err(LockError::Unavailable { key: self.key().clone(), source }),
        };
        match hold.on(after) {
            Standing::Held { .. } => Ok(()),
            Standing::Lost(cause) => Err(hold.lost(cause)),
        }
    }

    /// Gives the lock back and waits for the store's answer.
    ///
    /// # Errors
    ///
    /// [`LockError::Lost`] when it was not ours any more; somebody else's lock is left alone.
    /// [`LockError::Unavailable`] when the store did not answer in time; the release is then repeated in the background
    /// until the lease is over.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the release goes on in the background.
    pub async fn release(self) -> Result<(), LockError> {
        self.give_back().await.1
    }

    /// As [`release`](Self::release), for a guard that cannot be moved. With how the lease stood before.
    pub(crate) async fn give_back(&self) -> (Standing, Result<(), LockError>) {
        let hold = &*self.hold;
        // Mostly free, and cheaper to try than to wait for.
        let (_in_order, before) = if let Ok(in_order) = hold.order.try_write() {
            // Before the request: from then on the lock may be somebody else's. The keeper looks at it under the same order, so
            // no renewal is sent behind a release.
            (Some(in_order), hold.end())
        } else {
            // Not for long: a renewal may wait for a server that is silent, and whoever else is before us may be a future that
            // nobody polls any more. Its request cannot bring back what is given back here; it only comes to nothing.
            let before = hold.standing();
            let in_order = Box::pin(hold.last_in_order(ORDER)).await;
            hold.end();
            (in_order, before)
        };
        if self.hand_over(before) {
            self.finished.store(true, Ordering::Release);
            return (before, Ok(()));
        }
        let kept = hold.kept_claim();
        let answer = hold.shared().store.release(kept.as_deref().unwrap_or(hold.claim())).await;
        let outcome = match &answer {
            Ok(true) => Release::Released,
            Ok(false) => Release::Gone,
            Err(_) => Release::Unanswered,
        };
        hold.released(outcome);
        let outcome = match answer {
            Ok(true) => {
                self.finish();
                Ok(())
            }
            Ok(false) => {
                self.finish();
                Err(hold.lost(match before {
                    Standing::Lost(cause) => cause,
                    Standing::Held { .. } => LostCause::Gone,
                }))
            }
            Err(source) => {
                self.finished.store(true, Ordering::Release);
                self.abandon();
                Err(LockError::Unavailable { key: self.key().clone(), source })
            }
        };
        (before, outcome)
    }

    /// Gives the lock back in the background.
    pub(crate) fn give_back_later(&self) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            let before = self.hold.end();
            if !self.hand_over(before) {
                self.hold.released(Release::Background);
                self.abandon();
            }
        }
    }

    /// Offers the lease to the next caller of this process, if there is one who can make use of it.
    fn hand_over(&self, before: Standing) -> bool {
        if !self.hold.shared().queue.is_wanted() {
            return false;
        }
        let Some(leaving) = self.hold.leave(before) else { return false };
        let mut place = self.place();
        let offered = self.hold.shared().queue.offer(&mut place, leaving);
        drop(place);
        let Offered::To { freed, is_first } = offered else { return false };
        self.hold.released(Release::HandedOver);
        freed.notify_one();
        if is_first {
            self.hold.shared().watch_offers();
        }
        true
    }

    fn abandon(&self) {
        // The line learns of it when it is done: the next in it would only find the lock busy before.
        let place = self.place().take();
        let claim = self.hold.claim_to_leave();
        self.hold.shared().store.abandon(claim, Done::then(move || drop(place)));
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        // Two statements: the line is told outside of the lock.
        let place = self.place().take();
        drop(place);
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        // No code that can panic runs under this lock.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.give_back_later();
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("key", self.key())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// `ttl` in whole milliseconds, if it is one that a lease can have.
pub(crate) fn checked_ttl(key: &LockKey, ttl: Duration) -> Result<Duration, LockError> {
    let reason = if ttl < MIN_TTL {
        "a ttl below 10 ms leaves no time to work in; `PEXPIRE 0` would even delete the key"
    } else if ttl > MAX_TTL {
        "a ttl above 30 days is no lease; use a shorter one and extend it"
    } else {
        return Ok(whole_millis(ttl));
    };
    Err(LockError::Invalid { key: key.clone(), reason: reason.into() })
}
