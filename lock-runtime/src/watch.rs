//! Watching a lock from elsewhere: from work that its holder has spawned.

use std::fmt;
use std::sync::Arc;

use crate::hold::Hold;
use crate::key::LockKey;
use crate::lease::{LostCause, Standing};

/// A view of a held lock for work that runs beside its holder: a spawned task is not stopped when the lock is lost, and has
/// to look by itself. Made by [`LockGuard::watch`](crate::LockGuard::watch). It keeps nothing held.
///
/// ```
/// use std::time::Duration;
/// use lock_runtime::{LockError, LockManager, LostCause};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LockError> {
/// let manager = LockManager::in_memory();
/// let guard = manager.lock("report").ttl(Duration::from_secs(5)).acquire().await?;
/// let watch = guard.watch();
/// let part = tokio::spawn(async move {
///     while watch.is_held() {
///         // … one piece of the work …
/// #       tokio::task::yield_now().await;
///     }
///     watch.lost().await
/// });
/// guard.release().await?;
/// assert_eq!(part.await.expect("no panic"), LostCause::Released);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LockWatch(Arc<Hold>);

impl LockWatch {
    pub(crate) fn new(hold: Arc<Hold>) -> Self {
        Self(hold)
    }

    /// The key, as the store sees it.
    #[must_use]
    pub fn key(&self) -> &LockKey {
        self.0.key()
    }

    /// Whether the lock is held: neither lost nor given back. Local: nothing is sent.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.0.standing(), Standing::Held { .. })
    }

    /// Resolves when the lock is not held any more, and says why.
    ///
    /// # Panics
    ///
    /// On a runtime without timers.
    ///
    /// # Cancellation
    ///
    /// Safe to drop.
    pub async fn lost(&self) -> LostCause {
        self.0.ended().await
    }
}

impl fmt::Debug for LockWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockWatch").field("key", self.key()).field("held", &self.is_held()).finish()
    }
}
