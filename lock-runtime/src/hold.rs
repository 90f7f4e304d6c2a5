//! A claim that was acquired, and what is known of its lease: shared by the guard, the body that runs under it, the line
//! before its key and the keeper that renews it.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockWriteGuard};
use tracing::Span;

use crate::acquiring::Asking;
use crate::clock::Moment;
use crate::error::LockError;
use crate::handover::{Chain, Fences, Leaving};
use crate::key::LockKey;
use crate::keys::Listed;
use crate::lease::{Event, Lease, LostCause, Standing};
use crate::manager::Shared;
use crate::store::{Claim, Done};
use crate::telemetry::{self, Release};
use crate::terms::Terms;
use crate::timer;

/// One acquired claim and its lease.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    claim: Claim,
    terms: Terms,
    fence: Option<i64>,
    /// The moment before the request that won the claim was sent; or at which it was taken over.
    won_at: Moment,
    chain: Chain,
    state: Mutex<State>,
    /// Told when the lock is lost or given back, to everybody but the body.
    ended: Notify,
    span: Span,
    series: telemetry::Series,
    /// Held to read across every request that extends the claim, and to write across those that may cut it short: setting an
    /// exact time, and the release. Extensions commute with each other, so a caller whose runtime is blocked in one does not
    /// keep the keeper from renewing; they do not commute with the others, whichever connection they go by.
    pub(crate) order: RwLock<()>,
}

struct State {
    lease: Lease,
    /// Woken when the lock is lost.
    body: Option<Waker>,
    /// When the body was polled last; `None` while there is none, as under a guard that is held by hand.
    polled: Option<Moment>,
    /// Whether it was told that nobody polls the body any more.
    stalled: bool,
    /// Whether a caller was given the lock. Before that, giving it back is as if it had never been taken.
    handed_out: bool,
    /// Whether it counts as held: from then on, until it is given back.
    counted: bool,
}

/// How a claim was won.
pub(crate) struct Won {
    /// The moment before the request was sent; or at which the lease was taken over.
    at: Moment,
    fence: Option<i64>,
    lease: Lease,
    chain: Chain,
}

impl Won {
    /// From the store, for `ttl`, by a request that was sent after `sent`.
    pub(crate) fn from_store(sent: Moment, ttl: Duration, fence: Option<i64>, spares: u32) -> Self {
        let chain = Chain::begin(sent, Fences::behind(fence, spares));
        Self { at: sent, fence, lease: Lease::granted(sent, ttl), chain }
    }

    /// From another holder of this process, at the moment `at`.
    pub(crate) fn from_holder(at: Moment, until: Moment, fence: Option<i64>, chain: Chain) -> Self {
        Self { at, fence, lease: Lease::handed_over(until), chain }
    }
}

impl Hold {
    /// Of `claim`, which `asking` has won.
    pub(crate) fn new(asking: &Asking, claim: Claim, won: &Won) -> Self {
        let Asking { shared, terms, series, parent, .. } = asking;
        let Won { at, fence, lease, chain } = *won;
        let lease = lease.capped(terms.max_hold.map(|limit| at.plus(limit)));
        Self {
            span: telemetry::holding(parent, claim.label, &Listed(&claim.keys)),
            shared: shared.clone(),
            claim,
            terms: *terms,
            series: series.clone(),
            fence,
            won_at: at,
            chain,
            state: Mutex::new(State {
                lease,
                body: None,
                polled: None,
                stalled: false,
                handed_out: false,
                counted: false,
            }),
            ended: Notify::new(),
            order: RwLock::new(()),
        }
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The key; the first where there are several.
    pub(crate) fn key(&self) -> &LockKey {
        // A claim has at least one key.
        &self.claim.keys[0]
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn fence(&self) -> Option<i64> {
        self.fence
    }

    /// Since when its holder has it, counted from before the request.
    pub(crate) fn since(&self) -> Moment {
        self.won_at
    }

    /// The lock is given to a caller: from here on it counts for [`Terms::min_hold`].
    pub(crate) fn hand_out(&self) {
        // Who counts is foreign code: never under the lock.
        self.series.given();
        let mut state = self.state();
        (state.handed_out, state.counted) = (true, true);
    }

    /// The claim as it is given back, if it is to be kept for a while; else it is the claim itself.
    pub(crate) fn kept_claim(&self) -> Option<Box<Claim>> {
        if self.terms.min_hold.is_zero() || !self.state().handed_out {
            return None;
        }
        let mut claim = Box::new(self.claim.clone());
        claim.keep_until = Some(self.kept_until());
        Some(claim)
    }

    /// The claim as it is given back, of one's own: kept for as long as it has to be.
    pub(crate) fn claim_to_leave(&self) -> Claim {
        self.kept_claim().map_or_else(|| self.claim.clone(), |kept| *kept)
    }

    /// The lease, which stood like this `before` its holder was done with it, for somebody else of this process. `None`: it is to
    /// be given back to the store.
    pub(crate) fn leave(self: &Arc<Self>, before: Standing) -> Option<Leaving> {
        let Standing::Held { until } = before else { return None };
        let Claim { keys, token, .. } = &self.claim;
        let passes = self.shared.hands_over() && keys.len() == 1 && !token.is_chosen() && self.terms.min_hold.is_zero();
        let passes = passes && self.state().lease.is_certain();
        if passes { Leaving::new(self, until, self.chain) } else { None }
    }

    /// Until when the key is kept at least.
    fn kept_until(&self) -> Moment {
        self.won_at.plus(self.terms.min_hold)
    }

    /// What is left at `now` of the shortest hold.
    pub(crate) fn kept_for(&self, now: Moment) -> Duration {
        self.kept_until().since(now)
    }

    /// The time from one renewal to the next, if there are any.
    pub(crate) fn renewal_interval(&self) -> Option<Duration> {
        self.terms.renew.map(|renew| renew.interval(self.claim.ttl))
    }

    /// The time from now to the first renewal, if there is one. Counted from the request, as the lease is.
    pub(crate) fn first_renewal(&self) -> Option<Duration> {
        let gone = self.shared.store.now().since(self.won_at);
        self.renewal_interval().map(|interval| interval.saturating_sub(gone))
    }

    /// The TTL that a renewal asks for at `now`. `None`: there is to be none any more.
    pub(crate) fn renewal(&self, now: Moment) -> Option<Duration> {
        let lease = self.state().lease;
        let is_over = lease.remaining(now).is_zero() || lease.is_at_its_cap();
        (!is_over).then(|| lease.within_cap(self.claim.ttl, now))
    }

    /// `ttl`, or what an extension at `now` may ask for.
    pub(crate) fn within_cap(&self, ttl: Duration, now: Moment) -> Duration {
        self.state().lease.within_cap(ttl, now)
    }

    /// Whether there is a body that nobody has polled for `limit`; half-way there, it is woken. Tells of it once.
    pub(crate) fn has_stalled(&self, limit: Duration, now: Moment) -> bool {
        let mut state = self.state();
        let Some(idle) = state.polled.map(|polled| now.since(polled)) else { return false };
        let stalled = idle > limit;
        let tell = stalled && !std::mem::replace(&mut state.stalled, stalled);
        let body = if idle > limit / 2 { state.body.clone() } else { None };
        // Wakers are foreign code, and so is who listens to what is told: never under the lock.
        drop(state);
        if tell {
            self.span.in_scope(|| telemetry::keeper::stalled(self.claim.label));
        }
        // A body that waits for something need not be polled for that long, and is not forgotten.
        if let Some(body) = body {
            body.wake();
        }
        stalled
    }

    /// How long the lock may be believed in; zero when it is lost.
    pub(crate) fn remaining(&self) -> Duration {
        let now = self.shared.store.now();
        self.state().lease.remaining(now)
    }

    /// How the lease stands now.
    pub(crate) fn standing(&self) -> Standing {
        self.on(Event::Tick)
    }

    /// How the lease stands right before its body is polled.
    pub(crate) fn standing_before_poll(&self) -> Standing {
        self.look(|state, now| state.polled = Some(now))
    }

    /// How the lease stands after its body was polled; `waker` is woken when it is lost by anything but the passing of time. A
    /// loss that is seen here needs nobody to be woken.
    pub(crate) fn standing_for(&self, waker: &Waker) -> Standing {
        // Wakers are foreign code: cloned and dropped outside of the lock.
        if !self.state().body.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let waker = waker.clone();
            // Two statements: the lock is let go at the end of the first.
            let before = self.state().body.replace(waker);
            drop(before);
        }
        // After the waker is known, so that no loss falls in between.
        self.look(|_, _| {})
    }

    /// How the lease stands now, for its body: which is awake.
    fn look(&self, note: impl FnOnce(&mut State, Moment)) -> Standing {
        let now = self.shared.store.now();
        let mut state = self.state();
        note(&mut state, now);
        let lost_before = state.lease.is_lost();
        let standing = state.lease.on(Event::Tick, now);
        drop(state);
        self.tell(lost_before, standing);
        standing
    }

    /// The holder gives the lock back. How the lease stood before.
    pub(crate) fn end(&self) -> Standing {
        let now = self.shared.store.now();
        let mut state = self.state();
        let lost_before = state.lease.is_lost();
        let before = state.lease.on(Event::Tick, now);
        let after = state.lease.on(Event::Released, now);
        // Not to be woken: its end is what gives the lock back.
        let (body, counted) = (state.body.take(), std::mem::take(&mut state.counted));
        // Wakers are foreign code, and so is who counts: never under the lock.
        drop(state);
        drop(body);
        if counted {
            self.series.given_back(now.since(self.won_at));
        }
        self.tell(lost_before, after);
        before
    }

    /// Takes note of an event; wakes the body, and everybody who watches, if the lock is lost by it.
    pub(crate) fn on(&self, event: Event) -> Standing {
        let now = self.shared.store.now();
        let mut state = self.state();
        let lost_before = state.lease.is_lost();
        let standing = state.lease.on(event, now);
        let body = if matches!(standing, Standing::Lost(_)) { state.body.take() } else { None };
        // Wakers are foreign code: never under the lock.
        drop(state);
        self.tell(lost_before, standing);
        if let Some(body) = body {
            body.wake();
        }
        standing
    }

    /// Tells of a loss, once.
    fn tell(&self, lost_before: bool, standing: Standing) {
        if let (false, Standing::Lost(cause)) = (lost_before, standing) {
            if cause != LostCause::Released {
                self.span.in_scope(|| telemetry::lost(&self.series, self.claim.label, cause));
            }
            if cause == LostCause::Gone && self.claim.keys.len() > 1 {
                // Some of the keys may still be there: a part of the lock is no lock, and whoever holds the guard may not look
                // at it for long.
                let claim = self.claim_to_leave();
                self.shared.store.abandon(claim, Done::nothing());
            }
            self.ended.notify_waiters();
        }
    }

    /// Resolves when the lock is lost or was given back.
    ///
    /// # Panics
    ///
    /// On a runtime without timers.
    pub(crate) async fn ended(&self) -> LostCause {
        loop {
            let mut ended = pin!(self.ended.notified());
            // Registered before the lease is looked at, so that a loss cannot fall in between.
            ended.as_mut().enable();
            let left = match self.standing() {
                Standing::Lost(cause) => return cause,
                Standing::Held { until } => until.since(self.shared.store.now()),
            };
            let mut deadline = pin!(tokio::time::sleep(left));
            std::future::poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => deadline.as_mut().poll(cx),
            })
            .await;
        }
    }

    /// The last place in the order of requests, if it is to be had within `limit` and before the lease ends.
    pub(crate) async fn last_in_order(&self, limit: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        match timer::timeout(limit.min(self.remaining()), self.order.write()) {
            Ok(in_order) => in_order.await.ok(),
            Err(_) => None,
        }
    }

    /// The span of the hold.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Tells how it was given back.
    pub(crate) fn released(&self, outcome: Release) {
        self.span.in_scope(|| telemetry::released(&self.series, self.claim.label, outcome));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lost(&self, cause: LostCause) -> LockError {
        LockError::Lost { key: self.key().clone(), cause, completed: false }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("claim", &self.claim).finish_non_exhaustive()
    }
}
