//! Coming from lock4j, or klock (Spring Boot).
//!
//! ```java
//! @Lock4j(name = "order", keys = {"#order.id"}, expire = 5000, acquireTimeout = 2000)
//! public Receipt settle(Order order) { … }
//! ```
//!
//! ```
//! # #[cfg(feature = "macros")]
//! # mod compiled {
//! use lock_runtime::{LockError, LockManager, distributed_lock};
//!
//! struct Order { id: u64 }
//!
//! #[distributed_lock(key = "lock4j:order#{order.id}", ttl = "5s", wait = "2s")]
//! async fn settle(order: Order) -> Result<u64, LockError> {
//!     Ok(order.id)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # pub async fn run() -> Result<(), LockError> {
//! let locks = LockManager::in_memory(); // or LockManager::connect("redis://127.0.0.1/").await?
//! assert_eq!(locks.scope(settle(Order { id: 42 })).await?, 42);
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "macros")]
//! # fn main() -> Result<(), lock_runtime::LockError> { compiled::run() }
//! # #[cfg(not(feature = "macros"))]
//! # fn main() {}
//! ```
//!
//! | lock4j | unless given | here | what is different |
//! |---|---|---|---|
//! | `name` | class and method | in `key` | `name` here is a label for logs, and locks nothing |
//! | `keys` | none: one lock for all calls | placeholders of `key` | SpEL there, at run time, and joined by dots; checked by the compiler here, and values that look alike stay apart |
//! | `lock4j.lock-key-prefix` | `lock4j` | [`key_prefix`](crate::LockManagerBuilder::key_prefix) | none unless given |
//! | `expire` | 30 s | `ttl` | required. With `RedisTemplate` nothing happens there when it ends; here the body is dropped |
//! | `expire` not given, on Redisson | its watchdog renews | `renew` | |
//! | `acquireTimeout` | 3 s | `wait` | tried once unless told |
//! | `lock4j.retry-interval` | 100 ms | | in line, without polling; [`retry`](crate::LockRequest::retry) for an interval |
//! | `autoRelease = false` | `true` | `min_hold` as long as the `ttl` | |
//! | `LockFailureStrategy` | throws | `on_busy` | for each function |
//! | `LockKeyBuilder` | | `key = expression` | |
//! | `executor` | Redisson, `RedisTemplate`, ZooKeeper, in this order | `manager = …` | |
//! | `LockTemplate.lock`, `releaseLock` | | [`lock(…).acquire()`](crate::LockManager::lock), [`release`](crate::LockGuard::release) | a busy lock is an error, not `null` |
//!
//! `@Lock4j(keys = {"#a", "#b"})` is *one* lock whose name has both. Several locks at once, `keys = ["a:{a}", "b:{b}"]` here, it
//! has not.
//!
//! # klock
//!
//! | klock | unless given | here | what is different |
//! |---|---|---|---|
//! | `name`, `keys`, `@KlockKey` | class and method; none | `key` | joined by hyphens there: `("a-b", "c")` and `("a", "b-c")` are one lock |
//! | `waitTime` | 60, in seconds | `wait` | |
//! | `leaseTime` | 60, in seconds; -1 renews | `ttl`, `renew` | |
//! | `lockType` | reentrant | | no reentrant, read or write lock; waiters stand in line in any case |
//! | `lockTimeoutStrategy` | `NO_OPERATION` | `on_busy` | **there the method runs without the lock when the wait is over.** Nothing here does that |
//! | `FAIL_FAST`, `KEEP_ACQUIRE` | | `on_busy = "error"`, a longer `wait` | |
//! | `customLockTimeoutStrategy` | | <code>on_busy = \|busy\| …</code> | a method by its name there |
//! | `releaseTimeoutStrategy` | `NO_OPERATION` | `on_lost` | there, looked at after the body; here the body is dropped |
//!
//! # Both at once
//!
//! With `RedisTemplateLockExecutor`, a lock of lock4j is a string at `lock4j:<name>#<keys>`, and is released by comparing: with that key
//! they exclude each other. With `RedissonLockExecutor`, and with klock, it is a hash: see
//! [Redisson](super::redisson#both-at-once).
//!
//! # Pitfalls
//!
//! - lock4j on Redisson gives back by `forceUnlock`, so that an inner call of the same lock frees the outer one's. Here an inner call is
//!   [`AlreadyHeld`](crate::LockError::AlreadyHeld).
//! - In a template, what the value has of the template's own punctuation is escaped: an id `7#8` becomes `7%238`. Ids with punctuation
//!   are not the same key on both sides; build the key by hand as long as both run.
//! - `expire = 5000` are milliseconds, klock's `leaseTime = 5` are seconds. Here the unit is written: `"5s"`.
