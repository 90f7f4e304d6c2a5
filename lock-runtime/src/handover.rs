//! The local hand-over: a lease goes from one holder of this process to the next without the store.
//!
//! What a round trip costs is paid once for many holders. A lease is *offered*, not given: whoever is next accepts it in its own
//! poll, when it has looked at the clock. An offer that nobody accepts is taken back after [`PATIENCE`], so that a future which
//! is never polled costs the others that much, and not a lease.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::Moment;
use crate::hold::Hold;
use crate::lease::validity;
use crate::outstanding::Ticket;
use crate::queue::{Caller, Place, Queue};
use crate::store::{Claim, Done, Store};
use crate::timer;

/// How long an offer stands.
const PATIENCE: Duration = Duration::from_millis(10);

/// For how long a lease goes from hand to hand: others, in other processes, wait for it.
const CHAIN: Duration = Duration::from_millis(5);

/// How often a lease goes from hand to hand.
const HANDS: u32 = 1024;

/// How often and since when a lease was handed over, and the fencing tokens that are left for those who have it next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// When the lease was won from the store.
    began: Moment,
    hands: u32,
    fences: Fences,
}

/// Fencing tokens in a row, that were taken with a lease. They belong to it: a later lease has later ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fences {
    next: i64,
    left: u32,
}

impl Fences {
    /// Those behind the one of the first holder.
    pub(crate) fn behind(first: Option<i64>, count: u32) -> Self {
        first.map_or_else(Self::default, |first| Self { next: first.saturating_add(1), left: count })
    }

    /// Invariant: none is given out twice, and a later holder has a higher one.
    fn take(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        let fence = self.next;
        self.next += 1;
        Some(fence)
    }
}

impl Chain {
    /// Of a lease that was just won from the store.
    pub(crate) fn begin(now: Moment, fences: Fences) -> Self {
        Self { began: now, hands: 0, fences }
    }

    /// With one more holder at `now`, unless it is long enough.
    fn next(self, now: Moment) -> Option<Self> {
        let Self { began, hands, fences } = self;
        (hands < HANDS && now.since(began) < CHAIN).then_some(Self { began, hands: hands + 1, fences })
    }
}

/// What a caller who waits could make use of.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) ttl: Duration,
    pub(crate) metadata: Arc<str>,
    /// Whether a lease of another holder would do at all: it has not the whole of its time.
    pub(crate) any: bool,
    /// Whether there has to be a fencing token with it.
    pub(crate) fence: bool,
    pub(crate) caller: Caller,
}

/// A lease that its holder has done with.
pub(crate) struct Leaving {
    /// Of the holder that was.
    hold: Arc<Hold>,
    /// Until when it may be believed in.
    until: Moment,
    chain: Chain,
    at: Moment,
}

impl Leaving {
    /// `None`: it is to be given back to the store now.
    pub(crate) fn new(hold: &Arc<Hold>, until: Moment, chain: Chain) -> Option<Self> {
        let at = hold.shared().store.now();
        let chain = chain.next(at)?;
        Some(Self { hold: hold.clone(), until, chain, at })
    }

    /// Whether `want` could make use of it: the same value is stored for both, and its time is about that of a fresh lease. Much
    /// less would be a short lease for the next holder, much more a long wait for the others if this process dies.
    pub(crate) fn suits(&self, want: &Want) -> bool {
        want.any
            && (!want.fence || self.chain.fences.left > 0)
            && want.metadata == self.hold.claim().metadata
            && fits(self.until.since(self.at), want.ttl)
    }
}

/// Whether a lease that has `left` of its time is about that of a fresh one for `ttl`.
#[cfg_attr(not(feature = "test-util"), allow(unreachable_pub, reason = "it is reachable with the feature"))]
#[must_use]
pub fn fits(left: Duration, ttl: Duration) -> bool {
    left >= validity(ttl) / 10 * 9 && left <= 2 * ttl
}

/// A lease on offer. Dropped, it is given back to the store.
pub(crate) struct Offer {
    leaving: Option<Leaving>,
    place: Option<Place>,
    /// Counts as a guard does: `shutdown` waits for it.
    _counted: Ticket,
}

/// A lease that was taken over.
pub(crate) struct TakenOver {
    pub(crate) claim: Claim,
    pub(crate) until: Moment,
    pub(crate) at: Moment,
    pub(crate) chain: Chain,
    pub(crate) fence: Option<i64>,
    pub(crate) place: Place,
}

impl Offer {
    pub(crate) fn new(leaving: Leaving, place: Place) -> Self {
        let counted = leaving.hold.shared().guards.begin();
        Self { leaving: Some(leaving), place: Some(place), _counted: counted }
    }

    /// Whether it has been there for too long.
    pub(crate) fn is_late(&self, now: Moment) -> bool {
        self.leaving.as_ref().is_none_or(|leaving| now.since(leaving.at) >= PATIENCE)
    }

    /// Stands for as long as a new one, from `now`.
    pub(crate) fn renew(&mut self, now: Moment) {
        if let Some(leaving) = &mut self.leaving {
            leaving.at = now;
        }
    }

    /// Whether `want` could make use of it.
    pub(crate) fn suits(&self, want: &Want) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.suits(want))
    }

    /// Takes the lease over, for `ttl` at most, with a fencing token if one is wanted. `None`: its time has run too far, and it is
    /// given back to the store.
    ///
    /// Invariant: nobody believes in a lease for longer than the one did who won it from the store.
    pub(crate) fn accept(mut self, ttl: Duration, fence: bool, label: &'static str) -> Option<TakenOver> {
        let now = self.leaving.as_ref()?.hold.shared().store.now();
        let fits =
            |leaving: &mut Leaving| fits(leaving.until.since(now), ttl) && (!fence || leaving.chain.fences.left > 0);
        let Leaving { hold, until, mut chain, .. } = self.leaving.take_if(fits)?;
        let fence = if fence { chain.fences.take() } else { None };
        let place = self.place.take()?;
        let mut claim = hold.claim().clone();
        (claim.ttl, claim.label, claim.fence) = (ttl, label, None);
        Some(TakenOver { claim, until: until.min(now.plus(validity(ttl))), at: now, chain, fence, place })
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(Leaving { hold, .. }) = self.leaving.take() {
            // The line learns of it when it is done: the next in it would only find the lock busy before.
            let place = self.place.take();
            hold.shared().store.abandon(hold.claim().clone(), Done::then(move || drop(place)));
        }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").finish_non_exhaustive()
    }
}

/// Takes back offers that nobody accepts, for as long as there are any.
pub(crate) async fn take_back_late_offers(queue: Weak<Queue>, clock: Arc<dyn Store>) {
    loop {
        let Ok(pause) = timer::sleep(PATIENCE) else { return };
        pause.await;
        let Some(queue) = queue.upgrade() else { return };
        let now = clock.now();
        let Some(late) = queue.late_offers(now) else { return };
        for key in late {
            queue.revoke(&key, now);
        }
    }
}
