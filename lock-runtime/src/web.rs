//! Lock failures as answers of a web service, and managers for its handlers. With the feature `axum`, or `actix-web`, or both.
//!
//! # The answers
//!
//! | [`LockError`] | status | `Retry-After` | what a client can do |
//! |---|---|---|---|
//! | `Busy` | 423 Locked | the time that the holder's lease has left, in whole seconds; 1 if unknown | ask again |
//! | `Unavailable`, `Setup(Unreachable)` | 503 Service Unavailable | none: nobody knows | ask again later |
//! | `Lost` | 500 Internal Server Error | none | look first: the work was begun |
//! | all others | 500 Internal Server Error | none | nothing: a mistake of the service |
//!
//! `Lost` is not 503, although the store may be to blame: proxies and clients repeat what ended in 503 without asking, and this
//! work was begun. `Invalid` is not 400: it cannot be told from here whether the caller or the program made the key too long, so
//! check first what a caller may write into a key.
//!
//! The body is a problem as in [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457), of type `application/problem+json`:
//!
//! ```json
//! {"type":"about:blank","title":"Locked","status":423,"detail":"Somebody else is working on this. …"}
//! ```
//!
//! It is the same text for every failure of its sort. No key, no holder, no address and no token is in it: those are for the
//! operator, and `LockError`'s own text names them. So answer with the error, and not with its text.
//!
//! # The manager
//!
//! [`LockManager::layer`] runs every request in the [`scope`](LockManager::scope) of a manager, so that the handlers find it
//! without an [`install`](LockManager::install): several services of one process, or several tests, each have their own.
#![cfg_attr(feature = "axum", doc = include_str!("web/axum.md"))]
#![cfg_attr(feature = "actix-web", doc = include_str!("web/actix.md"))]

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::error::{LockError, SetupError};
use crate::manager::LockManager;

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;

/// What a client is told, the same for every framework.
struct Answer {
    problem: &'static Problem,
    /// In seconds, as HTTP wants it.
    retry_after: Option<u64>,
}

impl Answer {
    const CONTENT_TYPE: &'static str = "application/problem+json";

    fn to(error: &LockError) -> Self {
        let (problem, retry_after) = match error {
            LockError::Busy(busy) => (&BUSY, Some(seconds(busy.retry_after))),
            // The store has not said when it is back.
            LockError::Unavailable { .. }
            | LockError::Setup(SetupError::Unreachable { .. } | SetupError::SelfTest { .. }) => (&UNAVAILABLE, None),
            LockError::Lost { .. } => (&INTERRUPTED, None),
            LockError::AlreadyHeld { .. }
            | LockError::ForeignKey { .. }
            | LockError::NoManager { .. }
            | LockError::Invalid { .. }
            | LockError::Setup(SetupError::Address { .. } | SetupError::Tls { .. } | SetupError::AlreadyInstalled) => {
                (&MISTAKE, None)
            }
        };
        Self { problem, retry_after }
    }
}

/// Rounded up: a client that comes back too early comes back twice.
fn seconds(left: Option<Duration>) -> u64 {
    let left = left.unwrap_or_default();
    left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)).max(1)
}

/// A problem of RFC 9457. Its type is `about:blank`: it says no more than the status does, and the title is the status's own.
struct Problem {
    status: u16,
    json: &'static str,
}

macro_rules! problem {
    ($status:literal, $title:literal, $detail:literal) => {
        Problem {
            status: $status,
            json: concat!(
                r#"{"type":"about:blank","title":""#,
                $title,
                r#"","status":"#,
                $status,
                r#","detail":""#,
                $detail,
                r#""}"#
            ),
        }
    };
}

static BUSY: Problem = problem!(
    423,
    "Locked",
    "Somebody else is working on this. Send the request again after the time given in Retry-After."
);

static UNAVAILABLE: Problem = problem!(
    503,
    "Service Unavailable",
    "The service cannot make sure at the moment that nobody else is working on this. Try again later."
);

static INTERRUPTED: Problem = problem!(
    500,
    "Internal Server Error",
    "The work on this request was interrupted after it had begun, and some or all of it may have taken effect. Check that \
     before you send the request again."
);

static MISTAKE: Problem = problem!(
    500,
    "Internal Server Error",
    "The service cannot handle this request because of a mistake of its own. Sending it again will not help: tell those who \
     run the service."
);

/// Runs every request in the scope of a manager: what [`LockManager::layer`] returns.
///
/// A `tower::Layer` with the feature `axum`, an `actix_web::dev::Transform` with the feature `actix-web`.
#[derive(Clone, Debug)]
pub struct LockLayer {
    manager: LockManager,
}

impl LockLayer {
    fn around<S>(&self, service: S) -> LockService<S> {
        LockService { service, manager: self.manager.clone() }
    }
}

impl LockManager {
    /// A layer for a web service, in which every request runs in the [`scope`](LockManager::scope) of this manager. Handlers
    /// under the attribute then need neither `manager = …` nor [`install`](LockManager::install). Where layers are nested, the
    /// inner one decides.
    ///
    /// The scope ends when the handler has returned its response. It reaches neither what produces a streaming body after that,
    /// nor tasks that the handler spawns: take [`LockManager::current`] along, and name it there.
    ///
    /// See the module [`web`](crate::web) for examples.
    #[must_use]
    pub fn layer(&self) -> LockLayer {
        LockLayer { manager: self.clone() }
    }
}

/// A service whose requests run in the scope of a manager. [`LockLayer`] makes it.
#[derive(Clone, Debug)]
pub struct LockService<S> {
    service: S,
    manager: LockManager,
}

pin_project! {
    /// The future of a [`LockService`].
    pub struct LockFuture<F> {
        // Empty only while this is dropped.
        #[pin]
        future: Option<F>,
        manager: LockManager,
    }

    impl<F> PinnedDrop for LockFuture<F> {
        // Destructors find the manager that the code before them has found.
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            within(this.manager, || this.future.set(None));
        }
    }
}

impl<F> LockFuture<F> {
    /// What a service does when it is called belongs into the scope too, and not only the future that it returns.
    fn new(manager: &LockManager, call: impl FnOnce() -> F) -> Self {
        Self { future: Some(within(manager, call)), manager: manager.clone() }
    }
}

impl<F: Future> Future for LockFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.as_pin_mut() {
            Some(future) => within(this.manager, || future.poll(cx)),
            None => Poll::Pending,
        }
    }
}

impl<F> fmt::Debug for LockFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFuture").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// Calls `f` in the scope of `manager`. (The future of a scope has no name that could be a field's type.)
fn within<T>(manager: &LockManager, f: impl FnOnce() -> T) -> T {
    match pin!(manager.scope(async { f() })).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("there is no await in it"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::{Busy, StoreError, StoreErrorKind};
    use crate::key::LockKey;
    use crate::lease::LostCause;

    fn busy(retry_after: Option<Duration>) -> LockError {
        let key = LockKey::from("key");
        LockError::Busy(Busy { key, holder: None, waited: Duration::ZERO, retry_after })
    }

    /// Promise: whoever comes back when told to comes neither too early nor at once.
    ///
    /// Turned red by: `as_secs` alone.
    #[test]
    fn seconds_are_rounded_up() {
        let retry_after = |milliseconds| Answer::to(&busy(Some(Duration::from_millis(milliseconds)))).retry_after;
        assert_eq!(retry_after(0), Some(1));
        assert_eq!(retry_after(1), Some(1));
        assert_eq!(retry_after(1000), Some(1));
        assert_eq!(retry_after(1001), Some(2));
        assert_eq!(retry_after(29_999), Some(30));
        assert_eq!(Answer::to(&busy(Some(Duration::from_nanos(2_000_000_001)))).retry_after, Some(3));
        assert_eq!(Answer::to(&busy(Some(Duration::MAX))).retry_after, Some(u64::MAX));
        assert_eq!(Answer::to(&busy(None)).retry_after, Some(1));
    }

    /// Promise: each sort of failure has its status, and only busy says when to come back.
    ///
    /// Turned red by: any other status in `Answer::to`.
    #[test]
    fn every_failure_has_its_status() {
        let key = LockKey::from("key");
        let source = StoreError::new(StoreErrorKind::Connection, "no connection");
        let unreachable = SetupError::Unreachable { source: source.clone() };
        let failures = [
            (503, LockError::Unavailable { key: key.clone(), source }),
            (503, LockError::Setup(unreachable)),
            (500, LockError::Lost { key: key.clone(), cause: LostCause::Gone, completed: false }),
            (500, LockError::Lost { key: key.clone(), cause: LostCause::Expired, completed: true }),
            (500, LockError::AlreadyHeld { key: key.clone() }),
            (500, LockError::ForeignKey { key: key.clone() }),
            (500, LockError::NoManager { key: key.clone() }),
            (500, LockError::Invalid { key, reason: "too long".into() }),
            (500, LockError::Setup(SetupError::AlreadyInstalled)),
        ];
        assert_eq!(Answer::to(&busy(None)).problem.status, 423);
        for (status, error) in failures {
            let answer = Answer::to(&error);
            assert_eq!((answer.problem.status, answer.retry_after), (status, None), "{error}");
        }
    }

    /// Which manager is found at the call, at every poll, and when the future is dropped.
    struct Witness {
        expected: LockManager,
        drops: Arc<std::sync::Mutex<Vec<bool>>>,
    }

    impl Witness {
        fn sees(&self) -> bool {
            LockManager::current().is_some_and(|found| Arc::ptr_eq(found.shared(), self.expected.shared()))
        }
    }

    impl Future for Witness {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            assert!(self.sees(), "polled outside of the scope");
            Poll::Pending
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.drops.lock().expect("no panic").push(self.sees());
        }
    }

    /// Promise: the manager is found from the call of the service to the last destructor of its future, and not after that.
    ///
    /// Turned red by: calling the service outside of `within`; leaving out the `PinnedDrop`.
    #[test]
    fn the_scope_is_there_from_the_call_to_the_drop() {
        let (outer, inner) = (LockManager::in_memory(), LockManager::in_memory());
        let drops = Arc::default();
        within(&outer, || {
            let mut future = Box::pin(LockFuture::new(&inner, || {
                let witness = Witness { expected: inner.clone(), drops: Arc::clone(&drops) };
                assert!(witness.sees(), "called outside of the scope");
                witness
            }));
            for _ in 0..2 {
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            drop(future);
            let found = LockManager::current().expect("the outer one");
            assert!(Arc::ptr_eq(found.shared(), outer.shared()));
        });
        assert_eq!(*drops.lock().expect("no panic"), [true]);
        assert!(LockManager::current().is_none());
    }
}
