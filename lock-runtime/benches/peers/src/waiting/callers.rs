//! The libraries in Rust, each waiting as its documentation says, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use distkit::DistkitRedisKey;
use distkit::lock::{LockOptions, Mutex};
use lock_runtime::{LockError, LockManager, distributed_lock};
use redis::aio::{ConnectionManager, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, cmd};

use crate::contender::TTL;

/// Longer than anybody waits for a lock here. Who has no limit of his own waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before the key of distkit's locks, and a colon.
pub(super) const DISTKIT_NAMESPACE: &str = "distkit";

/// A library in one process, connected.
pub(super) trait Library: Send + Sync + 'static {
    /// What one task has.
    type Caller: Caller;

    /// For a task that wants the lock `key`.
    fn caller(&self, key: &str) -> impl Future<Output = Self::Caller> + Send;
}

/// One who wants a lock that others want too.
pub(super) trait Caller: Send + 'static {
    /// Waits for the lock, runs `body` under it, gives it back. Panics when it fails in that.
    fn locked<B>(&mut self, body: B) -> impl Future<Output = B::Output> + Send
    where
        B: Future<Output: Send> + Send;
}

/// By the builder, on the settings that a user gets.
pub(super) struct Builder(pub(super) LockManager);

pub(super) struct BuilderCaller(LockManager, String);

impl Library for Builder {
    type Caller = BuilderCaller;

    async fn caller(&self, key: &str) -> BuilderCaller {
        BuilderCaller(self.0.clone(), key.to_owned())
    }
}

impl Caller for BuilderCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let guard = self.0.lock(&self.1).ttl(TTL).wait(PATIENCE).acquire().await.expect("the lock");
        let output = body.await;
        guard.release().await.expect("a lock of our own");
        output
    }
}

/// By the attribute, on the settings that a user gets.
pub(super) struct Attribute(pub(super) LockManager);

pub(super) struct AttributeCaller(LockManager, String);

impl Library for Attribute {
    type Caller = AttributeCaller;

    async fn caller(&self, key: &str) -> AttributeCaller {
        AttributeCaller(self.0.clone(), key.to_owned())
    }
}

impl Caller for AttributeCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        under_the_attribute(&self.0, &self.1, body).await.expect("the lock")
    }
}

#[distributed_lock(key = key, ttl = TTL, wait = PATIENCE, manager = manager)]
async fn under_the_attribute<B: Future>(manager: &LockManager, key: &str, body: B) -> Result<B::Output, LockError> {
    Ok(body.await)
}

/// The floor for the tasks of one process: a mutex of the process, first in first out, and no server.
pub(super) struct InProcess(pub(super) Arc<tokio::sync::Mutex<()>>);

pub(super) struct InProcessCaller(Arc<tokio::sync::Mutex<()>>);

impl Library for InProcess {
    type Caller = InProcessCaller;

    async fn caller(&self, _: &str) -> InProcessCaller {
        InProcessCaller(self.0.clone())
    }
}

impl Caller for InProcessCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let _guard = self.0.lock().await;
        body.await
    }
}

/// The floor between processes: an element of a list, which whoever has taken it puts back, and the server hands to whoever
/// has waited longest. No lease, so who dies keeps it for ever; and a connection for each who waits.
pub(super) struct Blpop(pub(super) Client);

pub(super) struct BlpopCaller(MultiplexedConnection, String);

impl Library for Blpop {
    type Caller = BlpopCaller;

    async fn caller(&self, key: &str) -> BlpopCaller {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = self.0.get_multiplexed_async_connection_with_config(&config).await.expect("a server");
        BlpopCaller(connection, key.to_owned())
    }
}

impl Caller for BlpopCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let Self(connection, key) = self;
        let taken = cmd("BLPOP").arg(&*key).arg(0).query_async::<(String, String)>(connection).await;
        let (_, element) = taken.expect("the element");
        let output = body.await;
        cmd("RPUSH").arg(&*key).arg(element).query_async::<()>(connection).await.expect("an answer");
        output
    }
}

/// rslock: `manager.acquire(key, ttl)` "loops until the lock is acquired", three tries at a time.
pub(super) struct Rslock(pub(super) rslock::LockManager);

pub(super) struct RslockCaller(rslock::LockManager, String);

impl Library for Rslock {
    type Caller = RslockCaller;

    async fn caller(&self, key: &str) -> RslockCaller {
        RslockCaller(self.0.clone(), key.to_owned())
    }
}

impl Caller for RslockCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let guard = self.0.acquire(&*self.1, TTL).await.expect("the lock");
        let output = body.await;
        guard.release().await;
        output
    }
}

/// async-redis-lock: with `timeout(None)`, "to retry until the lock is acquired".
pub(super) struct AsyncRedisLock(pub(super) async_redis_lock::Locker);

pub(super) struct AsyncRedisLockCaller(async_redis_lock::Locker, String);

impl Library for AsyncRedisLock {
    type Caller = AsyncRedisLockCaller;

    async fn caller(&self, key: &str) -> AsyncRedisLockCaller {
        AsyncRedisLockCaller(self.0.clone(), key.to_owned())
    }
}

impl Caller for AsyncRedisLockCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let options = async_redis_lock::Options::new().ttl(TTL).timeout(None);
        let lock = self.0.acquire_with_options(&options, self.1.as_str()).await.expect("the lock");
        let output = body.await;
        lock.release().await.expect("a lock of its own");
        output
    }
}

/// distkit: `mutex.lock()` of a mutex of the task's own, because the owner of a lock is the object and not the call.
pub(super) struct Distkit(pub(super) ConnectionManager);

pub(super) struct DistkitCaller(Arc<Mutex>);

impl Library for Distkit {
    type Caller = DistkitCaller;

    async fn caller(&self, key: &str) -> DistkitCaller {
        let key = DistkitRedisKey::try_from(key.to_owned()).expect("a good key");
        let namespace = DistkitRedisKey::try_from(DISTKIT_NAMESPACE.to_owned()).expect("a good namespace");
        let options = LockOptions::builder(key, self.0.clone()).namespace(namespace).ttl(TTL).build();
        DistkitCaller(Mutex::new(options))
    }
}

impl Caller for DistkitCaller {
    async fn locked<B: Future<Output: Send> + Send>(&mut self, body: B) -> B::Output {
        let guard = self.0.lock().await.expect("the lock");
        let output = body.await;
        guard.release().await.expect("a lock of its own");
        output
    }
}
