//! Asking for a lock: once, or for as long as the caller is willing to wait.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tracing::{Instrument as _, Span};

use crate::body;
use crate::clock::Moment;
use crate::error::{Busy, LockError, StoreError, StoreErrorKind};
use crate::fencing;
use crate::guard::{LockGuard, checked_ttl};
use crate::hold::{Hold, Won};
use crate::holder::{self, Holder, Token};
use crate::key::LockKey;
use crate::lease::validity;
use crate::manager::{LockManager, Shared};
use crate::queue::{Spot, Turn};
use crate::retry::{Delays, Retry};
use crate::store::{Attempt, Claim};
use crate::terms::{Renew, Terms};
use crate::{telemetry, timer};

/// The longest metadata, in bytes: it is stored with every acquisition.
const MAX_METADATA: usize = 1024;

/// How a busy lock is asked for again when the call names no strategy.
const POLLING: Retry = Retry::exponential(Duration::from_millis(20), Duration::from_millis(250)).jitter(50);

/// A request for a lock. Made by [`LockManager::lock`]; becomes a guard by [`acquire`](LockRequest::acquire), once it has a
/// [`ttl`](LockRequest::ttl).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until `acquire` is called and awaited"]
pub struct LockRequest<Ttl = Duration> {
    manager: Option<LockManager>,
    key: LockKey,
    ttl: Ttl,
    wait: Option<Duration>,
    retry: Option<Retry>,
    metadata: Option<Arc<str>>,
    terms: Terms,
    label: &'static str,
}

impl LockRequest<()> {
    /// `manager`: the one to use, or `None` for the current one.
    pub(crate) fn new(manager: Option<LockManager>, key: LockKey) -> Self {
        Self { manager, key, ttl: (), wait: None, retry: None, metadata: None, terms: Terms::default(), label: "" }
    }

    /// The length of the lease: 10 ms to 30 days, counted in whole milliseconds. If this process dies, the lock is free
    /// after this time.
    pub fn ttl(self, ttl: Duration) -> LockRequest {
        let Self { manager, key, ttl: (), wait, retry, metadata, terms, label } = self;
        LockRequest { manager, key, ttl, wait, retry, metadata, terms, label }
    }
}

impl<Ttl> LockRequest<Ttl> {
    /// How long to wait for a busy lock; independent of the TTL. Unless told, the lock is tried once. `Duration::MAX` waits
    /// for ever.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Asks again by this strategy. Calls of one process wait in line, and only its head asks: by the head's strategy. Without
    /// a [`wait`](LockRequest::wait), the strategy alone decides when to give up: it needs a [limit](Retry::limit) then.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What others read about the holder while they find the lock busy; `host:pid` unless told. At most 1 KiB.
    pub fn metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = Some(metadata.into().into());
        self
    }

    /// Keeps extending the lease while the lock is held: three times in the length of its TTL.
    ///
    /// Renewal goes on while the caller's runtime is blocked. (In memory it is a task of the runtime that acquires the lock.) A
    /// server that takes longer than a quarter of the TTL to answer is too far away for it. A lock that was lost once is not
    /// renewed again.
    ///
    /// **Without a [`max_hold`](LockRequest::max_hold) the lock is held for as long as its holder lives**, even if that has
    /// hung for days. A process that dies still loses it after its TTL.
    pub fn renew(mut self) -> Self {
        self.terms.renew = Some(Renew::Thirds);
        self
    }

    /// As [`renew`](LockRequest::renew), once in every `interval`, which has to be below the TTL.
    pub fn renew_every(mut self, interval: Duration) -> Self {
        self.terms.renew = Some(Renew::Every(interval));
        self
    }

    /// How long a renewed lock is held at most, counted from its acquisition. It is lost then, whatever its holder does.
    pub fn max_hold(mut self, limit: Duration) -> Self {
        self.terms.max_hold = Some(limit);
        self
    }

    /// How long the key stays at least, counted from the acquisition, even if the lock is given back before: so that a job
    /// which several instances start at about the same time runs once. At most the TTL.
    pub fn min_hold(mut self, floor: Duration) -> Self {
        self.terms.min_hold = floor;
        self
    }

    /// Takes a fencing token with the lock: a number that rises with every acquisition of the key, for the resource to refuse
    /// late writers by. See [`fencing`](crate::fencing), and [`LockGuard::fence`] for what it promises.
    ///
    /// A store that [has none](crate::Store::fences) is [`LockError::Invalid`].
    pub fn fence(mut self) -> Self {
        self.terms.fence = true;
        self
    }

    /// What the call is called in [logs](crate::telemetry), where the key may be one of millions.
    pub fn name(mut self, name: &'static str) -> Self {
        self.label = name;
        self
    }

    /// In place: a request is large, and this is said of every call.
    pub(crate) fn set_manager(&mut self, manager: &LockManager) {
        self.manager = Some(manager.clone());
    }
}

impl LockRequest {
    /// Acquires the lock.
    ///
    /// # Errors
    ///
    /// - [`LockError::Busy`]: somebody else holds it, and did so until the wait was over.
    /// - [`LockError::Unavailable`]: the store could not say whether we got it. While waiting, passing trouble is ridden out.
    /// - [`LockError::ForeignKey`]: the key holds something that is no lock.
    /// - [`LockError::AlreadyHeld`]: an enclosing body on the same task holds it.
    /// - [`LockError::Invalid`]: the key, the TTL, the metadata or the strategy cannot be used.
    /// - [`LockError::NoManager`]: none was named, none is in scope, and none was installed.
    ///
    /// # Cancellation
    ///
    /// Safe to drop at any point. If a request was on its way, a clean-up follows it on the same connection: the lock does
    /// not stay behind.
    pub async fn acquire(self) -> Result<LockGuard, LockError> {
        let (asking, patience, span) = self.begin()?;
        asking.acquire(patience).instrument(span).await
    }

    /// Checks what is asked for. Not a part of `acquire`, whose future would hold the request twice while it waits for answers.
    fn begin(self) -> Result<(Asking, Option<Box<Patience>>, Span), LockError> {
        let parent = Span::current();
        let (label, span) = (self.label, telemetry::acquiring(self.label, &self.key));
        match span.in_scope(|| self.prepare(parent)) {
            Ok((asking, patience)) => Ok((asking, patience, span)),
            Err(error) => {
                span.in_scope(|| telemetry::refused(label, &error));
                Err(error)
            }
        }
    }

    /// Checks what is asked for. No patience: it is asked for once.
    fn prepare(self, parent: Span) -> Result<(Asking, Option<Box<Patience>>), LockError> {
        let Some(manager) = self.manager.or_else(LockManager::current) else {
            return Err(LockError::NoManager { key: self.key });
        };
        let shared = manager.shared().clone();
        let key = self.key.prefixed(&shared.key_prefix);
        let invalid = |reason: &'static str| LockError::Invalid { key: key.clone(), reason: reason.into() };
        if let Some(flaw) = key.flaw() {
            return Err(invalid(flaw));
        }
        let ttl = checked_ttl(&key, self.ttl)?;
        let metadata = self.metadata.unwrap_or_else(holder::this_process);
        if metadata.len() > MAX_METADATA {
            return Err(invalid("the metadata is longer than 1 KiB"));
        }
        if self.wait.is_none() && self.retry.as_ref().is_some_and(Retry::is_endless) {
            return Err(invalid(
                "`retry` without an end: limit it (`Retry::limit`), or say how long to wait (`wait`; `Duration::MAX` is \
                 for ever)",
            ));
        }
        if let Some(flaw) = self.terms.flaw(ttl) {
            return Err(invalid(flaw));
        }
        if fencing::is_counter(&key) {
            return Err(invalid("this is where the counter of fencing tokens is kept; choose another key"));
        }
        if self.terms.fence && !shared.store.fences() {
            return Err(invalid("`fence`: the store of this lock manager gives no fencing tokens"));
        }
        if body::encloses(&shared, &key) {
            return Err(LockError::AlreadyHeld { key });
        }
        if shared.is_closed() {
            return Err(LockError::Unavailable { key, source: Shared::closed_error() });
        }
        if self.terms.renew.is_some()
            && let Err(source) = shared.keeper.prepare(shared.store.is_remote())
        {
            return Err(LockError::Unavailable { key, source });
        }
        let started = shared.store.now();
        let key = shared.queue.spot(key);
        let asking = Asking { shared, key, ttl, metadata, terms: self.terms, started, label: self.label, parent };
        let patience = match (self.wait, self.retry) {
            (None | Some(Duration::ZERO), None) => None,
            (wait, retry) => {
                let retry = retry.unwrap_or(POLLING);
                let until = wait.map(|wait| started.plus(wait));
                let in_line_until = until.into_iter().chain(retry.total().map(|total| started.plus(total))).min();
                Some(Box::new(Patience { until, in_line_until, delays: retry.delays() }))
            }
        };
        Ok((asking, patience))
    }
}

/// How long to go on asking, and how often.
struct Patience {
    /// `None`: for as long as there are delays.
    until: Option<Moment>,
    /// As `until`, while others of this process are before us: the store is not asked then, and no delay is drawn, but a
    /// strategy that ends is not to wait for longer than its delays take.
    in_line_until: Option<Moment>,
    delays: Delays,
}

/// What one try came to, short of a guard.
enum Miss {
    /// Somebody else has it.
    Busy(Option<Holder>, Option<Duration>),
    /// Asking again may help.
    Passing(StoreError),
    /// Asking again is pointless.
    Final(LockError),
}

/// One acquisition under way.
struct Asking {
    shared: Arc<Shared>,
    key: Spot,
    ttl: Duration,
    metadata: Arc<str>,
    terms: Terms,
    started: Moment,
    label: &'static str,
    /// The span of the caller.
    parent: Span,
}

impl Asking {
    async fn acquire(&self, patience: Option<Box<Patience>>) -> Result<LockGuard, LockError> {
        let outcome = match patience {
            None => self.once().await,
            // Boxed: most locks are tried once or are free, and the state of this is large.
            Some(patience) => Box::pin(self.patiently(patience)).await,
        };
        telemetry::acquired(self.label, self.waited(), &outcome);
        outcome
    }

    /// Tries once. Never waits in line.
    async fn once(&self) -> Result<LockGuard, LockError> {
        // Against a confirmed, still valid lease of this process the answer is known. A neighbour who is merely asking proves
        // nothing: the store may be down.
        if let Some(held) = self.shared.queue.held_here(&self.key) {
            return Err(self.busy(Duration::ZERO, Some(held.holder), Some(held.remaining)));
        }
        self.attempt().await.map_err(|miss| self.error(Duration::ZERO, miss))
    }

    /// Waits in line, then asks until the lock is won or the patience is over.
    async fn patiently(&self, mut patience: Box<Patience>) -> Result<LockGuard, LockError> {
        let Some(turn) = self.unless_over(patience.in_line_until, self.shared.queue.turn(&self.key)).await? else {
            return self.last_word().await;
        };
        let mut told = false;
        loop {
            if !self.until_free_here(&turn, patience.in_line_until, &mut told).await? {
                return self.last_word().await;
            }
            let miss = match self.attempt().await {
                Ok(guard) => return Ok(guard),
                Err(miss) => miss,
            };
            let left = patience.until.map(|until| until.since(self.shared.store.now()));
            let delay = match &miss {
                Miss::Final(_) => None,
                // A lock that ends by itself before the next look is looked at then; 1 ms because servers count in those.
                Miss::Busy(_, Some(remaining)) => {
                    patience.delays.next().map(|delay| delay.min(remaining.saturating_add(Duration::from_millis(1))))
                }
                Miss::Busy(_, None) | Miss::Passing(_) => patience.delays.next(),
            };
            let Some(delay) = delay.filter(|_| left.is_none_or(|left| !left.is_zero())) else {
                return Err(self.error(self.waited(), miss));
            };
            // At the end of the wait it is tried a last time.
            let delay = left.map_or(delay, |left| delay.min(left));
            if let Miss::Busy(holder, _) = &miss {
                self.tell(&mut told, holder.as_ref());
            }
            self.pause(delay, &turn).await?;
        }
    }

    /// Waits while another task of this process holds the lock. `false`: the wait was over before.
    async fn until_free_here(&self, turn: &Turn, until: Option<Moment>, told: &mut bool) -> Result<bool, LockError> {
        while let Some(held) = self.shared.queue.held_here(&self.key) {
            if until.is_some_and(|until| self.shared.store.now() >= until) {
                return Ok(false);
            }
            self.tell(told, Some(&held.holder));
            // Woken when it is given back; its lease bounds the wait, and an extension only makes us look again.
            let look_again = self.shared.store.now().plus(held.remaining);
            let until = until.map_or(look_again, |until| until.min(look_again));
            self.unless_over(Some(until), turn.freed()).await?;
        }
        Ok(true)
    }

    /// The wait ended in line, behind others of this process.
    async fn last_word(&self) -> Result<LockGuard, LockError> {
        if let Some(held) = self.shared.queue.held_here(&self.key) {
            return Err(self.busy(self.waited(), Some(held.holder), Some(held.remaining)));
        }
        // Those before us may be asking a store that is down. That must not be called busy: ask ourselves.
        self.attempt().await.map_err(|miss| self.error(self.waited(), miss))
    }

    /// Sleeps before the next look, or until a lease of this process is given back.
    async fn pause(&self, delay: Duration, turn: &Turn) -> Result<(), LockError> {
        let until = self.shared.store.now().plus(delay);
        self.unless_over(Some(until), turn.freed()).await?;
        Ok(())
    }

    /// What `future` gives, or `None` if `until` comes first; an error when the manager is shut down meanwhile.
    async fn unless_over<T>(
        &self,
        until: Option<Moment>,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, LockError> {
        let mut closing = pin!(self.shared.closing());
        let mut future = pin!(future);
        let future = poll_fn(|cx| match closing.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.unavailable(Shared::closed_error()))),
            Poll::Pending => future.as_mut().poll(cx).map(|value| Ok(Some(value))),
        });
        match until.map(|until| until.since(self.shared.store.now())) {
            // Durations near the end of time are for ever; the timer would not take them.
            None => future.await,
            Some(left) => match timer::timeout(left, future) {
                Ok(future) => future.await.unwrap_or(Ok(None)),
                Err(error) => Err(self.unavailable(error)),
            },
        }
    }

    /// Asks the store; a second time when the answer comes too late to be of use, or the connection turns out to be dead: an
    /// idle one may have been closed without anybody noticing.
    async fn attempt(&self) -> Result<LockGuard, Miss> {
        let mut before: Option<(Token, StoreError)> = None;
        loop {
            // Counted before the question, so that `shutdown` waits for every answer that may become a guard.
            let counted = self.shared.guards.begin();
            if self.shared.is_closed() {
                return Err(Miss::Final(self.unavailable(Shared::closed_error())));
            }
            // A token of its own for every request: if an earlier one is still on its way, its clean-up must not end this one.
            let mut claim = Claim::new(LockKey::clone(&self.key), self.ttl, self.metadata.clone());
            claim.label = self.label;
            claim.fence = self.terms.fence.then(|| fencing::counter(&self.shared.key_prefix));
            let token = claim.token.clone();
            let error = match self.shared.store.acquire(&claim).await {
                Ok(Attempt::Acquired { sent, fence }) => {
                    let won = Won { sent, fence };
                    let hold = Hold::new(self.shared.clone(), claim, self.terms, &won, &self.parent);
                    let guard = LockGuard::new(hold, &self.key, counted);
                    if self.shared.is_closed() {
                        return Err(Miss::Final(self.unavailable(Shared::closed_error())));
                    }
                    if self.terms.fence && fence.is_none() {
                        Box::pin(refuse(guard)).await;
                        let text = "the store gave the lock without the fencing token that it was asked for";
                        return Err(Miss::Final(self.unavailable(StoreError::new(StoreErrorKind::Protocol, text))));
                    }
                    if guard.remaining() >= validity(self.ttl) / 2 {
                        self.keep(&guard)?;
                        guard.hold().hand_out();
                        return Ok(guard);
                    }
                    Box::pin(refuse(guard)).await;
                    StoreError::new(
                        StoreErrorKind::Timeout,
                        "the store's answers take longer than half of the ttl: use a longer ttl",
                    )
                }
                Ok(Attempt::Busy { value, remaining }) => {
                    return Err(match (before, value) {
                        // By ourselves: the request whose answer was lost had been carried out.
                        (Some((token, error)), Some(value)) if value.starts_with(token.as_str()) => {
                            Miss::Passing(error)
                        }
                        (_, value) => {
                            let local = self.shared.queue.token_here(&self.key);
                            Miss::Busy(value.map(|value| Holder::read(&value, local.as_ref())), remaining)
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

    /// Has the lease renewed, if that was asked for. Here and nowhere else, before anybody has the guard: no renewal begins
    /// after a release.
    fn keep(&self, guard: &LockGuard) -> Result<(), Miss> {
        if self.terms.renew.is_none() {
            return Ok(());
        }
        self.shared.keeper.renew(guard.hold()).map_err(|error| Miss::Final(self.unavailable(error)))
    }

    /// Tells of the wait, once.
    fn tell(&self, told: &mut bool, holder: Option<&Holder>) {
        if !std::mem::replace(told, true) {
            telemetry::waiting(self.label, holder);
        }
    }

    fn waited(&self) -> Duration {
        self.shared.store.now().since(self.started)
    }

    fn error(&self, waited: Duration, miss: Miss) -> LockError {
        match miss {
            Miss::Busy(holder, remaining) => self.busy(waited, holder, remaining),
            Miss::Passing(error) => self.unavailable(error),
            Miss::Final(error) => error,
        }
    }

    fn busy(&self, waited: Duration, holder: Option<Holder>, retry_after: Option<Duration>) -> LockError {
        LockError::Busy(Busy { key: LockKey::clone(&self.key), holder, waited, retry_after })
    }

    fn unavailable(&self, source: StoreError) -> LockError {
        LockError::Unavailable { key: LockKey::clone(&self.key), source }
    }
}

/// Gives back what is of no use to its caller. To be boxed: it is rare, and its state would be part of every acquisition's.
async fn refuse(guard: LockGuard) {
    // Whatever comes of this: the guard is gone after it.
    let _ = guard.release().await;
}
