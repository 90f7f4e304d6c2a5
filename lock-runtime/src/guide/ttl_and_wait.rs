//! How long the lease should be, and the wait.
//!
//! They are two answers to two questions, and neither follows from the other.
//!
//! - **`ttl`**: if this process dies now, how long may everybody else be locked out? And, unless the lease is
//!   [renewed](super::renewal): how long may the work take at most?
//! - **`wait`**: how long is it worth while to wait for somebody else's work, before another answer is better?
//!
//! # A table to start from
//!
//! | the work | arguments |
//! |---|---|
//! | a request that writes some rows | `ttl = "5s", wait = "2s"` |
//! | a button that is pressed twice | `ttl = "10s"`, no `wait`: the second press is told at once |
//! | a cache that one caller fills, and the others read | `ttl = "10s", wait = "10s"`, and the body looks at the cache first |
//! | a job that each instance starts at the same minute | `ttl = "10m", min_hold = "1m", on_busy = "skip"` |
//! | an import of an unknown length | `ttl = "30s", renew, max_hold = "2h", on_busy = "skip"` |
//! | a worker of which there is to be one | `ttl = "15s", renew, wait = Duration::MAX`: the example `worker` |
//! | money, or anything else that must not be written by two | as above, with `fence` beside it: [`fencing`](super::fencing) |
//!
//! # The lease
//!
//! The body is believed to have the lock for a little less than `ttl`: 1 % and 2 ms are taken off for clocks that run at different
//! rates, and the time is counted from before the request was sent, so that a slow answer shortens it. What is left is
//! [`LockGuard::remaining`](crate::LockGuard::remaining). When that is zero, the body is dropped.
//!
//! **Too short** shows: calls end with [`LockError::Lost`](crate::LockError::Lost) and the cause `its lease ended before the work did`,
//! with their work half done. Take several times what the slowest call in a hundred takes, and not less than a second if a network is
//! between: below that, one lost packet is a lost lock. (10 ms is the least that is accepted.)
//!
//! **Too long** does not show, until a process is killed in the middle: then its locks stay for what is left of `ttl`, and nobody
//! can tell the dead from the slow. If you would like to write minutes, write `renew` with a `ttl` of seconds.
//!
//! The lease ends by the clock, also in a test. This one takes no time, because tokio's clock is paused:
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager, distributed_lock};
//!
//! #[distributed_lock(key = "order:{id}", ttl = "5s", wait = "2s")]
//! async fn settle(id: u64, work: Duration) -> Result<(), LockError> {
//!     tokio::time::sleep(work).await;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = LockManager::in_memory();
//! assert!(locks.scope(settle(42, Duration::from_millis(4900))).await.is_ok());
//! let error = locks.scope(settle(42, Duration::from_secs(6))).await.unwrap_err();
//! assert!(error.is_lost());
//! # }
//! ```
//!
//! # The wait
//!
//! Without `wait` the lock is tried once. With it, the call stands in line: behind the other calls of its process, and with them behind
//! those of other processes. How long that takes is a matter of arithmetic. If ten callers wait and each works for 50 ms,
//! the last one waits for half a second, at best, and no library can change that. So:
//!
//! - For a request, stay well below the time after which the client, or a proxy, gives up. A caller who has hung up need not wait:
//!   where the future is dropped, the place in the line goes with it.
//! - `wait` may be longer than `ttl`. It then outlasts a holder that has died.
//! - If calls come faster than the work is done, every wait is too short. The line ends at 10,000 calls of a process
//!   ([`max_waiting`](crate::LockManagerBuilder::max_waiting)): one more is refused at once, and is not busy but
//!   [`Overloaded`](crate::StoreErrorKind::Overloaded).
//! - The metric `lock_wait_seconds` is what to choose it by.
//!
//! What the caller gets when the wait is over is up to `on_busy`: an error, nothing (`"skip"`), or what your closure makes of
//! [`Busy`](crate::Busy), which knows who has the lock and for how long still. On the web, that is 423 with `Retry-After`.
//!
//! `retry` is for those who do *not* want to stand in line: background work that should leave the lock to others who are in a hurry,
//! or a server that does not speak RESP3. It asks again after its own delays.
//!
//! # A lock that is to stay for a while
//!
//! `min_hold` keeps the key after the body has ended. It is for jobs that several instances start at about the same time: without it,
//! an instance whose clock is two seconds behind finds the lock free again, and does the job once more. Longer than the clocks are
//! apart, shorter than the time to the next run.
