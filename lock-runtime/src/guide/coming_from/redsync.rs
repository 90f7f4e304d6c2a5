//! Coming from redsync (Go).
//!
//! ```go
//! rs := redsync.New(poolA, poolB, poolC)
//! mutex := rs.NewMutex("order:42", redsync.WithExpiry(5*time.Second), redsync.WithTries(20))
//! if err := mutex.Lock(); err != nil {
//!     return err
//! }
//! defer mutex.Unlock()
//! ```
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager};
//!
//! async fn settle(locks: &LockManager) -> Result<(), LockError> {
//!     let guard = locks.lock("order:42").ttl(Duration::from_secs(5)).wait(Duration::from_secs(3)).acquire().await?;
//!     // … work on order 42 …
//!     guard.release().await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockError> {
//! // LockManager::redlock(["redis://a.example", "redis://b.example", "redis://c.example"]).await?, with the feature `redlock`.
//! settle(&LockManager::in_memory()).await
//! # }
//! ```
//!
//! One pool in redsync is one server here: `LockManager::connect(url)`, which is faster and hands locks on in line.
//!
//! | redsync | unless given | here | what is different |
//! |---|---|---|---|
//! | `redsync.New(pools…)` | | `LockManager::redlock(urls)` | a majority in both. Servers that are not independent are refused here |
//! | `NewMutex(name)` | | [`lock(key)`](crate::LockManager::lock) | a request is for one acquisition, with a fresh token |
//! | `Lock`, `LockContext` | | [`acquire`](crate::LockRequest::acquire) | |
//! | `TryLock` | | [`acquire`](crate::LockRequest::acquire) without `wait` | the default |
//! | `WithExpiry` | 8 s | [`ttl`](crate::LockRequest::ttl) | required |
//! | `WithTries` | 32 | [`wait`](crate::LockRequest::wait), or [`limit`](crate::Retry::limit) | a time, and not a count |
//! | `WithRetryDelay`, `WithRetryDelayFunc` | 50 to 250 ms at random | [`retry`](crate::LockRequest::retry) with [`jitter`](crate::Retry::jitter) | a value, and not a function; on several servers, at random unless given |
//! | `WithDriftFactor` | 0.01 | | always 1 % of the TTL and 2 ms |
//! | `WithTimeoutFactor` | 0.05 of the expiry, for locking | | every question has its deadline, releases and extensions too |
//! | `WithFailFast` | off | | always: a question ends when the rest cannot change it, and what comes late is cleaned up |
//! | `WithShufflePools` | off | | all servers are asked at once; there is no order |
//! | `WithSetNXOnExtend` | off | [`renew`](crate::LockRequest::renew) | a renewal gives the lock back to a server that came back empty, but only while a majority still has it. Nothing here takes a lock anew that was lost |
//! | `WithGenValueFunc`, `WithValue` | random | [`token`](crate::LockRequest::token) | 32 hexadecimal characters |
//! | `Extend` | to the full expiry | [`extend(ttl)`](crate::LockGuard::extend) | says how long, and never shortens |
//! | `Until` | | [`remaining`](crate::LockGuard::remaining) | |
//! | `Valid` | | [`is_held`](crate::LockGuard::is_held), [`ttl`](crate::LockGuard::ttl) | the first asks nobody |
//! | `Unlock() (bool, error)` | | [`release() -> Result<(), LockError>`](crate::LockGuard::release) | one answer, not two |
//! | `ErrTaken`, `ErrNodeTaken` | | [`LockError::Busy`](crate::LockError::Busy) | |
//! | `ErrFailed`, `RedisError` | | [`LockError::Busy`](crate::LockError::Busy) or [`LockError::Unavailable`](crate::LockError::Unavailable) | taken, or nobody knows: never the one for the other |
//! | `ErrExtendFailed`, `ErrLockAlreadyExpired` | | [`LockError::Lost`](crate::LockError::Lost) | |
//!
//! There is no fencing token in redsync. Here, [`fence`](crate::LockRequest::fence) works on several servers, too.
//!
//! # Both at once
//!
//! Both write a string under the very key on every server, and take a majority. On the *same* servers, they exclude each other. A program
//! that asks one of five and one that asks all five do not.
//!
//! # Pitfalls
//!
//! - One `Mutex` may be locked again and again, by several goroutines, and forgets its first value then. A guard here belongs to one
//!   acquisition, and ends with it.
//! - A cluster, or a master and its replicas, is one server and not several.
//! - When `Unlock` runs late, `(false, err)` is easily dropped, and so is `Err` of `release`. Under the attribute nobody has to
//!   look: a late success is [`Lost`](crate::LockError::Lost).
