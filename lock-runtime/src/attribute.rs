//! What `#[distributed_lock]` expands to. The attribute's documentation shows the expansion.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::body::{Guarded, OnLost, Slot, Stopped};
use crate::error::{Busy, LockError};
use crate::guard::LockGuard;
use crate::key::LockKey;
use crate::keys::Keys;
use crate::lease::Standing;
use crate::manager::LockManager;
use crate::request::LockRequest;
use crate::retry::Retry;

/// A return type that can carry a lock failure: `Result<T, E>` with `E: From<LockError>`.
///
/// Required of every function under the attribute, unless it has `on_error`.
#[diagnostic::on_unimplemented(
    message = "a function under `#[distributed_lock]` must be able to return a lock failure, but this one returns `{Self}`",
    label = "a lock failure cannot be reported through this type",
    note = "return `Result<T, E>` where `E: From<lock_runtime::LockError>`",
    note = "or say what to return on failure: `on_error = |error| …`"
)]
pub trait LockOutput: Sized {
    /// The value that reports `error`.
    fn from_lock_error(error: LockError) -> Self;

    /// Whether the body reports a failure by this value. A failure is returned as it is, even if the lease had ended before
    /// the body did; a success is not.
    fn is_failure(&self) -> bool {
        false
    }

    #[doc(hidden)]
    fn from_outcome(outcome: Outcome<Self>) -> Self {
        match outcome.0 {
            End::Done(output) => output,
            End::Late(output, _) if output.is_failure() => output,
            End::Late(_, error) | End::Failed(error) => Self::from_lock_error(error),
        }
    }
}

impl<T, E: FromLockError> LockOutput for Result<T, E> {
    fn from_lock_error(error: LockError) -> Self {
        Err(E::from_lock_error(error))
    }

    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// An error type that a [`LockError`] can be turned into: everything with `From<LockError>`.
#[diagnostic::on_unimplemented(
    message = "the error type `{Self}` cannot hold a `LockError`",
    label = "`From<LockError>` is not implemented for `{Self}`",
    note = "add `impl From<lock_runtime::LockError> for {Self}`, or a variant with `#[from] LockError`",
    note = "for a type of another crate, say what to return on failure: `on_error = |error| …`"
)]
pub trait FromLockError {
    /// The error that reports `error`.
    fn from_lock_error(error: LockError) -> Self;
}

// Without this the compiler would look through the blanket impl, and ask for `From` in words of its own.
#[diagnostic::do_not_recommend]
impl<E: From<LockError>> FromLockError for E {
    fn from_lock_error(error: LockError) -> Self {
        error.into()
    }
}

/// A return type with a value for "somebody else is at it, so nothing was done": what `on_busy = "skip"` returns.
#[diagnostic::on_unimplemented(
    message = "`on_busy = \"skip\"` has no value of type `{Self}` to return",
    label = "nothing in this type says that the work was skipped",
    note = "it works for `()`, `Option<T>` (`None`) and `Result<S, E>` of those",
    note = "or say what to return: `on_busy = |busy| …`"
)]
pub trait Skip: Sized {
    /// The value that says so.
    fn skip() -> Self;
}

impl Skip for () {
    fn skip() -> Self {}
}

impl<T> Skip for Option<T> {
    fn skip() -> Self {
        None
    }
}

impl<S: Skip, E> Skip for Result<S, E> {
    fn skip() -> Self {
        Ok(S::skip())
    }
}

/// What the attribute asks for.
#[derive(Debug)]
pub struct Request {
    /// Boxed: it is part of every future that calls a locked function, more than once.
    lock: Box<LockRequest>,
    release: Release,
    on_lost: OnLost,
}

#[derive(Clone, Copy, Debug)]
enum Release {
    Wait,
    Background,
}

impl Request {
    /// `name` is the label of the function in logs.
    pub fn new(name: &'static str, key: impl Into<LockKey>, ttl: Duration) -> Self {
        Self::of(name, Keys::One(key.into()), ttl)
    }

    /// As [`new`](Self::new), for several keys.
    #[must_use]
    pub fn of(name: &'static str, keys: Keys, ttl: Duration) -> Self {
        let lock = Box::new(LockRequest::new(None, keys).name(name).ttl(ttl));
        Self { lock, release: Release::Wait, on_lost: OnLost::Cancel }
    }

    /// `wait = …`
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        self.with(|request| request.wait(wait))
    }

    /// `retry = …`
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|request| request.retry(retry))
    }

    /// `metadata = …`
    #[must_use]
    pub fn metadata(self, metadata: impl Into<String>) -> Self {
        self.with(|request| request.metadata(metadata))
    }

    /// `renew`
    #[must_use]
    pub fn renew(self) -> Self {
        self.with(LockRequest::renew)
    }

    /// `renew = …`
    #[must_use]
    pub fn renew_every(self, interval: Duration) -> Self {
        self.with(|request| request.renew_every(interval))
    }

    /// `max_hold = …`
    #[must_use]
    pub fn max_hold(self, limit: Duration) -> Self {
        self.with(|request| request.max_hold(limit))
    }

    /// `min_hold = …`
    #[must_use]
    pub fn min_hold(self, floor: Duration) -> Self {
        self.with(|request| request.min_hold(floor))
    }

    /// `fence = …`
    #[must_use]
    pub fn fence(self) -> Self {
        self.with(LockRequest::fence)
    }

    /// `manager = …`
    #[must_use]
    pub fn manager(mut self, manager: &LockManager) -> Self {
        self.lock.set_manager(manager);
        self
    }

    /// `release = "background"`
    #[must_use]
    pub fn release_in_background(mut self) -> Self {
        self.release = Release::Background;
        self
    }

    /// `on_lost = "proceed"`
    #[must_use]
    pub fn proceed_when_lost(mut self) -> Self {
        self.on_lost = OnLost::Proceed;
        self
    }

    fn with(mut self, change: impl FnOnce(LockRequest) -> LockRequest) -> Self {
        *self.lock = change(*self.lock);
        self
    }
}

/// The busy branch of a function without `on_busy`: there is none.
pub type Never = Infallible;

/// Whether the body has a branch for a busy lock.
pub trait BusyBranch: Sized {
    /// What the branch is given; or the error, if there is no branch.
    ///
    /// # Errors
    ///
    /// Busy, where there is no branch.
    fn take(busy: Busy) -> Result<Self, LockError>;
}

impl BusyBranch for Never {
    fn take(busy: Busy) -> Result<Self, LockError> {
        Err(LockError::Busy(busy))
    }
}

impl BusyBranch for Busy {
    fn take(busy: Busy) -> Result<Self, LockError> {
        Ok(busy)
    }
}

/// One call of a function under the attribute: filled by [`run`] before the body is polled for the first time.
///
/// It is declared before the body, so it is dropped after it: the guard inside outlives everything that the body owns.
#[derive(Debug)]
pub struct Call<B> {
    guard: OnceLock<LockGuard>,
    busy: Mutex<Option<B>>,
}

/// What the body starts with.
#[derive(Debug)]
pub enum Start<'a, B> {
    /// The lock is held. There is no other way into the body.
    Held(&'a LockGuard),
    /// Somebody else holds it.
    Busy(B),
}

impl<B> Call<B> {
    /// A call whose lock was not asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self { guard: OnceLock::new(), busy: Mutex::new(None) }
    }

    /// How the acquisition ended.
    ///
    /// # Panics
    ///
    /// When the body is polled by anything but [`run`].
    pub fn start(&self) -> Start<'_, B> {
        if let Some(guard) = self.guard.get() {
            return Start::Held(guard);
        }
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner).take();
        Start::Busy(busy.expect("the body of a locked function is polled by `run` alone, after the lock was asked for"))
    }
}

impl<B> Default for Call<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// How a call ended.
#[derive(Debug)]
pub struct Outcome<R>(End<R>);

#[derive(Debug)]
enum End<R> {
    Done(R),
    /// The body ran to its end, but the lock was lost before that.
    Late(R, LockError),
    Failed(LockError),
}

impl<R> Outcome<R> {
    /// The body's value; where the lock failed, what `on_error` makes of it.
    pub fn or_else_with(self, on_error: impl FnOnce(LockError) -> R) -> R {
        match self.0 {
            End::Done(output) => output,
            End::Late(_, error) | End::Failed(error) => on_error(error),
        }
    }
}

/// Acquires the lock, runs the body under it, and gives it back.
///
/// `body` is a slot and not a future, so that the body can be dropped before the lock is given back, on every path.
pub async fn run<R, F, B>(request: Request, call: &Call<B>, body: Pin<&mut Option<F>>) -> Outcome<R>
where
    F: Future<Output = R>,
    B: BusyBranch,
{
    let mut slot = Slot(body);
    // Boxed: its state is not to be part of every future that calls a locked function. Beside a round trip, it is nothing.
    let guard = match Box::pin(request.lock.acquire()).await {
        Ok(guard) => call.guard.get_or_init(|| guard),
        Err(LockError::Busy(busy)) => match B::take(busy) {
            Ok(busy) => {
                *call.busy.lock().unwrap_or_else(PoisonError::into_inner) = Some(busy);
                return Outcome(End::Done(poll_fn(|cx| slot.poll(cx)).await));
            }
            Err(error) => return Outcome(End::Failed(error)),
        },
        Err(error) => return Outcome(End::Failed(error)),
    };
    let hold = guard.hold();
    let ended = Guarded::new(&mut slot, hold, request.on_lost).await;
    // Everything that the body owns goes before the lock does.
    slot.empty();
    let output = match ended {
        Ok(output) => output,
        Err(Stopped::Lost(cause)) => {
            // Harmless if it is not ours; needed if an earlier request of ours is still on its way.
            guard.give_back_later();
            return Outcome(End::Failed(hold.lost(cause)));
        }
        Err(Stopped::Unwatched(source)) => {
            guard.give_back_later();
            return Outcome(End::Failed(LockError::Unavailable { key: guard.key().clone(), source }));
        }
    };
    // What the lease was before the release, when the body had ended.
    let standing = match request.release {
        Release::Wait => {
            // The body's own result is never masked by the release: if the lease was good when it ended, it was done in time.
            // What went wrong has been told to `tracing`.
            let (standing, _) = guard.give_back().await;
            standing
        }
        Release::Background => {
            let standing = hold.standing();
            guard.give_back_later();
            standing
        }
    };
    match (standing, request.on_lost) {
        (Standing::Held { .. }, _) | (_, OnLost::Proceed) => Outcome(End::Done(output)),
        (Standing::Lost(cause), OnLost::Cancel) => {
            let error = LockError::Lost { key: guard.key().clone(), cause, completed: true };
            Outcome(End::Late(output, error))
        }
    }
}

/// The token of a lock that was asked for with one.
///
/// # Panics
///
/// When it was not: the expansion never does that.
#[must_use]
pub fn fence(guard: &LockGuard) -> i64 {
    guard
        .fence()
        .expect("`fence = …` asks for a token, and a lock is not given out without the one it was asked for with")
}

/// What is named by `keys = …`.
#[must_use]
pub fn keys<K: Into<LockKey>>(keys: impl IntoIterator<Item = K>) -> Keys {
    Keys::several(keys)
}

/// Calls `f`: a closure written in the attribute gets the type of its parameter from here.
pub fn call<A, R>(argument: A, f: impl FnOnce(A) -> R) -> R {
    f(argument)
}
