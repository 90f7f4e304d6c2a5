//! What happens to work that is dropped in the middle.
//!
//! In Rust, whoever has a future may drop it, at any `.await`, and under a lock there is one more who does: when the lock is lost, the
//! body is dropped where it is. That is what keeps two from working at once. It also means that **a body under a lock has to be
//! safe to drop at each of its `.await`s**.
//!
//! # Who drops what, and what becomes of the lock
//!
//! | what happens | while the call waits | while the body runs |
//! |---|---|---|
//! | the caller drops the call: `timeout`, `select!`, a client who hangs up | it leaves the line; if it was being given the lock, that is given back | the body's locals are dropped, then the lock is given back, in the background |
//! | the body panics | | likewise, and the panic goes on |
//! | the lease ends, the key is gone, `max_hold` is over | | the body is dropped at its `.await`; the call is [`LockError::Lost`](crate::LockError::Lost) |
//! | the runtime ends, and the process goes on | likewise | the manager's own thread gives the lock back |
//! | [`shutdown`](crate::LockManager::shutdown) | [`Unavailable`](crate::LockError::Unavailable) | it may finish within the grace period, and is dropped then |
//! | `process::exit`, `panic = "abort"`, `SIGKILL` | its place is passed over | **the lock stays until its `ttl` is over** |
//!
//! Locals, and arguments that the body uses, go first, and the lock after them: a transaction is rolled back while nobody else is in.
//!
//! # Bodies that stand it
//!
//! - **A transaction** is the best: dropped, it rolls back, and what was half done was not done.
//! - **One write at the end**, after everything that can wait for something. Between two `.await`s nobody is dropped.
//! - **Steps that may be done twice**: each looks at what is there already. The next holder goes on from there.
//! - **Not**: `debit(from).await?; credit(to).await?;` with nothing around it. It was never safe, since the process can die there; the
//!   lock makes it no safer.
//!
//! Where half of the work is worse than two at once, `on_lost = "proceed"` lets the body run to its end, without the lock. The loss is
//! in the log, and a [fencing token](super::fencing) can still stop what would be written too late.
//!
//! # Code that does not wait
//!
//! A body is dropped at an `.await`, so one without any is not stopped: a loop that computes for a minute goes on when its lease of five
//! seconds is over, and nobody could change that from outside. It can look for itself:
//!
//! ```
//! use lock_runtime::{LockError, distributed_lock};
//!
//! #[distributed_lock(key = "index", ttl = "5s", guard = lock)]
//! async fn index(pages: Vec<String>) -> Result<usize, LockError> {
//!     let mut words = 0;
//!     for page in pages {
//!         words += page.split(' ').count();
//!         // Lets others run, and ends here if the lock is lost. `lock.is_held()` is for places that cannot wait.
//!         tokio::task::yield_now().await;
//!     }
//!     assert!(lock.is_held());
//!     Ok(words)
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let locks = lock_runtime::LockManager::in_memory();
//! # assert_eq!(locks.scope(index(vec!["two words".to_owned()])).await.unwrap(), 2);
//! # }
//! ```
//!
//! # Work that is spawned
//!
//! A task, or a thread of `spawn_blocking`, belongs to the runtime and not to the body. It goes on when the body is dropped, without the
//! lock. Either the body waits for it in a way that ends it too (`JoinSet`, `AbortHandle` on drop), or it looks at the lock by itself, through a
//! [`LockWatch`](crate::LockWatch):
//!
//! ```
//! use lock_runtime::{LockError, distributed_lock};
//!
//! #[distributed_lock(key = "resize:{album}", ttl = "30s", renew, max_hold = "10m", guard = lock)]
//! async fn resize(album: u64, pictures: Vec<Vec<u8>>) -> Result<usize, LockError> {
//!     let watch = lock.watch();
//!     let work = tokio::task::spawn_blocking(move || {
//!         // Nobody can stop a thread: between two pictures, it looks.
//!         pictures.into_iter().take_while(|_| watch.is_held()).map(|picture| picture.len()).sum()
//!     });
//!     Ok(work.await.expect("it does not panic"))
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let locks = lock_runtime::LockManager::in_memory();
//! # assert_eq!(locks.scope(resize(1, vec![vec![0; 3]])).await.unwrap(), 3);
//! # }
//! ```
//!
//! # Timeouts
//!
//! `tokio::time::timeout` around a call counts the waiting as well as the work. It may be dropped before the lock is had: `wait`
//! ends the waiting with an error that says who has the lock, which a timeout cannot.
//!
//! # The end of a process
//!
//! Call [`shutdown`](crate::LockManager::shutdown) before `main` returns. It refuses new locks, lets the work that is going on finish
//! within a grace period, gives everything back, also what was dropped a moment before, and returns when the server has said so. Without
//! it, a lock that was being given back when `main` returned may stay until its `ttl` is over.
