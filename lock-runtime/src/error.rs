//! What can go wrong, told apart: the lock is busy, the lock was lost, or nobody knows because the store did not answer.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::holder::Holder;
use crate::key::LockKey;
use crate::lease::LostCause;

/// Why a lock was not obtained, or not kept.
///
/// *Busy* (somebody else holds it), *lost* (it was ours) and *unavailable* (the store could not say) are never confused
/// with each other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds the lock, and held it for as long as the caller was willing to wait.
    Busy(Busy),
    /// The lock was ours, and is not any more. The body was dropped at its current `.await`, unless it had `completed`.
    #[non_exhaustive]
    Lost {
        /// The lock.
        key: LockKey,
        /// How it was lost.
        cause: LostCause,
        /// Whether the body had run to its end, but only after the lease was over: its effects are there, and were not
        /// protected to the end. `false` when it was dropped on the way.
        completed: bool,
    },
    /// An enclosing locked function on the same task holds this very lock: waiting would never end.
    #[non_exhaustive]
    AlreadyHeld {
        /// The lock.
        key: LockKey,
    },
    /// The store could not say whether the lock was obtained, extended or released. No body runs on a guess.
    #[non_exhaustive]
    Unavailable {
        /// The lock.
        key: LockKey,
        /// What the store answered, or that it did not.
        source: StoreError,
    },
    /// The key exists and is no lock: it has another type, or never expires. Waiting for it would never end.
    #[non_exhaustive]
    ForeignKey {
        /// The key.
        key: LockKey,
    },
    /// There is no [`LockManager`](crate::LockManager): none was named, none is in scope, and none was installed.
    #[non_exhaustive]
    NoManager {
        /// The lock.
        key: LockKey,
    },
    /// The call asked for something that cannot be: an empty key, a `ttl` of zero.
    #[non_exhaustive]
    Invalid {
        /// The lock.
        key: LockKey,
        /// What is wrong with the call, and what to write instead.
        reason: Cow<'static, str>,
    },
    /// A lock manager could not be made or installed.
    Setup(SetupError),
}

impl LockError {
    /// The lock that this is about; `None` for [`Setup`](LockError::Setup).
    #[must_use]
    pub fn key(&self) -> Option<&LockKey> {
        match self {
            Self::Busy(busy) => Some(&busy.key),
            Self::Lost { key, .. }
            | Self::AlreadyHeld { key }
            | Self::Unavailable { key, .. }
            | Self::ForeignKey { key }
            | Self::NoManager { key }
            | Self::Invalid { key, .. } => Some(key),
            Self::Setup(_) => None,
        }
    }

    /// The sort of failure in a word, without the key: for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Lost { .. } => "lost",
            Self::AlreadyHeld { .. } => "already held",
            Self::Unavailable { .. } => "unavailable",
            Self::ForeignKey { .. } => "foreign key",
            Self::NoManager { .. } => "no manager",
            Self::Invalid { .. } => "invalid",
            Self::Setup(_) => "setup",
        }
    }

    /// Whether somebody else holds the lock.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    /// Whether the lock was held and then lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Whether the store is in trouble that may pass without anybody changing anything.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { source, .. } if source.is_transient())
    }

    /// Whether the store could not answer.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(busy) => busy.fmt(f),
            Self::Lost { key, cause, completed: false } => {
                write!(f, "lock `{key}` was lost while the work was going on: {cause}")
            }
            Self::Lost { key, cause, completed: true } => write!(
                f,
                "lock `{key}` was lost before the work was done: {cause}; the work ran to its end, unprotected from \
                 then on"
            ),
            Self::AlreadyHeld { key } => write!(
                f,
                "lock `{key}` is already held by an enclosing function on this task; call the inner work without the \
                 lock, or lock another key"
            ),
            Self::Unavailable { key, source } => write!(f, "lock `{key}`: {source}"),
            Self::ForeignKey { key } => write!(
                f,
                "key `{key}` exists and is no lock: it has another type or never expires; choose another key, or find \
                 out who wrote it"
            ),
            Self::NoManager { key } => write!(
                f,
                "lock `{key}`: no lock manager; call `LockManager::connect(url).await?.install()?` once at start-up, \
                 run the call inside `manager.scope(…)`, or write `manager = …` in the attribute"
            ),
            Self::Invalid { key, reason } => write!(f, "lock `{key}`: {reason}"),
            Self::Setup(error) => error.fmt(f),
        }
    }
}

// The texts above contain what the store said, so `source` stays empty: a reporter that walks the chain would print it
// twice. Programs find it in the fields.
impl Error for LockError {}

/// Somebody else holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Busy {
    /// The lock.
    pub key: LockKey,
    /// Who holds it, if the store could tell.
    pub holder: Option<Holder>,
    /// How long the caller waited for it.
    pub waited: Duration,
    /// How long the holder's lease has still to run, if the store could tell: after that, asking again makes sense. The
    /// holder may release earlier, or extend.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock `{}` is busy", self.key)?;
        if let Some(holder) = &self.holder {
            write!(f, ": held by {holder}")?;
        }
        if let Some(left) = self.retry_after {
            write!(f, ", for another {left:.1?} at most")?;
        }
        if self.waited.is_zero() {
            write!(f, "; it was tried once: set `wait` to wait for it")
        } else {
            write!(f, "; gave up after {:.1?}", self.waited)
        }
    }
}

impl From<Busy> for LockError {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

/// Why a store did not do what it was asked to.
///
/// The text never contains a password, a URL or a token.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: Cow<'static, str>,
}

/// What sort of trouble a store is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No answer within the operation's deadline. The operation may have been done, or may still be.
    Timeout,
    /// The connection could not be made, or broke. The operation may have been done.
    Connection,
    /// The server refused for now: loading, read-only, out of memory, busy with a script. Asking again may help.
    Refused,
    /// The server refuses for good: wrong password, missing permission. Somebody has to change the configuration.
    Denied,
    /// The answer was not one that this store knows.
    Protocol,
    /// The call was made outside of a tokio runtime, or the runtime lacks timers or I/O.
    Runtime,
    /// The lock manager was shut down.
    ShutDown,
    /// So many calls of this process wait for the lock already that one more is [refused](crate::LockManagerBuilder::max_waiting).
    Overloaded,
}

impl StoreError {
    /// An error of the given kind; `detail` is what a person reads.
    #[must_use]
    pub fn new(kind: StoreErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What sort of trouble it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether asking again may help, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Timeout | StoreErrorKind::Connection | StoreErrorKind::Refused)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for StoreError {}

/// Why a [`LockManager`](crate::LockManager) could not be made or installed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// The address of the store cannot be understood. The text does not repeat it: it may hold a password.
    #[non_exhaustive]
    Address {
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// A certificate or a key for encrypted connections cannot be used.
    #[non_exhaustive]
    Tls {
        /// Which, and what is wrong with it.
        reason: String,
    },
    /// The store did not answer.
    #[non_exhaustive]
    Unreachable {
        /// What it answered instead, or that it did not.
        source: StoreError,
    },
    /// The [self-test](crate::LockManager::self_test) failed.
    #[non_exhaustive]
    SelfTest {
        /// Which commands and scripts failed and why; or that the store did not answer.
        source: StoreError,
    },
    /// A manager is installed already; there is one per process. Use [`scope`](crate::LockManager::scope) for another.
    AlreadyInstalled,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { reason } => write!(
                f,
                "the address of the lock store cannot be used: {reason}; write it as \
                 `redis://[user:password@]host[:port][/database]`"
            ),
            Self::Tls { reason } => write!(f, "the lock store cannot be connected to with TLS: {reason}"),
            Self::Unreachable { source } => write!(f, "the lock store cannot be reached: {source}"),
            Self::SelfTest { source } => write!(f, "the lock store failed the self-test: {source}"),
            Self::AlreadyInstalled => f.write_str(
                "a lock manager is installed already: install once at start-up, and use `manager.scope(…)` or \
                 `manager = …` for another",
            ),
        }
    }
}

impl Error for SetupError {}

impl From<SetupError> for LockError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}
