//! How to test code that takes locks.
//!
//! # What your code does when the lock is busy, lost, or out of reach
//!
//! In memory, on paused time, in milliseconds: the feature `test-util` has a store that does as it is told. Each of these cases has an
//! example in the module `lock_runtime::test_util`: the lock is busy, it becomes free while the call waits, the lease ends before the work
//! does, the lock is lost in the middle of the work, the store is out of reach, the release fails or is slow.
//!
//! ```toml
//! [dev-dependencies]
//! lock-runtime = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! Tests of one program share a process, so none of them should [`install`](crate::LockManager::install) a manager:
//! [`scope`](crate::LockManager::scope) gives one to a call, and only to that.
//!
//! # That two calls exclude each other
//!
//! Let both run at once, and have each look for the other inside. A test that only sees both return can not fail:
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use lock_runtime::{LockError, LockManager, distributed_lock};
//!
//! static INSIDE: AtomicU32 = AtomicU32::new(0);
//!
//! #[distributed_lock(key = "stock:{item}", ttl = "5s", wait = "5s")]
//! async fn reserve(item: u64) -> Result<(), LockError> {
//!     assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
//!     tokio::task::yield_now().await; // where the other one would come in
//!     INSIDE.fetch_sub(1, Ordering::SeqCst);
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = LockManager::in_memory();
//! let (first, second) = tokio::join!(locks.scope(reserve(7)), locks.scope(reserve(7)));
//! assert!(first.is_ok() && second.is_ok());
//! # }
//! ```
//!
//! Take the attribute away once, and see the test fail. What it finds most often is a key that has too much in it: `stock:{item}:{user}`
//! locks nobody out.
//!
//! # That no two functions share a key by accident
//!
//! With the feature `inventory`, `lock_runtime::inventory()` lists every function under the attribute with its key template. A test
//! can say that each template is there once, or that all begin with the name of your service.
//!
//! # Against a real server
//!
//! What was tested in memory behaves the same on Redis, which is this library's own tests' business: one suite runs against both.
//! A test of yours against a server is for what is yours: its permissions, its address, its `maxmemory-policy`.
//! [`self_test`](crate::LockManager::self_test) is that test, and it belongs into the start of the program as well. If several tests share
//! a server, give each manager a [`key_prefix`](crate::LockManagerBuilder::key_prefix) of its own.
//!
//! On paused time a real server seems to take for ever, because the clock jumps ahead while everybody waits for it. Paused time is for
//! memory.
//!
//! # Stores of your own
//!
//! Whoever implements [`Store`](crate::Store) runs `test_util::conformance` against it: the same cases that ours pass.
