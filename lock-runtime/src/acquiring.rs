//! One acquisition: the question to the store, and what its answer comes to.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use crate::clock::Moment;
use crate::error::{Busy, LockError, StoreError, StoreErrorKind};
use crate::fencing;
use crate::guard::LockGuard;
use crate::hold::{Hold, Won};
use crate::holder::{Holder, Token};
use crate::key::LockKey;
use crate::lease::validity;
use crate::manager::Shared;
use crate::outstanding::Ticket;
use crate::queue::{Caller, Spot};
use crate::several::Several;
use crate::store::waiter::Held;
use crate::store::{Attempt, Claim};
use crate::telemetry;
use crate::terms::Terms;
use crate::waiting::Patience;

/// What one try came to, short of a guard.
pub(crate) enum Miss {
    /// Somebody else has it: the holder and its time, as far as the store can tell, and the key where there are several.
    Busy(Option<Holder>, Option<Duration>, Option<LockKey>),
    /// Somebody else has it, and we are in the store's line.
    InLine(Option<Held>),
    /// Asking again may help.
    Passing(StoreError),
    /// Asking again is pointless.
    Final(LockError),
}

/// One acquisition under way.
pub(crate) struct Asking {
    pub(crate) shared: Arc<Shared>,
    /// The key; the first where there are several.
    pub(crate) key: Spot,
    pub(crate) several: Option<Box<Several>>,
    pub(crate) ttl: Duration,
    pub(crate) metadata: Arc<str>,
    pub(crate) terms: Terms,
    pub(crate) started: Moment,
    pub(crate) label: &'static str,
    pub(crate) series: telemetry::Series,
    /// The span of the caller.
    pub(crate) parent: Span,
}

impl Asking {
    pub(crate) async fn acquire(&self, patience: Option<Box<Patience>>) -> Result<LockGuard, LockError> {
        let attempt = self.series.attempt();
        let outcome = match (patience, &self.several) {
            (patience, Some(several)) => Box::pin(self.all(several, patience)).await,
            (None, None) => self.once().await,
            // Boxed: most locks are tried once or are free, and the state of this is large.
            (Some(patience), None) => Box::pin(self.patiently(patience)).await,
        };
        telemetry::acquired(attempt, self.label, || self.waited(), &outcome);
        outcome
    }

    /// Tries once. Never waits in line.
    async fn once(&self) -> Result<LockGuard, LockError> {
        // Against a confirmed, still valid lease of this process the answer is known. A neighbour who is merely asking proves
        // nothing: the store may be down.
        if let Some(held) = self.shared.queue.held_here(&self.key) {
            return Err(self.busy(Duration::ZERO, Some(held.holder), Some(held.remaining)));
        }
        self.attempt(true).await.map_err(|miss| self.error(Duration::ZERO, miss))
    }

    /// Asks the store; a second time when the answer comes too late to be of use, or the connection turns out to be dead: an
    /// idle one may have been closed without anybody noticing.
    ///
    /// `asks_who`: who holds a lock that is busy is of interest.
    pub(crate) async fn attempt(&self, asks_who: bool) -> Result<LockGuard, Miss> {
        let mut before: Option<(Token, StoreError)> = None;
        let mut replaces = Vec::new();
        loop {
            // Counted before the question, so that `shutdown` waits for every answer that may become a guard.
            let counted = self.shared.guards.begin();
            if self.shared.is_closed() {
                return Err(Miss::Final(self.unavailable(Shared::closed_error())));
            }
            // A token of its own for every request: if an earlier one is still on its way, its clean-up must not end this one.
            let mut claim = self.claim();
            // After a lost answer: it may be ourselves.
            claim.asks_who = asks_who || before.is_some();
            if let Some(several) = &self.several {
                several.complete(&mut claim, &replaces);
            }
            let token = claim.token.clone();
            let error = match self.shared.store.acquire(&claim).await {
                Ok(Attempt::Acquired { sent, fence, spare_fences }) => {
                    if let Some(several) = self.several.as_ref().filter(|_| !claim.replaces.is_empty()) {
                        self.end_replaced(several);
                    }
                    let won = Won::from_store(sent, self.ttl, fence, spare_fences);
                    match self.won(claim, &won, fence, counted).await {
                        Err(Miss::Passing(late)) => late,
                        outcome => return outcome,
                    }
                }
                Ok(Attempt::Busy { value: Some(value), .. })
                    if self.several.as_ref().is_some_and(|several| several.may_replace(&value, replaces.len())) =>
                {
                    replaces.push(value);
                    continue;
                }
                Ok(Attempt::Busy { value, remaining, key }) => {
                    return Err(match (before, value) {
                        // By ourselves: the request whose answer was lost had been carried out.
                        (Some((token, error)), Some(value)) if value.starts_with(token.proof()) => Miss::Passing(error),
                        (_, value) => {
                            let local = match (&self.several, &key) {
                                (Some(_), Some(key)) => {
                                    self.shared.queue.token_here(&self.shared.queue.spot(key.clone()))
                                }
                                _ => self.shared.queue.token_here(&self.key),
                            };
                            Miss::Busy(value.map(|value| Holder::read(&value, local.as_ref())), remaining, key)
                        }
                    });
                }
                Ok(Attempt::Foreign { key }) => return Err(Miss::Final(LockError::ForeignKey { key })),
                Err(error) if error.kind() == StoreErrorKind::Connection => error,
                Err(error) if error.is_transient() => return Err(Miss::Passing(error)),
                Err(error) => return Err(Miss::Final(self.unavailable(error))),
            };
            if before.replace((token, error.clone())).is_some() {
                return Err(Miss::Passing(error));
            }
        }
    }

    /// A claim with a token of its own.
    pub(crate) fn claim(&self) -> Claim {
        let mut claim = Claim::new(LockKey::clone(&self.key), self.ttl, self.metadata.clone());
        claim.label = self.label;
        claim.fence = self.counter();
        claim.spare_fences = self.spare_fences();
        claim
    }

    /// How many fencing tokens to take with the lock for those of this process who wait behind us, and may have it from us: a few
    /// times as many as there are, since who has had it mostly comes again.
    pub(crate) fn spare_fences(&self) -> u32 {
        const ROUNDS: u32 = 4;
        const MOST: u32 = 255;
        if !self.terms.fence || self.several.is_some() || !self.terms.min_hold.is_zero() || !self.shared.hands_over() {
            return 0;
        }
        self.shared.queue.waiting(&self.key).saturating_mul(ROUNDS).min(MOST)
    }

    /// Where the fencing token is to come from, if there is to be one.
    pub(crate) fn counter(&self) -> Option<LockKey> {
        self.terms.fence.then(|| fencing::counter(&self.shared.key_prefix))
    }

    /// The guard of a claim that the store has given to us, unless it is of no use.
    pub(crate) async fn won(
        &self,
        claim: Claim,
        won: &Won,
        fence: Option<i64>,
        counted: Ticket,
    ) -> Result<LockGuard, Miss> {
        let hold = Hold::new(self, claim, won);
        let guard = LockGuard::new(hold, &self.key, counted);
        if self.shared.is_closed() {
            return Err(Miss::Final(self.unavailable(Shared::closed_error())));
        }
        if self.terms.fence && fence.is_none() {
            Box::pin(refuse(guard)).await;
            let text = "the store gave the lock without the fencing token that it was asked for";
            return Err(Miss::Final(self.unavailable(StoreError::new(StoreErrorKind::Protocol, text))));
        }
        if guard.remaining() < validity(self.ttl) / 2 {
            Box::pin(refuse(guard)).await;
            let text = "the store's answers take longer than half of the ttl: use a longer ttl";
            return Err(Miss::Passing(StoreError::new(StoreErrorKind::Timeout, text)));
        }
        self.keep(&guard)?;
        guard.hold().hand_out();
        Ok(guard)
    }

    /// Has the lease renewed, if that was asked for. Here and nowhere else, before anybody has the guard: no renewal begins
    /// after a release.
    pub(crate) fn keep(&self, guard: &LockGuard) -> Result<(), Miss> {
        if self.terms.renew.is_none() {
            return Ok(());
        }
        self.shared.keeper.renew(guard.hold()).map_err(|error| Miss::Final(self.unavailable(error)))
    }

    /// Tells of the wait, once.
    pub(crate) fn tell(&self, told: &mut bool, holder: Option<&Holder>) {
        if !std::mem::replace(told, true) {
            telemetry::waiting(self.label, holder);
        }
    }

    /// Who waits, as it is told of him.
    pub(crate) fn caller(&self) -> Caller {
        Caller { label: self.label, since: self.started }
    }

    pub(crate) fn waited(&self) -> Duration {
        self.shared.store.now().since(self.started)
    }

    pub(crate) fn error(&self, waited: Duration, miss: Miss) -> LockError {
        match miss {
            Miss::Busy(holder, retry_after, key) => {
                let key = key.unwrap_or_else(|| LockKey::clone(&self.key));
                LockError::Busy(Busy { key, holder, waited, retry_after })
            }
            Miss::InLine(held) => {
                let remaining = held.as_ref().map(|held| held.remaining);
                self.busy(waited, self.holder(held.as_ref()), remaining)
            }
            Miss::Passing(error) => self.unavailable(error),
            Miss::Final(error) => error,
        }
    }

    pub(crate) fn busy(&self, waited: Duration, holder: Option<Holder>, retry_after: Option<Duration>) -> LockError {
        LockError::Busy(Busy { key: LockKey::clone(&self.key), holder, waited, retry_after })
    }

    pub(crate) fn unavailable(&self, source: StoreError) -> LockError {
        LockError::Unavailable { key: LockKey::clone(&self.key), source }
    }
}

/// Gives back what is of no use to its caller. To be boxed: it is rare, and its state would be part of every acquisition's.
async fn refuse(guard: LockGuard) {
    // Whatever comes of this: the guard is gone after it.
    let _ = guard.release().await;
}
