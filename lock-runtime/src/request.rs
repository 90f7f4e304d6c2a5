//! A request for a lock: what is asked for, and whether it makes sense.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, Span};

use crate::acquiring::Asking;
use crate::error::LockError;
use crate::guard::{LockGuard, checked_ttl};
use crate::holder::Token;
use crate::key::LockKey;
use crate::keys::{Keys, Listed};
use crate::manager::{LockManager, Shared};
use crate::retry::Retry;
use crate::several::Several;
use crate::store::waiter;
use crate::terms::{Renew, Terms};
use crate::waiting::Patience;
use crate::{body, fencing, holder, telemetry};

/// The longest metadata, in bytes: it is stored with every acquisition.
const MAX_METADATA: usize = 1024;

/// A request for a lock. Made by [`LockManager::lock`] or [`lock_many`](LockManager::lock_many); becomes a guard by
/// [`acquire`](LockRequest::acquire), once it has a
/// [`ttl`](LockRequest::ttl).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until `acquire` is called and awaited"]
pub struct LockRequest<Ttl = Duration> {
    manager: Option<LockManager>,
    keys: Keys,
    ttl: Ttl,
    wait: Option<Duration>,
    retry: Option<Retry>,
    metadata: Option<Arc<str>>,
    terms: Terms,
    label: &'static str,
    token: Result<Option<Box<Token>>, NoToken>,
}

/// What was chosen as a token cannot be one. It is not kept: it may be somebody's.
#[derive(Clone, Copy, Debug)]
struct NoToken;

impl LockRequest<()> {
    /// `manager`: the one to use, or `None` for the current one.
    pub(crate) fn new(manager: Option<LockManager>, keys: Keys) -> Self {
        let terms = Terms::default();
        Self { manager, keys, ttl: (), wait: None, retry: None, metadata: None, terms, label: "", token: Ok(None) }
    }

    /// The length of the lease: 10 ms to 30 days, counted in whole milliseconds. If this process dies, the lock is free
    /// after this time.
    pub fn ttl(self, ttl: Duration) -> LockRequest {
        let Self { manager, keys, ttl: (), wait, retry, metadata, terms, label, token } = self;
        LockRequest { manager, keys, ttl, wait, retry, metadata, terms, label, token }
    }
}

impl<Ttl> LockRequest<Ttl> {
    /// How long to wait for a busy lock; independent of the TTL. Unless told, the lock is tried once. `Duration::MAX` waits
    /// for ever.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Asks again by this strategy, and stands in no line at the store. Calls of one process wait in line all the same, and only
    /// its head asks: by the head's strategy. Without a [`wait`](LockRequest::wait), the strategy alone decides when to give up:
    /// it needs a [limit](Retry::limit) then.
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
    /// late writers by. See [`fencing`](crate::guide::fencing), and [`LockGuard::fence`] for what it promises.
    ///
    /// A store that [has none](crate::Store::fences) is [`LockError::Invalid`].
    pub fn fence(mut self) -> Self {
        self.terms.fence = true;
        self
    }

    /// Locks under this token, and not under a random one: 32 hexadecimal characters in lower case, as those of a version 4 UUID
    /// or of an earlier [guard](LockGuard::token). For an owner that outlives its process, as a job with an id does: started
    /// again, it need not wait for the lease of its former self.
    ///
    /// A lock that is held under the same token is *taken over*: it is ours at once, whatever its metadata, and keeps at least
    /// the time that it had. Its earlier holder has lost it: one of the same manager is told at once, any other finds out when it
    /// extends the lock, gives it back, or asks for its time; **until then it works on, beside the new one**. So a token is for
    /// one owner that is at work in one place at a time. One for a whole program would let all of its calls in.
    ///
    /// Of several keys, those that are held under the token are taken over, and the others taken, all or none.
    ///
    /// The token is compared as a whole. Anything else than 32 hexadecimal characters is [`LockError::Invalid`]: of tokens of
    /// different lengths, one may be the beginning of another. Whoever waits asks every now and then, as for
    /// [several keys](LockManager::lock_many).
    pub fn token(mut self, token: &str) -> Self {
        self.token = Token::chosen(token).map(|token| Some(Box::new(token))).ok_or(NoToken);
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
        let (label, span) = (self.label, telemetry::acquiring(self.label, &Listed(self.keys.as_slice())));
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
            return Err(LockError::NoManager { key: self.keys.first() });
        };
        let shared = manager.shared().clone();
        let keys = self.keys.prefixed(&shared.key_prefix);
        if let Some((key, flaw)) = keys.flaw() {
            return Err(LockError::Invalid { key, reason: flaw.into() });
        }
        let key = keys.first();
        let invalid = |reason: &'static str| LockError::Invalid { key: key.clone(), reason: reason.into() };
        let token = self.token.map_err(|NoToken| {
            invalid("a token is 32 hexadecimal characters in lower case, so that none is the beginning of another")
        })?;
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
        for key in keys.as_slice() {
            check(&shared, key)?;
        }
        if let Some(flaw) = shared.store.flaw(keys.as_slice()) {
            return Err(LockError::Invalid { key, reason: flaw.into() });
        }
        if self.terms.fence && !shared.store.fences() {
            return Err(invalid("`fence`: the store of this lock manager gives no fencing tokens"));
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
        let several = Several::new(&shared, keys, token);
        let (label, series) = (self.label, shared.figures.of(self.label));
        let asking = Asking { shared, key, several, ttl, metadata, terms: self.terms, started, label, series, parent };
        let patience = Patience::new(self.wait, self.retry, started);
        Ok((asking, patience))
    }
}

/// Whether `key` may be asked for, here and now.
fn check(shared: &Arc<Shared>, key: &LockKey) -> Result<(), LockError> {
    if fencing::is_counter(key) {
        let reason = "this is where the counter of fencing tokens is kept; choose another key";
        return Err(LockError::Invalid { key: key.clone(), reason: reason.into() });
    }
    if waiter::is_line(key) {
        let reason = "this is where those are listed who wait for a lock; choose another key";
        return Err(LockError::Invalid { key: key.clone(), reason: reason.into() });
    }
    if body::encloses(shared, key) {
        return Err(LockError::AlreadyHeld { key: key.clone() });
    }
    Ok(())
}
