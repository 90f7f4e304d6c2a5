//! Looking at locks without touching them: who holds a key, and what this process holds and waits for.

use std::sync::Arc;
use std::time::Duration;

use crate::error::LockError;
use crate::holder::{self, Holder};
use crate::key::LockKey;
use crate::keys::Keys;
use crate::lease::{LostCause, Standing};
use crate::manager::{LockManager, Shared};
use crate::store::Reading;

/// Who holds a key, and who waits for it: what [`LockManager::inspect`] found. It was true when the store answered.
///
/// The token is no part of it: whoever knows that can release the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The key, as the store sees it.
    pub key: LockKey,
    /// What is under it.
    pub kind: LockKind,
    /// Who holds it, as far as the stored value tells.
    pub holder: Holder,
    /// How long the store will keep it; `None`: for ever, which no lock is.
    pub remaining: Option<Duration>,
    /// How many processes stand in the store's line for it, this one included. One that died stands there until its turn comes.
    /// `None`: the store cannot tell, or its user may not ask.
    pub in_line: Option<u64>,
    /// How many calls wait for it in this process, through this manager.
    pub waiting_here: usize,
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockKind {
    /// A lock, held through this library.
    Held,
    /// A lock that was given back, and is kept until its [`min_hold`](crate::LockRequest::min_hold) is over.
    Kept,
    /// A lock that another program holds, by the form of its value; or one of ours that was taken without metadata.
    OtherClient,
    /// Something that is no lock: it never expires, or is of another type. Asking for the lock is
    /// [`LockError::ForeignKey`].
    NoLock,
}

/// A lock that this process holds or waits for: one of [`LockManager::locks`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalLock {
    /// Its keys, as the store sees them: one, unless several were asked for.
    pub keys: Arc<[LockKey]>,
    /// What the call is called in [logs](crate::telemetry).
    pub label: &'static str,
    /// Whether it is held.
    pub state: LocalState,
    /// For how long it has been held, or waited for.
    pub elapsed: Duration,
    /// How long it may still be believed in; zero when it is lost, and `None` while it is waited for.
    pub remaining: Option<Duration>,
    /// The fencing token, if it was asked for one.
    pub fence: Option<i64>,
}

/// What a [`LocalLock`] is to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalState {
    /// A call waits for it.
    Waiting,
    /// It is held.
    Holding,
    /// It was lost, and its guard, or a body with `on_lost = "proceed"`, is still there.
    Lost,
}

impl LockManager {
    /// Looks who holds `key`, for how long still, and how many wait for it; `None`: nobody holds it. One request, which changes
    /// nothing. For people and dashboards: by the time that a program acts on it, it may be otherwise.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lock_runtime::{LockError, LockKind, LockManager};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), LockError> {
    /// # let manager = LockManager::in_memory();
    /// assert_eq!(manager.inspect("order:42").await?, None);
    /// let guard = manager.lock("order:42").ttl(Duration::from_secs(5)).metadata("web-1").acquire().await?;
    /// let info = manager.inspect("order:42").await?.expect("somebody holds it");
    /// assert_eq!(info.kind, LockKind::Held);
    /// assert_eq!(info.holder.to_string(), "this process (web-1)");
    /// # guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::Unavailable`] when the store cannot say; one that cannot be looked into says that. [`LockError::Invalid`] for
    /// what cannot be a key.
    ///
    /// # Cancellation
    ///
    /// Safe to drop; nothing is changed.
    pub async fn inspect(&self, key: impl Into<LockKey>) -> Result<Option<LockInfo>, LockError> {
        let Shared { store, queue, key_prefix, .. } = &**self.shared();
        let keys = Keys::One(key.into()).prefixed(key_prefix);
        if let Some((key, flaw)) = keys.flaw() {
            return Err(LockError::Invalid { key, reason: flaw.into() });
        }
        let key = keys.first();
        let reading = store.inspect(&key).await;
        let Some(reading) = reading.map_err(|source| LockError::Unavailable { key: key.clone(), source })? else {
            return Ok(None);
        };
        let spot = queue.spot(key.clone());
        let local = queue.token_here(&spot);
        let holder = Holder::read(reading.value.as_deref().unwrap_or_default(), local.as_ref());
        let kind = LockKind::of(&reading, &holder);
        let Reading { remaining, in_line, .. } = reading;
        Ok(Some(LockInfo { key, kind, holder, remaining, in_line, waiting_here: queue.waiting_here(&spot) }))
    }

    /// What this process holds and waits for, through this manager, in the order of the keys. Calls that try once are
    /// not among those that wait. Local: nothing is sent.
    ///
    /// Each lock was like that when it was looked at; one that is just being won may be there twice, or not at all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lock_runtime::{LocalState, LockError, LockManager};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), LockError> {
    /// # let manager = LockManager::in_memory();
    /// let guard = manager.lock("order:42").name("settle").ttl(Duration::from_secs(5)).acquire().await?;
    /// let [lock] = &manager.locks()[..] else { panic!("one lock") };
    /// assert_eq!((lock.label, lock.state), ("settle", LocalState::Holding));
    /// guard.release().await?;
    /// assert!(manager.locks().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn locks(&self) -> Vec<LocalLock> {
        let Shared { store, queue, .. } = &**self.shared();
        let now = store.now();
        let holds = queue.holds().into_iter().filter_map(|hold| {
            let state = match hold.standing() {
                Standing::Held { .. } => LocalState::Holding,
                // Its holder has done with it.
                Standing::Lost(LostCause::Released) => return None,
                Standing::Lost(_) => LocalState::Lost,
            };
            let claim = hold.claim();
            Some(LocalLock {
                keys: claim.keys.clone(),
                label: claim.label,
                state,
                elapsed: now.since(hold.since()),
                remaining: Some(hold.remaining()),
                fence: hold.fence(),
            })
        });
        let in_lines = queue.callers().into_iter().map(|(key, caller)| (Arc::from([key]), caller));
        let waits = in_lines.chain(queue.watchers.callers()).map(|(keys, caller)| LocalLock {
            keys,
            label: caller.label,
            state: LocalState::Waiting,
            elapsed: now.since(caller.since),
            remaining: None,
            fence: None,
        });
        let mut locks: Vec<_> = holds.chain(waits).collect();
        // Holders first, and those who wait in the order in which they came.
        locks.sort_by(|a, b| {
            let order = |lock: &LocalLock| (lock.state == LocalState::Waiting, std::cmp::Reverse(lock.elapsed));
            a.keys.cmp(&b.keys).then_with(|| order(a).cmp(&order(b)))
        });
        locks
    }
}

impl LockKind {
    fn of(reading: &Reading, holder: &Holder) -> Self {
        match reading {
            Reading { value: Some(value), remaining: Some(_), .. } => {
                if holder::is_kept(value) {
                    Self::Kept
                } else if holder.this_process || holder::is_ours(value) {
                    Self::Held
                } else {
                    Self::OtherClient
                }
            }
            _ => Self::NoLock,
        }
    }
}
