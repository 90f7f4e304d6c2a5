//! Coming from Redisson (`RLock`, Java).
//!
//! ```java
//! RLock lock = redisson.getLock("order:42");
//! if (!lock.tryLock(2, TimeUnit.SECONDS)) {
//!     throw new BusyException();
//! }
//! try {
//!     settle();
//! } finally {
//!     lock.unlock();
//! }
//! ```
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockError> {
//! let locks = LockManager::in_memory(); // or LockManager::connect("redis://127.0.0.1/").await?
//! let (ttl, wait) = (Duration::from_secs(30), Duration::from_secs(2));
//! let guard = locks.lock("order:42").ttl(ttl).wait(wait).renew().acquire().await?;
//! // … settle …
//! guard.release().await
//! # }
//! ```
//!
//! | Redisson | unless given | here | what is different |
//! |---|---|---|---|
//! | `lock()` | waits for ever | [`wait(Duration::MAX)`](crate::LockRequest::wait) | tried once unless told |
//! | `tryLock()` | | [`acquire`](crate::LockRequest::acquire) without `wait` | |
//! | `tryLock(wait, lease, unit)` | | [`wait`](crate::LockRequest::wait), [`ttl`](crate::LockRequest::ttl) | |
//! | `leaseTime` | none: the watchdog renews | [`ttl`](crate::LockRequest::ttl) without [`renew`](crate::LockRequest::renew) | there the body goes on after the lease; under the attribute it is dropped |
//! | `lockWatchdogTimeout` | 30 s, for all locks | [`ttl`](crate::LockRequest::ttl) with [`renew`](crate::LockRequest::renew) | for each lock. Both renew three times in it, and not on the caller's thread |
//! | no limit to the watchdog | | [`max_hold`](crate::LockRequest::max_hold) | none unless given, as there |
//! | `lockWatchdogBatchSize` | 100 | | renewals leave in batches; nothing to set |
//! | a failed renewal | logged | [`lost`](crate::LockGuard::lost), [`LockError::Lost`](crate::LockError::Lost) | repeated until the lease is over; then the body is dropped |
//! | `getFairLock` | | | waiters stand in line in any case, as far as possible. Theirs waits 5 s for each waiter that died; ours passes it over |
//! | `getFencedLock`, `lockAndGetToken` | | [`fence`](crate::LockRequest::fence), [`fencing`](crate::guide::fencing) | also survives a lost counter, by the server's clock |
//! | `getMultiLock` | | [`lock_many`](crate::LockManager::lock_many) | one script, all or none, on one store; theirs may be on several |
//! | `RedissonRedLock` (deprecated) | | `LockManager::redlock` | not deprecated: see [topologies](crate::guide::topologies) |
//! | `getSpinLock` | | [`retry`](crate::LockRequest::retry) | |
//! | `checkLockSyncedSlaves` | on | `RedisStore::wait_replicas` | off unless given. Rarer double grants in both, not impossible ones |
//! | `isLocked`, `remainTimeToLive` | | [`inspect`](crate::LockManager::inspect) | with the holder, and how many wait |
//! | `isHeldByCurrentThread` | | [`is_held`](crate::LockGuard::is_held) | the guard is the owner, and not the thread |
//! | `IllegalMonitorStateException` | | [`LockError::Lost`](crate::LockError::Lost) | an error to look at, and no exception out of a `finally` |
//! | `forceUnlock` | | | none: delete the key by hand. Its holder is told at the next question to the store |
//!
//! # Without a counterpart
//!
//! - **Reentrancy.** Split the function: an outer one with the lock, an inner one without, and call the inner one from under the lock.
//!   A nested call of the same key under the attribute is [`AlreadyHeld`](crate::LockError::AlreadyHeld) at once, and not a deadlock.
//! - **Read/write locks and semaphores.** A semaphore of *n* is often *n* keys, one of them at random. There is nothing like a read
//!   lock; stay with Redisson where readers must not wait for each other.
//! - **`Condition`, latches, queues.** Redisson is a data grid; this is a lock.
//!
//! # Both at once
//!
//! **They cannot share a key.** An `RLock` is a hash, with a field for each holder. Ours finds it, and answers
//! [`LockError::ForeignKey`](crate::LockError::ForeignKey) at once: waiting for what is no lock might never end. Redisson, which finds our
//! string, gets `WRONGTYPE` from its script. Nobody is let in beside the other, and nobody waits in order, either.
//!
//! So stop the old program before the new one starts. Or let the Java program take a plain lock first (`SET NX PX` and a compare-and-delete
//! script, as lock4j's `RedisTemplateLockExecutor` has), and change the language afterwards.
//!
//! # Pitfalls
//!
//! - The default of Redisson is to renew, ours is not to. Without `renew`, work that takes longer than `ttl` is cut off.
//! - A thread owns an `RLock`; here whoever has the guard does, and it may go to another task.
//! - `unlock()` in a `finally` throws when the lease is over, and replaces the exception that was on its way. Here the body's own
//!   error wins.
