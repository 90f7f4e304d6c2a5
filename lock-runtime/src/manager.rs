//! The lock manager: one store, the lines before its keys, and how a call finds it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::handover::take_back_late_offers;
use crate::holder::Token;
use crate::keeper::{Background, Keeper};
use crate::key::LockKey;
use crate::keys::Keys;
use crate::lease::Event;
use crate::outstanding::Outstanding;
use crate::queue::Queue;
use crate::request::LockRequest;
use crate::store::memory::MemoryStore;
use crate::store::{Done, Store};
use crate::{telemetry, timer};

/// The manager of the whole process.
static INSTALLED: OnceLock<LockManager> = OnceLock::new();

tokio::task_local! {
    /// The manager of the current task.
    pub(crate) static SCOPED: LockManager;
}

/// Where locks are asked for: a store, and the lines of this process before its keys.
///
/// A cheap clone of a handle: all clones are one manager. The attribute uses the one that it is given by `manager = …`,
/// else the one of the task's [`scope`](LockManager::scope), else the one that is [installed](LockManager::install).
///
/// ```
/// use std::time::Duration;
/// use lock_runtime::{LockError, LockManager};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LockError> {
/// let manager = LockManager::in_memory();
/// let guard = manager.lock("order:42").ttl(Duration::from_secs(5)).acquire().await?;
/// // … work on order 42 …
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LockManager {
    shared: Arc<Shared>,
}

/// What all clones of a manager, and the guards that it gave out, have in common.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) guards: Outstanding,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) figures: telemetry::Figures,
    /// Whether `shutdown` was called: `closed`, for a look that costs nothing.
    is_closed: AtomicBool,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) key_prefix: Box<str>,
    /// Whether leases go from one holder of this process to the next; `None` where the store keeps a line.
    pub(crate) hand_over: Option<bool>,
    /// How many calls may wait for one key.
    pub(crate) max_waiting: usize,
    shutdown_grace: Duration,
}

impl Shared {
    /// Leases are on offer: takes back those which nobody accepts.
    pub(crate) fn watch_offers(&self) {
        let late_offers = take_back_late_offers(Arc::downgrade(&self.queue), self.store.clone());
        if self.keeper.run(Box::pin(late_offers)).is_err() {
            self.queue.take_back_all();
        }
    }

    /// The error of every acquisition after `shutdown`.
    pub(crate) fn closed_error() -> StoreError {
        StoreError::new(StoreErrorKind::ShutDown, "the lock manager was shut down and gives out no locks any more")
    }

    /// Whether leases go from one holder of this process to the next.
    pub(crate) fn hands_over(&self) -> bool {
        // What lines take may turn out to be missing.
        self.hand_over.unwrap_or_else(|| self.store.keeps_line())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Resolves when `shutdown` is called.
    pub(crate) async fn closing(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl LockManager {
    /// A manager of locks in the memory of this process: for tests, and for programs of one process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::builder(MemoryStore::new()).build()
    }

    /// A manager of locks on the Redis server at `redis://[user:password@]host[:port][/database]` (or one of the other forms
    /// that [`RedisStore::open`](crate::store::redis::RedisStore::open) reads), which is asked for a sign of life first, and then whether it may evict locks: if so, that is a warning in the log (`lock.eviction`), and not
    /// an error. [`self_test`](LockManager::self_test) looks at everything else that can be wrong with it.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when the URL cannot be understood, [`SetupError::Unreachable`] when the server does not
    /// answer within two seconds (one for the connection, one for the answer), or refuses us. (It is asked then whether it evicts
    /// locks, which may take a second more and fails nothing.) To start without the server, use
    /// [`connect_lazy`](LockManager::connect_lazy).
    ///
    /// # Cancellation
    ///
    /// Safe to drop.
    #[cfg(feature = "redis")]
    pub async fn connect(url: &str) -> Result<Self, SetupError> {
        let store = crate::store::redis::RedisStore::open(url)?;
        store.ping().await?;
        store.warn_of_eviction().await;
        Ok(Self::builder(store).build())
    }

    /// A manager of locks on the Redis server at `redis://[user:password@]host[:port][/database]`, which is connected to
    /// when the first lock is asked for. Synchronous, so that it can initialise a `static`.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when the URL cannot be understood.
    #[cfg(feature = "redis")]
    pub fn connect_lazy(url: &str) -> Result<Self, SetupError> {
        Ok(Self::builder(crate::store::redis::RedisStore::open(url)?).build())
    }

    /// A manager of locks on a majority of the independent Redis servers at `urls`:
    /// [`Redlock`](crate::store::redlock::Redlock), which says what is different there. All servers are asked for a sign of life
    /// first, of which a majority has to give one, and who they are: with one that is listed twice, or one of a cluster, they are
    /// not independent. (A user without permission for `INFO` is not told.)
    ///
    /// ```no_run
    /// # async fn connect() -> Result<(), lock_runtime::SetupError> {
    /// use lock_runtime::LockManager;
    ///
    /// let locks = LockManager::redlock(["redis://a.example", "redis://b.example", "redis://c.example"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when a URL cannot be understood, there is none, or two are not independent;
    /// [`SetupError::Unreachable`] when no majority answers within two seconds, with what each of the others said.
    ///
    /// # Cancellation
    ///
    /// Safe to drop.
    #[cfg(all(feature = "redis", feature = "redlock"))]
    pub async fn redlock(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, SetupError> {
        Ok(Self::builder(crate::store::redlock::servers::connect(urls).await?).build())
    }

    /// Builds a manager of locks in `store`, where the defaults do not fit.
    pub fn builder(store: impl Store) -> LockManagerBuilder {
        LockManagerBuilder {
            store: Arc::new(store),
            key_prefix: Box::default(),
            shutdown_grace: Duration::from_secs(5),
            max_stall: Duration::from_secs(60),
            hand_over: None,
            max_waiting: 10_000,
        }
    }

    /// Asks for the lock `key`; the builder that is returned ends in [`acquire`](LockRequest::acquire).
    pub fn lock(&self, key: impl Into<LockKey>) -> LockRequest<()> {
        LockRequest::new(Some(self.clone()), Keys::One(key.into()))
    }

    /// Asks for all of `keys` as one lock: all of them, or none. In any order, and named twice is named once; at least one, and
    /// at most 1000. The builder is that of [`lock`](LockManager::lock), and everything that it has is for all of the keys.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lock_runtime::{LockError, LockManager, key};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), LockError> {
    /// # let manager = LockManager::in_memory();
    /// let (from, to) = (7, 3);
    /// let accounts = [key!("account:{from}"), key!("account:{to}")];
    /// let guard = manager.lock_many(accounts).ttl(Duration::from_secs(5)).wait(Duration::from_secs(2)).acquire().await?;
    /// assert_eq!(guard.keys().len(), 2);
    /// // … move the money …
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// One script takes all of them in one step, so nothing is held while something else is waited for: two callers who name the
    /// same keys in opposite orders cannot block each other. [`Busy`](crate::Busy) names the key that was found held.
    ///
    /// **A wait is not first in, first out.** Whoever waits for several keys stands in no line, since it would hold up all that
    /// come behind it in one line while it waits in another. It asks every now and then, with jitter, and whenever one of the
    /// keys is given back in this process. While a line of others wants one of the keys, it may be passed over again and again.
    ///
    /// A lock of which one key is lost is [lost](crate::LockError::Lost), and the other keys are given back.
    pub fn lock_many<K: Into<LockKey>>(&self, keys: impl IntoIterator<Item = K>) -> LockRequest<()> {
        LockRequest::new(Some(self.clone()), Keys::several(keys))
    }

    /// Makes this the manager of the whole process, for all calls that neither name one nor run in a
    /// [`scope`](LockManager::scope). Once, at start-up; not in tests, which share the process.
    ///
    /// # Errors
    ///
    /// [`SetupError::AlreadyInstalled`] when there is one.
    pub fn install(&self) -> Result<(), SetupError> {
        INSTALLED.set(self.clone()).map_err(|_| SetupError::AlreadyInstalled)
    }

    /// Runs `future` with this as the manager of its task. Tasks spawned inside do not inherit it.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        SCOPED.scope(self.clone(), future)
    }

    /// The manager that a call uses which names none: the task's, else the installed one.
    #[must_use]
    pub fn current() -> Option<Self> {
        SCOPED.try_with(Self::clone).ok().or_else(|| INSTALLED.get().cloned())
    }

    /// Ends the work with locks: refuses new ones from here on, and calls that wait get
    /// [`LockError::Unavailable`](crate::LockError::Unavailable). What holds a lock may finish within the grace period (see
    /// [`shutdown_grace`](LockManagerBuilder::shutdown_grace)); after it, bodies under the attribute are dropped at their
    /// current `.await` with [`LockError::Lost`](crate::LockError::Lost), and all locks are given back. Returns when the
    /// store has answered; with a store that does not, after two grace periods and a second.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the manager closed, and gives back nothing by force.
    pub async fn shutdown(&self) {
        let Shared { store, queue, guards, keeper, is_closed, closed, shutdown_grace, .. } = &*self.shared;
        is_closed.store(true, Ordering::Release);
        closed.send_replace(true);
        queue.close();
        if !within(*shutdown_grace, guards.none()).await {
            let holds = queue.holds();
            for hold in &holds {
                hold.on(Event::ShutDown);
            }
            // Bodies drop themselves when they are polled next, and give their locks back. What is not polled, and what is
            // held by hand, has it taken.
            if !within(Duration::from_secs(1).min(*shutdown_grace), guards.none()).await {
                for hold in holds {
                    store.abandon(hold.claim_to_leave(), Done::nothing());
                }
            }
        }
        within(*shutdown_grace, store.drain()).await;
        keeper.stop();
    }

    /// Tries everything that locks take, on a key of its own behind the [`key_prefix`](LockManagerBuilder::key_prefix): on Redis
    /// every command and every script, so that a permission which the user lacks shows when the program starts, and not in a
    /// rare branch of a script. Nothing is left behind but, where even that is forbidden, the key for five seconds.
    ///
    /// # Errors
    ///
    /// [`SetupError::SelfTest`] names everything that failed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future may leave the key for five seconds.
    pub async fn self_test(&self) -> Result<(), SetupError> {
        let Shared { store, key_prefix, .. } = &*self.shared;
        // A name of its own: instances that start together are not to meet on it.
        let probe = LockKey::from(format!("lock-runtime:self-test:{}", Token::fresh().as_str())).prefixed(key_prefix);
        store.self_test(&probe).await.map_err(|source| SetupError::SelfTest { source })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Whether `future` was done within `limit`. Without timers there is no limit to wait for: not done.
async fn within(limit: Duration, future: impl Future<Output = ()>) -> bool {
    match timer::timeout(limit, future) {
        Ok(future) => future.await.is_ok(),
        Err(_) => false,
    }
}

impl AsRef<LockManager> for LockManager {
    fn as_ref(&self) -> &LockManager {
        self
    }
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockManager").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Builds a [`LockManager`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LockManagerBuilder {
    store: Arc<dyn Store>,
    key_prefix: Box<str>,
    shutdown_grace: Duration,
    max_stall: Duration,
    hand_over: Option<bool>,
    max_waiting: usize,
}

impl LockManagerBuilder {
    /// Puts `prefix` before every key: to give several applications on one server a space of their own. None unless told.
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// How long [`shutdown`](LockManager::shutdown) lets the work under locks go on; 5 s unless told.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// How long a body under the attribute may go without being polled until its lock is not renewed any more: a future that
    /// was put aside and forgotten is not to hold a lock for ever. At least ten times the lock's TTL; 60 s unless told. (A body
    /// that waits for something is woken before that.)
    pub fn max_stall(mut self, limit: Duration) -> Self {
        self.max_stall = limit;
        self
    }

    /// Whether a lock that is given back while another caller of this process waits for it goes to that one directly, without
    /// the store: up to 1,024 times, or for 5 ms, in a row. It is, unless told, where the store [keeps a
    /// line](Store::keeps_line), in which other processes have their turn after that. Where it does not, they would have to find
    /// the short moment between one such row and the next: switch it on for locks that only one process wants, or does most of the
    /// time.
    ///
    /// Only where nobody can tell the difference: not for a lock that was asked for with a
    /// [`min_hold`](crate::LockRequest::min_hold), a [token](crate::LockRequest::token) or metadata of its own, and only while
    /// about a whole lease is left. Fencing tokens for those who wait are taken together with the lock. Locks in memory are given back as fast as they are handed
    /// over, and never are.
    pub fn hand_over(mut self, on: bool) -> Self {
        self.hand_over = Some(on);
        self
    }

    /// How many calls of this process may wait for one lock; 10,000 unless told. One more is
    /// [`LockError::Unavailable`](crate::LockError::Unavailable) at once, with
    /// [`StoreErrorKind::Overloaded`](crate::StoreErrorKind::Overloaded): a lock that is asked for faster than it is given back is
    /// not to fill the memory.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// The manager.
    #[must_use]
    pub fn build(self) -> LockManager {
        let keeper = Keeper::new(self.max_stall);
        self.store.attach(&Background::new(keeper.clone()));
        // Locks in memory are given back as fast as they are handed over.
        let hand_over = if self.store.is_remote() { self.hand_over } else { Some(false) };
        LockManager {
            shared: Arc::new(Shared {
                hand_over,
                max_waiting: self.max_waiting,
                store: self.store,
                queue: Arc::default(),
                guards: Outstanding::default(),
                keeper,
                figures: telemetry::Figures::default(),
                is_closed: AtomicBool::new(false),
                closed: watch::Sender::new(false),
                key_prefix: self.key_prefix,
                shutdown_grace: self.shutdown_grace,
            }),
        }
    }
}
