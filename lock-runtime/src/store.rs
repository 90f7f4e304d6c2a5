//! Where locks live: the trait of all stores, and what is said between a store and its callers.

use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{StoreError, StoreErrorKind};
use crate::holder::{FLOOR, Token};
use crate::keeper::Background;
use crate::key::LockKey;
use crate::lease::whole_millis;
use crate::timer;

pub use self::reading::Reading;
use self::waiter::Waiter;

pub mod memory;
mod reading;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redlock")]
pub mod redlock;
pub mod waiter;

/// The future of one store operation.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The future of many extensions.
pub type RenewFuture<'a> = Pin<Box<dyn Future<Output = Vec<Result<bool, StoreError>>> + Send + 'a>>;

/// A place where locks live.
///
/// Methods that are added later come with a default.
///
/// A store knows claims and their values; it knows nothing of guards, queues or waiting. Every operation has a deadline of
/// its own inside the store: none may stay pending for ever.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Now, on the clock by which this store's leases are measured. It keeps counting while the system sleeps, if the store
    /// is one that does too.
    fn now(&self) -> Moment;

    /// Whether this store gives a fencing token to a [claim that asks for one](Claim::fence). Where it does not, such a lock
    /// is refused before the store is asked: nobody works on in the belief of having a token.
    ///
    /// A store that wraps another passes the question on.
    fn fences(&self) -> bool {
        false
    }

    /// Tries once to take all keys of `claim` for its TTL: all or nothing. With a fencing token, if the claim asks for one.
    ///
    /// # Errors
    ///
    /// When the store cannot say whether the claim was taken.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, or ends in anything but [`Attempt::Acquired`], the store itself sees to it that the
    /// claim does not stay: a clean-up follows the request on the same connection.
    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt>;

    /// Changes the remaining time of a claim that is still ours, and never re-creates one that is not. `false`: it is not
    /// ours any more.
    ///
    /// # Errors
    ///
    /// When the store cannot say; then the time may have been changed, or may still be.
    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool>;

    /// Extends many claims, as [`extend`](Store::extend) does to at least their TTLs: one answer for each, in their order.
    /// An answer that is not there `within` this time is an error. Without any, it is an invitation to get ready.
    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], within: Duration) -> RenewFuture<'a> {
        let each = renewals.iter().map(move |Renewal { claim, ttl, .. }| {
            let answer = self.extend(claim, *ttl, Extension::AtLeast);
            async move { timer::timeout(within, answer)?.await.unwrap_or_else(|_| Err(not_within(within))) }
        });
        Box::pin(join_all(each))
    }

    /// The time that the store will keep a claim, if it is still ours; `None` if it is not.
    ///
    /// # Errors
    ///
    /// When the store cannot say.
    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>>;

    /// What is under `key`, and how many stand in its line; `None`: nothing. Changes nothing, in one request.
    ///
    /// A store that wraps another passes the question on.
    ///
    /// # Errors
    ///
    /// When the store cannot say, or does not know how: as it is unless a store says otherwise.
    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        let _ = key;
        let text = "the store cannot be looked into: it does not tell who holds a lock";
        Box::pin(ready(Err(StoreError::new(StoreErrorKind::Protocol, text))))
    }

    /// Gives a claim back: compare and delete. `false`: it was not ours any more. Of several keys, those that still are ours are
    /// deleted all the same, and nothing else is: a part of a lock is no lock. Before the claim's
    /// [`keep_until`](Claim::keep_until), its keys are not deleted, but made to expire at that moment, and their value is
    /// replaced by a [tombstone](Claim::tombstone): the claim does not own them any more.
    ///
    /// # Errors
    ///
    /// When the store cannot say; call [`abandon`](Store::abandon) then.
    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool>;

    /// Gives a claim back without waiting for it: compare and delete, repeated in the background until the outcome is
    /// known or the claim has ended by itself. `done` runs when that is settled. Called from `Drop`, from any thread:
    /// it must not block or panic.
    fn abandon(&self, claim: Claim, done: Done);

    /// Has the counter of `claim`'s fencing tokens be at least `fence`, if the claim is still ours; never lowers it. `false`: it is
    /// not ours any more, and nothing was done. For stores over several others, which have their claims' tokens from all of them.
    ///
    /// # Errors
    ///
    /// When the store cannot say, or does not know how: as it is unless a store says otherwise.
    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        let _ = (claim, fence);
        let text = "the store cannot be told of the fencing tokens of others";
        Box::pin(ready(Err(StoreError::new(StoreErrorKind::Protocol, text))))
    }

    /// Waits until all clean-ups that were begun are settled.
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Tries on the key `probe`, which nobody else uses, whether everything can be done that locks take, and leaves nothing
    /// behind. A store that knows more ways to fail than its operations show looks at each of them.
    ///
    /// # Errors
    ///
    /// What cannot be done; or that the store cannot say.
    fn self_test<'a>(&'a self, probe: &'a LockKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let claim = Claim::new(probe.clone(), Duration::from_secs(5), "self-test".into());
            let acquired = self.acquire(&claim).await?;
            let done = matches!(acquired, Attempt::Acquired { .. })
                && self.extend(&claim, claim.ttl, Extension::Exactly).await?
                && self.remaining(&claim).await?.is_some()
                && self.release(&claim).await?;
            if done {
                Ok(())
            } else {
                Err(StoreError::new(StoreErrorKind::Protocol, "the store lost the probe's lock"))
            }
        })
    }

    /// Whether there is a line before the keys, in which callers of several processes take turns. If not, whoever waits asks every
    /// now and then.
    fn keeps_line(&self) -> bool {
        false
    }

    /// A place for `claim` in the line before its key, to wait in; nothing is sent yet. `None`: there is none to be had.
    ///
    /// A claim of several keys has no place anywhere: it would hold one key while it waits for another.
    fn waiter(&self, claim: Claim) -> Option<Box<dyn Waiter>> {
        let _ = claim;
        None
    }

    /// Whether the locks live outside of this process. Such locks are renewed from a thread of the manager's own, so that
    /// they stay held while the caller's runtime is blocked; others, whose clock may be that of a runtime, from a task on
    /// the runtime of whoever acquires them.
    fn is_remote(&self) -> bool {
        true
    }

    /// Why `keys` cannot be one lock in this store, for people to read; `None` if they can. Such a lock is
    /// [`Invalid`](crate::LockError::Invalid), and nothing is asked for it.
    fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        let _ = keys;
        None
    }

    /// Called by every manager that is built on this store: where clean-ups can run that have no runtime. One is enough.
    fn attach(&self, background: &Background) {
        let _ = background;
    }
}

/// What all of `futures` come to, in their order.
pub(crate) fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> impl Future<Output = Vec<F::Output>> {
    let mut waiting: Vec<_> = futures.map(|future| (Some(Box::pin(future)), None)).collect();
    poll_fn(move |cx| {
        for (future, output) in &mut waiting {
            if let Some(Poll::Ready(value)) = future.as_mut().map(|future| future.as_mut().poll(cx)) {
                (*future, *output) = (None, Some(value));
            }
        }
        if waiting.iter().all(|(future, _)| future.is_none()) {
            Poll::Ready(waiting.drain(..).filter_map(|(_, output)| output).collect())
        } else {
            Poll::Pending
        }
    })
}

fn not_within(limit: Duration) -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, format!("the store did not answer within {limit:?}"))
}

/// A shared store is a store.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn now(&self) -> Moment {
        (**self).now()
    }

    fn fences(&self) -> bool {
        (**self).fences()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        (**self).acquire(claim)
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        (**self).extend(claim, ttl, extension)
    }

    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], within: Duration) -> RenewFuture<'a> {
        (**self).renew(renewals, within)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        (**self).remaining(claim)
    }

    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        (**self).inspect(key)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        (**self).release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        (**self).abandon(claim, done);
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        (**self).raise_fence(claim, fence)
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        (**self).drain()
    }

    fn self_test<'a>(&'a self, probe: &'a LockKey) -> StoreFuture<'a, ()> {
        (**self).self_test(probe)
    }

    fn keeps_line(&self) -> bool {
        (**self).keeps_line()
    }

    fn waiter(&self, claim: Claim) -> Option<Box<dyn Waiter>> {
        (**self).waiter(claim)
    }

    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }

    fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        (**self).flaw(keys)
    }

    fn attach(&self, background: &Background) {
        (**self).attach(background);
    }
}

/// What runs when an abandoned claim is settled.
pub struct Done(Option<Box<dyn FnOnce() + Send>>);

impl Done {
    /// Runs `then` when the clean-up is settled or given up: when this value is dropped.
    #[must_use]
    pub fn then(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// Nobody waits for it.
    #[must_use]
    pub fn nothing() -> Self {
        Self(None)
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").finish_non_exhaustive()
    }
}

/// What an acquisition asks for: the keys, the value that will prove that they are ours, and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The keys, sorted and without duplicates; at least one.
    pub keys: Arc<[LockKey]>,
    /// The token: fresh for every claim, or chosen by the caller. What is stored of it is fresh in any case.
    pub token: Token,
    /// What others may read about the holder.
    pub metadata: Arc<str>,
    /// For how long, in whole milliseconds.
    pub ttl: Duration,
    /// Until when the keys are kept even if the claim is given back before.
    pub keep_until: Option<Moment>,
    /// What the call is called in logs.
    pub label: &'static str,
    /// Asks for a fencing token, by naming the key of the counter that gives it: all claims on a lock name the same one. A
    /// store that keeps its counter elsewhere may take it for a mere yes.
    pub fence: Option<LockKey>,
    /// How many tokens more to give, the numbers behind the claim's own: for others of this process, to which the lock may be
    /// handed over. A store may give fewer.
    pub spare_fences: u32,
    /// Values of earlier claims under the same chosen token, as they were found under the keys. A key that holds one of them
    /// counts as free; when the claim is taken, it is given the new value, and keeps at least the time that it had. One that
    /// holds anything else by then does not: so a request that comes late replaces nothing that is newer than it.
    ///
    /// A store that takes no notice of this answers that such a key is busy.
    pub replaces: Vec<String>,
    /// Whether to tell who holds a key that is busy. If not, a store may leave it out, where that takes a request of its own.
    pub asks_who: bool,
}

impl Claim {
    /// A claim of one key, with a fresh token. It asks for no fencing token.
    #[must_use]
    pub fn new(key: LockKey, ttl: Duration, metadata: Arc<str>) -> Self {
        Self {
            keys: Arc::new([key]),
            token: Token::fresh(),
            metadata,
            ttl,
            keep_until: None,
            label: "",
            fence: None,
            spare_fences: 0,
            replaces: Vec::new(),
            asks_who: true,
        }
    }

    /// The same claim, asking for a fencing token from the counter under `counter`.
    #[must_use]
    pub fn fenced_by(mut self, counter: LockKey) -> Self {
        self.fence = Some(counter);
        self
    }

    /// The value stored under each key: the token, then a space and the metadata, if there is any. Behind a token that was
    /// chosen, a colon and 16 random characters. Compared as a whole.
    #[must_use]
    pub fn value(&self) -> String {
        self.value_parts().concat()
    }

    /// What the [value](Claim::value) is put together from.
    pub(crate) fn value_parts(&self) -> [&str; 3] {
        let separator = if self.metadata.is_empty() { "" } else { " " };
        [self.token.proof(), separator, &self.metadata]
    }

    /// What is left at `now` of the time for which the keys are kept even if the claim is given back: in whole
    /// milliseconds, rounded up; zero when it is over.
    #[must_use]
    pub fn kept_for(&self, now: Moment) -> Duration {
        let left = self.keep_until.map_or(Duration::ZERO, |until| until.since(now));
        whole_millis(left + Duration::from_nanos(999_999))
    }

    /// What is stored under the keys when the claim was given back but they are still to be kept: no extension and no
    /// release that is still on its way finds the claim's value any more.
    #[must_use]
    pub fn tombstone(&self) -> String {
        let [_, separator, metadata] = self.value_parts();
        [FLOOR, Token::fresh().as_str(), separator, metadata].concat()
    }

    /// The TTL in milliseconds.
    #[must_use]
    pub fn ttl_millis(&self) -> u64 {
        millis(self.ttl)
    }
}

/// One of many extensions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Renewal<'a> {
    /// What is to be extended.
    pub claim: &'a Claim,
    /// To at least this much, in whole milliseconds.
    pub ttl: Duration,
}

impl<'a> Renewal<'a> {
    /// The extension of `claim` to at least `ttl`.
    #[must_use]
    pub fn new(claim: &'a Claim, ttl: Duration) -> Self {
        Self { claim, ttl }
    }
}

/// How an acquisition ended.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attempt {
    /// It is ours.
    #[non_exhaustive]
    Acquired {
        /// The moment before the request was sent from which the lease counts.
        sent: Moment,
        /// The fencing token, if the claim asked for one: greater than every one that was given before for any of its keys.
        fence: Option<i64>,
        /// How many numbers behind that are the claim's as well, and are given to nobody else.
        spare_fences: u32,
    },
    /// Somebody else holds one of the keys, and none was taken.
    #[non_exhaustive]
    Busy {
        /// The value stored under it, if the store could tell.
        value: Option<String>,
        /// How long it will be kept at most, if the store could tell.
        remaining: Option<Duration>,
        /// Which key it is, if the store could tell.
        key: Option<LockKey>,
    },
    /// One of the keys holds something that is no lock.
    #[non_exhaustive]
    Foreign {
        /// Which.
        key: LockKey,
    },
}

impl Attempt {
    /// It is ours, by a request that was sent after `sent`, without a fencing token.
    #[must_use]
    pub fn acquired(sent: Moment) -> Self {
        Self::Acquired { sent, fence: None, spare_fences: 0 }
    }

    /// It is ours, by a request that was sent after `sent`, with the fencing token `fence`.
    #[must_use]
    pub fn acquired_with_fence(sent: Moment, fence: i64) -> Self {
        Self::acquired_with_fences(sent, fence, 0)
    }

    /// As [`acquired_with_fence`](Self::acquired_with_fence), with `spares` more tokens, the numbers behind it.
    #[must_use]
    pub fn acquired_with_fences(sent: Moment, fence: i64, spares: u32) -> Self {
        Self::Acquired { sent, fence: Some(fence), spare_fences: spares }
    }

    /// Somebody else holds it.
    #[must_use]
    pub fn busy(value: Option<String>, remaining: Option<Duration>) -> Self {
        Self::Busy { value, remaining, key: None }
    }

    /// Somebody else holds `key`, which is one of several.
    #[must_use]
    pub fn busy_at(key: LockKey, value: Option<String>, remaining: Option<Duration>) -> Self {
        Self::Busy { value, remaining, key: Some(key) }
    }

    /// `key` holds something that is no lock.
    #[must_use]
    pub fn foreign(key: LockKey) -> Self {
        Self::Foreign { key }
    }
}

/// Without the value: it holds a token.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquired { sent, fence, spare_fences } => f
                .debug_struct("Acquired")
                .field("sent", sent)
                .field("fence", fence)
                .field("spare_fences", spare_fences)
                .finish(),
            Self::Busy { remaining, key, .. } => {
                f.debug_struct("Busy").field("key", key).field("remaining", remaining).finish_non_exhaustive()
            }
            Self::Foreign { key } => f.debug_struct("Foreign").field("key", key).finish(),
        }
    }
}

/// How an extension treats the time that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension {
    /// To at least this much: never shortens, so that extensions in flight commute.
    AtLeast,
    /// To exactly this much.
    Exactly,
}

/// `duration` in milliseconds, as Redis counts.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
