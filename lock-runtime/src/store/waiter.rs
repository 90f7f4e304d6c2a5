//! Waiting in line at a store: what is said between a waiter's place there and whoever stands in it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Claim, StoreFuture};
use crate::clock::Moment;
use crate::key::LockKey;

/// The end of the names under which lines are kept. With a version: nobody takes out of a line what another version has put in.
pub(crate) const LINE: &str = ":lock_runtime:q1";

/// Whether this is the name of a line, of whatever key.
pub(crate) fn is_line(key: &LockKey) -> bool {
    key.as_str().ends_with(LINE)
}

/// The future of a call to a waiter.
pub type Called<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A place in the line that a store keeps before a key, for one [`Claim`] of that key. Made by
/// [`Store::waiter`](super::Store::waiter).
///
/// One process has one such place before a key, however many of its tasks wait: they take turns in it.
///
/// Dropped, the place is left, and what was granted to it is given back: by a request behind all that it has sent.
pub trait Waiter: fmt::Debug + Send + 'static {
    /// What is claimed.
    fn claim(&self) -> &Claim;

    /// Takes the place, at the end of the line; or keeps it, and asks how things stand. A lock that is free is granted to
    /// whoever is first in line.
    ///
    /// # Errors
    ///
    /// When the store cannot say. The place may have been taken; ask again.
    ///
    /// # Cancellation
    ///
    /// As an error.
    fn ask(&mut self) -> StoreFuture<'_, Place>;

    /// Resolves when it may be worth while to [`ask`](Waiter::ask) or [`confirm`](Waiter::confirm), since it was asked last: a
    /// hint, which may be wrong and may get lost.
    ///
    /// # Cancellation
    ///
    /// Safe to drop: no call is lost with it.
    fn called(&mut self) -> Called<'_>;

    /// Makes a lock of what was granted, for `ttl`, with a fencing token from `fence` if there is one, and up to `spares` more
    /// behind it. `None`: it is not ours,
    /// because nothing was granted yet or it was not confirmed in time; [`ask`](Waiter::ask) again, in the same place.
    ///
    /// # Errors
    ///
    /// When the store cannot say. [`ask`](Waiter::ask) again: it finds out.
    ///
    /// # Cancellation
    ///
    /// As an error.
    fn confirm<'a>(
        &'a mut self,
        ttl: Duration,
        fence: Option<&'a LockKey>,
        spares: u32,
    ) -> StoreFuture<'a, Option<Confirmed>>;

    /// The claim was confirmed, and is the caller's, who gives it back: nothing is done about it here any more.
    fn settle(self: Box<Self>) -> Claim;
}

/// How a waiter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The lock was granted to it, for a moment: to be confirmed.
    Granted,
    /// It is in line.
    #[non_exhaustive]
    Waiting {
        /// Who holds the lock, as far as the store can tell.
        holder: Option<Held>,
    },
    /// There is no place to be had: the line is full, or the store lacks what it takes. Ask for the lock every now and then.
    #[non_exhaustive]
    None {
        /// Who holds the lock, as far as the store can tell.
        holder: Option<Held>,
    },
    /// The key holds something that is no lock.
    #[non_exhaustive]
    Foreign {
        /// The key.
        key: LockKey,
    },
}

impl Place {
    /// In line.
    #[must_use]
    pub fn waiting(holder: Option<Held>) -> Self {
        Self::Waiting { holder }
    }

    /// No place to be had.
    #[must_use]
    pub fn none(holder: Option<Held>) -> Self {
        Self::None { holder }
    }

    /// No lock.
    #[must_use]
    pub fn foreign(key: LockKey) -> Self {
        Self::Foreign { key }
    }
}

/// Who holds a lock.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// The value stored under the key.
    pub value: String,
    /// How long it will be kept at most.
    pub remaining: Duration,
}

impl Held {
    /// By whoever wrote `value`, for `remaining` at most.
    #[must_use]
    pub fn new(value: String, remaining: Duration) -> Self {
        Self { value, remaining }
    }
}

/// Without the value: it holds a token.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// A grant that became a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirmed {
    /// The moment before the request was sent from which the lease counts.
    pub sent: Moment,
    /// The fencing token, if one was asked for.
    pub fence: Option<i64>,
    /// How many numbers behind that are the claim's as well, and are given to nobody else.
    pub spare_fences: u32,
}

impl Confirmed {
    /// By a request that was sent after `sent`.
    #[must_use]
    pub fn new(sent: Moment, fence: Option<i64>) -> Self {
        Self { sent, fence, spare_fences: 0 }
    }

    /// As [`new`](Self::new), with the fencing token `fence` and `spares` more, the numbers behind it.
    #[must_use]
    pub fn with_fences(sent: Moment, fence: i64, spares: u32) -> Self {
        Self { sent, fence: Some(fence), spare_fences: spares }
    }
}
