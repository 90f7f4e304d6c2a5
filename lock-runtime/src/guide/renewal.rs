//! Work that takes longer than its lease.
//!
//! With `renew`, `ttl` is no longer the time that the work may take, but the time that others wait if its process dies. Write a short
//! one (10 to 30 s), and let it be extended for as long as the body runs:
//!
//! ```
//! use lock_runtime::{LockError, distributed_lock};
//!
//! #[distributed_lock(key = "import:{file}", ttl = "30s", renew, max_hold = "2h")]
//! async fn import(file: &str) -> Result<usize, LockError> {
//!     // As long as it takes, but no longer than two hours.
//!     Ok(file.len())
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let locks = lock_runtime::LockManager::in_memory();
//! # assert_eq!(locks.scope(import("a.csv")).await.unwrap(), 5);
//! # }
//! ```
//!
//! # Give it an end
//!
//! **Without `max_hold` there is none.** A body that hangs, on a connection without a timeout, holds its lock for days, and all that can
//! be seen is that others find it busy. `max_hold` ends that: after this time the lock is lost, whatever the body does. Take the longest
//! run that you would not be woken up for.
//!
//! A body that nobody polls (a future that was put aside and forgotten) is no reason to hold a lock either. After
//! [`max_stall`](crate::LockManagerBuilder::max_stall) it is not renewed any more, and the log says so (`lock.stalled`).
//!
//! # How it is done
//!
//! A thread of the manager's own extends the lease three times in the length of each `ttl` (or once in every interval: `renew = "5s"`), on
//! a connection of its own, all locks that are due in one batch. Because it is no task of your runtime, the lock stays held while
//! that is blocked by a long computation. (The locks of [`in_memory`](crate::LockManager::in_memory) have no server, and are renewed by
//! a task.)
//!
//! An extension has three ends, and not two:
//!
//! | the server says | then |
//! |---|---|
//! | extended | the lease is longer, counted from before the request was sent |
//! | not yours | the lock is lost, and the body is dropped |
//! | nothing, or that it is loading, or a replica | nothing is known: the lease ends when it would have, and the extension is tried again, faster |
//!
//! So a server that is away for less than a lease costs nothing, and one that is away for longer costs the lock, but never two bodies
//! at once. An extension never shortens, and never brings back a key that is gone: two of them may overtake each other.
//!
//! A server that takes longer than a quarter of `ttl` to answer is too far away for it. Ten thousand locks of 30 s cost 0.2 % of a core.
//!
//! # What renewal does not do
//!
//! It does not make a pause harmless. A process that is stopped for longer than `ttl` renews nothing meanwhile; when it goes on, its
//! body is dropped at the next poll, but a write that was already under way is carried out. Where that would do harm, take a
//! [fencing token](super::fencing).
//!
//! It does not hold the lock when the work is done elsewhere. What the body has spawned goes on when the body has ended: see
//! [`cancellation`](super::cancellation#work-that-is-spawned).
//!
//! # By hand
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockError> {
//! # let locks = LockManager::in_memory();
//! let guard = locks
//!     .lock("import")
//!     .ttl(Duration::from_secs(30))
//!     .renew()
//!     .max_hold(Duration::from_secs(2 * 60 * 60))
//!     .acquire()
//!     .await?;
//! while guard.is_held() {
//!     // … one piece of the work …
//! #   break;
//! }
//! guard.release().await
//! # }
//! ```
//!
//! [`guard.lost()`](crate::LockGuard::lost) resolves when the lock is gone, and says why. Who knows when a step begins how long it
//! takes can do without renewal, and [`extend`](crate::LockGuard::extend) before each:
//! [`extend_with`](crate::LockGuard::extend_with) rides out a server that is restarting.
//!
//! # Watching it
//!
//! `lock.renewal_failed` at the level `warn` is a server that refuses; at `debug`, one that has not answered once. `lock_lost_total` with
//! the cause `expired` means that renewals did not come through for a whole lease, `gone` that somebody deleted the key or the
//! server forgot it, `max_hold` that the work was too slow. Each is worth an alert: [`operations`](super::operations#what-to-watch).
