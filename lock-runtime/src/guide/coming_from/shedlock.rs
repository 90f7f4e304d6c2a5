//! Coming from ShedLock (Java).
//!
//! ```java
//! @Scheduled(cron = "0 0 * * * *")
//! @SchedulerLock(name = "hourlyReport", lockAtMostFor = "10m", lockAtLeastFor = "1m")
//! public void hourlyReport() {
//!     // …
//! }
//! ```
//!
//! ```
//! # #[cfg(feature = "macros")]
//! # mod compiled {
//! use lock_runtime::{LockError, LockManager, distributed_lock};
//!
//! #[distributed_lock(key = "job-lock:default:hourlyReport", ttl = "10m", min_hold = "1m", on_busy = "skip")]
//! async fn hourly_report() -> Result<(), LockError> {
//!     // …
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # pub async fn run() -> Result<(), LockError> {
//! let locks = LockManager::in_memory(); // or LockManager::connect("redis://127.0.0.1/").await?
//! locks.scope(hourly_report()).await?;
//! locks.scope(hourly_report()).await?; // skipped: the key is kept for a minute
//! # let again = locks.lock("job-lock:default:hourlyReport").ttl(std::time::Duration::from_secs(1));
//! # assert!(again.acquire().await.is_err_and(|error| error.is_busy()));
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "macros")]
//! # fn main() -> Result<(), lock_runtime::LockError> { compiled::run() }
//! # #[cfg(not(feature = "macros"))]
//! # fn main() {}
//! ```
//!
//! Neither is a scheduler: what calls the function is yours, as tokio's `interval` in the example `scheduled`.
//!
//! | ShedLock | unless given | here | what is different |
//! |---|---|---|---|
//! | `@SchedulerLock(name)` | required | `key` | checked when the program is compiled; SpEL is when it runs |
//! | `lockAtMostFor` | `defaultLockAtMostFor` | `ttl` | there the task runs on after it, beside the next one; here the body is dropped |
//! | `lockAtLeastFor` | 0 | `min_hold`, [by hand](crate::LockRequest::min_hold) | also after an error, a panic and a dropped call. At most the `ttl` |
//! | busy: skipped | always | `on_busy = "skip"` | an error unless told |
//! | never waits | | `wait` | |
//! | what a skipped method returns | `null`, an empty `Optional` | `()`, `None`, `Ok` of those | other types do not compile; there, primitive types are not supported |
//! | `KeepAliveLockProvider` | not used; at least 30 s | `renew`, [by hand](crate::LockRequest::renew) | three times in the `ttl`, and not once in its middle. `max_hold` limits it |
//! | `LockExtender.extendActiveLock` | | `guard = lock`, and [`lock.extend(…)`](crate::LockGuard::extend) | never shortens |
//! | `LockAssert.assertLocked()` | | | needless: the attribute is part of the function, and no proxy can be missing. A call without a manager is an error |
//! | `@LockProviderToUse` | | `manager = …` | checked by the compiler |
//! | `LockingTaskExecutor` | | [`lock(…).acquire()`](crate::LockManager::lock) | |
//! | environment, key prefix of the provider | `default`, `job-lock` | [`key_prefix`](crate::LockManagerBuilder::key_prefix) | none unless given |
//! | `safeUpdate` of the Redis providers | off | | always: nothing is deleted or extended that is not ours |
//! | Micrometer | by a module | feature `metrics`, [telemetry](crate::telemetry) | |
//! | `InMemoryLockProvider` | | [`LockManager::in_memory`](crate::LockManager::in_memory), `test_util` | the second has faults on command |
//!
//! # Without a counterpart
//!
//! Databases and the other stores. If the table `shedlock` in your database is what you have, and no Redis, stay with it: a lock in the
//! database that has the data needs no second system.
//!
//! # Both at once
//!
//! On Redis, a lock of ShedLock is a string at `job-lock:<environment>:<name>`; with that as the key they exclude each other.
//!
//! **Switch on `safeUpdate` first.** Without it ShedLock unlocks by a plain `DEL`: a task that took longer than its `lockAtMostFor`
//! deletes whatever lock is there by then, ours as well. Ours notices when it next asks the store, and not before.
//!
//! # Pitfalls
//!
//! - With `lockAtMostFor` one is told to take a time much longer than the task. Do not bring that over as the `ttl` of a long job: take a
//!   short one with `renew`, so that a crash frees the lock soon.
//! - A job that gets no manager does not run unlocked, and a store that does not answer is not skipped by `on_busy`. Both are errors: log
//!   them, or give an `on_error`.
