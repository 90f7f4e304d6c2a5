//! Coming from bsm/redislock (Go).
//!
//! ```go
//! lock, err := redislock.New(client).Obtain(ctx, "order:42", 5*time.Second, &redislock.Options{
//!     RetryStrategy: redislock.LimitRetry(redislock.LinearBackoff(100*time.Millisecond), 20),
//! })
//! if errors.Is(err, redislock.ErrNotObtained) {
//!     return errBusy
//! } else if err != nil {
//!     return err
//! }
//! defer lock.Release(context.Background())
//! ```
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockError> {
//! let locks = LockManager::in_memory(); // or LockManager::connect("redis://127.0.0.1/").await?
//! let guard = locks.lock("order:42").ttl(Duration::from_secs(5)).wait(Duration::from_secs(2)).acquire().await?;
//! // … work on order 42 …
//! guard.release().await
//! # }
//! ```
//!
//! | redislock | unless given | here | what is different |
//! |---|---|---|---|
//! | `Obtain(ctx, key, ttl, …)` | | [`lock(key).ttl(…).acquire()`](crate::LockManager::lock) | a TTL below 10 ms is an error; there, one below 1 ms deletes the key and reports success |
//! | `ObtainMulti` | | [`lock_many`](crate::LockManager::lock_many) | also all or none; when one key is lost, the others are given back |
//! | `RetryStrategy` | not retried | [`wait`](crate::LockRequest::wait) | in line, and told when it is one's turn; nobody polls |
//! | `LinearBackoff`, `ExponentialBackoff(min, max)` | | [`Retry::linear`](crate::Retry::linear), [`Retry::exponential`](crate::Retry::exponential) | the same delays, by [`retry`](crate::LockRequest::retry); delays below 1 ms are raised to it |
//! | `LimitRetry(strategy, n)` | | [`limit`](crate::Retry::limit) | there, one object counts for all calls that share it; here every acquisition starts afresh |
//! | deadline of `ctx` | the TTL | [`wait`](crate::LockRequest::wait) | waiting has nothing to do with the TTL |
//! | cancelling `ctx` | | dropping the future | a request on its way is followed by a clean-up; there is none there, and the key may stay for its TTL |
//! | `Token` | random | [`token`](crate::LockRequest::token) | 32 hexadecimal characters, compared as a whole; there, the beginning of the holder's token will do |
//! | `Metadata` | none | [`metadata`](crate::LockRequest::metadata) | `host:pid` unless given; those who find the lock busy are shown it |
//! | `lock.Refresh(ctx, ttl, opts)` | | [`extend`](crate::LockGuard::extend), [`extend_with`](crate::LockGuard::extend_with) | never shortens; for that, [`set_ttl`](crate::LockGuard::set_ttl) |
//! | `lock.TTL(ctx)` | | [`ttl`](crate::LockGuard::ttl) asks the store, [`remaining`](crate::LockGuard::remaining) asks nobody | both zero when the lock is gone |
//! | a watchdog of one's own | | [`renew`](crate::LockRequest::renew), [`max_hold`](crate::LockRequest::max_hold) | in the library, on a thread of its own |
//! | `ErrNotObtained` from `Obtain` | | [`LockError::Busy`](crate::LockError::Busy) | with the holder, and for how long still |
//! | `ErrNotObtained` from `Refresh`, `ErrLockNotHeld` | | [`LockError::Lost`](crate::LockError::Lost) | |
//! | an error of Redis | | [`LockError::Unavailable`](crate::LockError::Unavailable) | ridden out while a call waits |
//!
//! # Both at once
//!
//! Both write a string under the very key, and compare the whole of it before they delete. They exclude each other.
//!
//! # Pitfalls
//!
//! - `defer lock.Release(ctx)` with a context that is done releases nothing. Here a dropped guard is given back in the background, and
//!   [`shutdown`](crate::LockManager::shutdown) waits for that at the end of the program.
//! - The values are not alike: theirs is token and metadata without a space between them. Do not read one with the other's eyes.
//! - `Retry` without a limit needs a `wait`. There, the TTL was the limit.
