//! Coming from redis-py (`redis.lock.Lock`, Python).
//!
//! ```python
//! with r.lock("order:42", timeout=5, blocking_timeout=2):
//!     settle()
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
//! // … settle …
//! guard.extend(Duration::from_secs(5)).await?; // five seconds from now, and not five more
//! guard.release().await
//! # }
//! ```
//!
//! | redis-py | unless given | here | what is different |
//! |---|---|---|---|
//! | `timeout` | **none: held until it is released** | [`ttl`](crate::LockRequest::ttl) | required |
//! | `blocking` | `True` | [`wait`](crate::LockRequest::wait) given, or not | tried once unless told |
//! | `blocking_timeout` | waits for ever | [`wait`](crate::LockRequest::wait) | `Duration::MAX` is for ever |
//! | `sleep` | 0.1 s | | in line, without polling; [`Retry::linear`](crate::Retry::linear) for an interval |
//! | `thread_local` | `True` | | needless: the token is in the guard, and the guard may go to another task |
//! | `raise_on_release_error` | `True` | [`release`](crate::LockGuard::release) returns it | under the attribute the body's own result wins; one that came too late is [`Lost`](crate::LockError::Lost) |
//! | `acquire(token=…)` | UUID 1 | [`token`](crate::LockRequest::token) | takes over what is held under it; theirs is busy then |
//! | `extend(additional_time)` | added to what is left | [`extend`](crate::LockGuard::extend) | at least so much from now on, however often it is called |
//! | `extend(…, replace_ttl=True)` | | [`set_ttl`](crate::LockGuard::set_ttl) | |
//! | `reacquire()` | | [`extend`](crate::LockGuard::extend) with the `ttl` | |
//! | `locked()` | | [`inspect`](crate::LockManager::inspect) | with the holder, for how long still, and how many wait |
//! | `owned()` | | [`ttl`](crate::LockGuard::ttl) asks the store, [`is_held`](crate::LockGuard::is_held) asks nobody | |
//! | `acquire()` is `False` | | [`LockError::Busy`](crate::LockError::Busy) | |
//! | `LockError` of `with` | | [`LockError::Busy`](crate::LockError::Busy) | |
//! | `LockNotOwnedError` | | [`LockError::Lost`](crate::LockError::Lost) | |
//! | a `RedisError` | | [`LockError::Unavailable`](crate::LockError::Unavailable) | |
//!
//! A `Lock` of redis-py is not renewed by itself. Here it is by [`renew`](crate::LockRequest::renew).
//!
//! # Both at once
//!
//! Both write a string under the very key, and compare it before they delete; `tests/interop` runs both on one key, and no two bodies
//! overlap. **Give theirs a `timeout`.** A lock without one never expires, and ours answers
//! [`LockError::ForeignKey`](crate::LockError::ForeignKey) at once, until it is released.
//!
//! # Pitfalls
//!
//! - `timeout=5` is how long the lock lasts, `blocking_timeout` how long to wait. In most of Rust, and here, a timeout is the latter.
//! - When a `with` block takes longer than its `timeout`, it goes on, and the error comes at its end. Under the attribute the body is
//!   dropped when its lease is over: it must be safe to drop at any `.await`.
