//! Other libraries, each used as its README says.

use std::fmt;
use std::sync::Arc;

use distkit::DistkitRedisKey;
use distkit::lock::{LockOptions, Mutex};
use redis::aio::ConnectionManager;

use crate::contender::{Contender, Pair, TTL};

/// rslock: `manager.acquire(key, ttl)`, then `guard.release()`.
#[derive(Debug)]
pub struct Rslock(rslock::LockManager);

impl Rslock {
    /// A Redlock of one server. It connects when the first lock is taken.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self::over(vec![url.to_owned()])
    }

    /// A Redlock of several.
    #[must_use]
    pub fn over(urls: Vec<String>) -> Self {
        Self(rslock::LockManager::new(urls))
    }
}

impl Contender for Rslock {
    type Pair = RslockPair;

    fn name(&self) -> &'static str {
        "rslock"
    }

    fn task(&self, number: u32) -> RslockPair {
        RslockPair { manager: self.0.clone(), key: format!("rslock:{number}") }
    }
}

/// See [`Rslock`].
#[derive(Debug)]
pub struct RslockPair {
    manager: rslock::LockManager,
    key: String,
}

impl Pair for RslockPair {
    async fn once(&mut self) {
        let guard = self.manager.acquire(&*self.key, TTL).await.expect("a free lock");
        guard.release().await;
    }
}

/// async-redis-lock: `locker.acquire(key)`, then `lock.release()`.
pub struct AsyncRedisLock(async_redis_lock::Locker);

impl AsyncRedisLock {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The library's.
    pub async fn connect(url: &str) -> async_redis_lock::Result<Self> {
        Ok(Self(async_redis_lock::Locker::from_redis_url(url).await?))
    }
}

impl fmt::Debug for AsyncRedisLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisLock").finish_non_exhaustive()
    }
}

impl Contender for AsyncRedisLock {
    type Pair = AsyncRedisLockPair;

    fn name(&self) -> &'static str {
        "async-redis-lock"
    }

    fn task(&self, number: u32) -> AsyncRedisLockPair {
        AsyncRedisLockPair { locker: self.0.clone(), key: format!("async-redis-lock:{number}") }
    }
}

/// See [`AsyncRedisLock`].
pub struct AsyncRedisLockPair {
    locker: async_redis_lock::Locker,
    key: String,
}

impl Pair for AsyncRedisLockPair {
    async fn once(&mut self) {
        let lock = self.locker.acquire(self.key.as_str()).await.expect("a free lock");
        lock.release().await.expect("a lock of our own");
    }
}

impl fmt::Debug for AsyncRedisLockPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisLockPair").field("key", &self.key).finish_non_exhaustive()
    }
}

/// distkit: `mutex.lock()`, then `guard.release()`; the mutex is made once for each key.
///
/// Before its first try, `lock` waits for the tick of a timer that counts in milliseconds. So there is [`DistkitOnce`] too.
#[derive(Clone)]
pub struct Distkit(ConnectionManager);

impl Distkit {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The client's.
    pub async fn connect(url: &str) -> redis::RedisResult<Self> {
        Ok(Self(redis::Client::open(url)?.get_connection_manager().await?))
    }

    fn mutex(&self, key: String) -> Arc<Mutex> {
        let key = DistkitRedisKey::try_from(key).expect("a good key");
        Mutex::new(LockOptions::builder(key, self.0.clone()).ttl(TTL).build())
    }
}

impl fmt::Debug for Distkit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distkit").finish_non_exhaustive()
    }
}

impl Contender for Distkit {
    type Pair = DistkitPair;

    fn name(&self) -> &'static str {
        "distkit"
    }

    fn task(&self, number: u32) -> DistkitPair {
        DistkitPair(self.mutex(format!("distkit-{number}")))
    }
}

/// See [`Distkit`].
#[derive(Debug)]
pub struct DistkitPair(Arc<Mutex>);

impl Pair for DistkitPair {
    async fn once(&mut self) {
        let guard = self.0.lock().await.expect("a free lock");
        guard.release().await.expect("a lock of our own");
    }
}

/// distkit: `mutex.try_lock()`, then `guard.release()`.
#[derive(Debug)]
pub struct DistkitOnce(
    /// On the same connection.
    pub Distkit,
);

impl Contender for DistkitOnce {
    type Pair = DistkitOncePair;

    fn name(&self) -> &'static str {
        "distkit, try_lock"
    }

    fn task(&self, number: u32) -> DistkitOncePair {
        DistkitOncePair(self.0.mutex(format!("distkit-once-{number}")))
    }
}

/// See [`DistkitOnce`].
#[derive(Debug)]
pub struct DistkitOncePair(Arc<Mutex>);

impl Pair for DistkitOncePair {
    async fn once(&mut self) {
        let guard = self.0.try_lock().await.expect("a free lock");
        guard.release().await.expect("a lock of our own");
    }
}
