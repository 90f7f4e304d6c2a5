//! For tests: locks that are busy, lost, slow or out of reach on command, and the conformance suite for stores.
//!
//! Everything runs in memory and on tokio's clock: with `#[tokio::test(start_paused = true)]` a test of a lock that is held
//! for an hour takes no time at all. The feature `test-util` belongs into `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! lock-runtime = { version = "0.1", features = ["test-util"] }
//! ```
//!
//! The examples below test this function, which books a seat under a lock:
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, distributed_lock};
//!
//! #[distributed_lock(key = "seat:{seat}", ttl = "5s", wait = "1s")]
//! async fn book(seat: u32, work: Duration) -> Result<&'static str, LockError> {
//!     tokio::time::sleep(work).await;
//!     Ok("booked")
//! }
//! # fn main() {}
//! ```
//!
//! # The lock is busy
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! locks.hold_elsewhere("seat:7", "box-office:3", Duration::from_secs(60));
//! let error = locks.scope(book(7, Duration::ZERO)).await.unwrap_err();
//! assert!(error.is_busy());
//! assert!(error.to_string().contains("box-office:3"));
//! # }
//! ```
//!
//! # It becomes free while the call waits
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! locks.hold_elsewhere("seat:7", "box-office:3", Duration::from_millis(500));
//! assert_eq!(locks.scope(book(7, Duration::ZERO)).await.unwrap(), "booked");
//! # }
//! ```
//!
//! # The lease ends before the work does
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! let error = locks.scope(book(7, Duration::from_secs(3600))).await.unwrap_err();
//! assert!(error.is_lost());
//! # }
//! ```
//!
//! # The lock is lost in the middle of the work
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! let call = locks.scope(book(7, Duration::from_secs(2)));
//! let fault = async {
//!     tokio::time::sleep(Duration::from_secs(1)).await;
//!     assert!(locks.is_held("seat:7"));
//!     locks.lose("seat:7");
//! };
//! let (outcome, ()) = tokio::join!(call, fault);
//! assert!(outcome.unwrap_err().is_lost());
//! # }
//! ```
//!
//! # The store is out of reach
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! locks.unavailable(true);
//! let error = locks.scope(book(7, Duration::ZERO)).await.unwrap_err();
//! assert!(error.is_unavailable());
//! # }
//! ```
//!
//! # The release fails, or is slow
//!
//! ```
#![doc = include_str!("test_util/seat.in")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let locks = TestLocks::new();
//! locks.faults().fail(Operation::Release, 1);
//! // The work was done: that the lock could not be given back at once is no reason to say otherwise.
//! assert_eq!(locks.scope(book(7, Duration::ZERO)).await.unwrap(), "booked");
//!
//! locks.faults().delay(Operation::Release, Duration::from_secs(1));
//! let started = tokio::time::Instant::now();
//! assert_eq!(locks.scope(book(8, Duration::ZERO)).await.unwrap(), "booked");
//! assert_eq!(started.elapsed(), Duration::from_secs(1));
//! # }
//! ```
//!
//! # A store of one's own
//!
//! Authors of other stores run the [`conformance`] suite against theirs.

pub mod conformance;
mod faults;
mod locks;

pub use self::faults::{Faults, Operation};
pub use self::locks::TestLocks;
