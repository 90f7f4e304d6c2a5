//! The `#[distributed_lock]` attribute of the [`lock-runtime`](https://docs.rs/lock-runtime) crate, which re-exports it:
//! depend on that one alone.

#![cfg_attr(
    not(test),
    // A panic here is shown as "custom attribute panicked", over the whole function.
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]
// Beside tests, tokens know their places (`span-locations`) and are larger than they are in the compiler.
#![allow(clippy::large_enum_variant)]

use proc_macro::TokenStream;

mod args;
mod boxed;
mod captures;
mod duration;
mod expand;
#[cfg(test)]
mod fuzz;
mod item;
mod output;
mod suggest;
mod template;

/// Runs an async function under a distributed lock.
///
/// ```
/// use lock_runtime::{LockError, LockManager, distributed_lock};
///
/// struct Order { id: u64 }
///
/// #[distributed_lock(key = "order:{order.id}", ttl = "5s", wait = "2s")]
/// async fn settle(order: Order) -> Result<u64, LockError> {
///     // One call at a time gets here for each order, in all processes that share the store.
///     Ok(order.id)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LockError> {
/// LockManager::in_memory().install().expect("the first manager of this process");
/// assert_eq!(settle(Order { id: 42 }).await?, 42);
/// # Ok(())
/// # }
/// ```
///
/// A call acquires the lock, runs the body, and releases the lock: when the body returns, when it leaves by `?`, when it
/// panics, and when the call is dropped. If the lock cannot be had, the body does not run. If the lease ends while the body
/// runs, the body is not polled any more: it is dropped at its current `.await`, and the call returns `LockError::Lost`
/// (see [`on_lost`](#when-the-lock-is-lost)).
///
/// # Arguments
///
/// | argument | value | default | meaning |
/// |---|---|---|---|
/// | `key` | template, or an expression that is `Into<LockKey>` | required, or `keys` | what to lock: the key in the store, exactly as written |
/// | `keys` | list of templates and such expressions, or an expression that yields keys | | [several keys](#several-keys), all or none |
/// | `ttl` | duration | required | length of the lease, from 10 ms to 30 days |
/// | `wait` | duration | try once | how long to wait for a lock that somebody else holds |
/// | `retry` | expression of type `Retry` | in the store's line; without one, after 20 to 250 ms | how to ask again while waiting, in no line |
/// | `renew` | nothing, or the interval as a duration below `ttl` | off; alone, three times in each `ttl` | keeps extending the lease while the body runs: [renewal](#renewal) |
/// | `max_hold` | duration, at least `ttl` | **no end** | how long a renewed lock is held at most |
/// | `min_hold` | duration, at most `ttl` | released at once | how long the key stays at least: [jobs](#jobs-on-several-instances) |
/// | `on_busy` | `"error"`, `"skip"`, a closure <code>\|busy\| …</code>, or an expression | `"error"` | what the function returns when somebody else holds the lock |
/// | `on_error` | a closure <code>\|error\| …</code> | `From<LockError>` | what it returns on every other failure of the lock |
/// | `on_lost` | `"cancel"` or `"proceed"` | `"cancel"` | what happens to the body when [the lock is lost](#when-the-lock-is-lost) |
/// | `release` | `"wait"` or `"background"` | `"wait"` | whether the call waits until the lock is released |
/// | `guard` | a name | | binds the `&LockGuard` in the body, for `remaining()`, `extend()`… |
/// | `fence` | a name | | takes a [fencing token](#fencing-tokens) with the lock, and binds the `i64` in the body |
/// | `metadata` | template, or an expression that is `Into<String>` | `host:pid` | shown to those who find the lock busy |
/// | `name` | text | the key template, or several with commas; else the function's name | label in spans and metrics |
/// | `manager` | expression, such as `self.locks` | the task's, or else the installed one | which `LockManager` |
/// | `crate` | absolute path | `::lock_runtime` | where the runtime is, if it is re-exported |
///
/// A duration is text such as `"500ms"`, `"5s"` or `"1m30s"` (units `ms`, `s`, `m`, `h`, `d`), or an expression of type
/// `Duration`.
///
/// # Key templates
///
/// A placeholder is a parameter, or a field of one: `{id}`, `{order.customer.0}`, `{self.tenant}`, `{type}` for `r#type`. A
/// name in capitals is a constant: `{TENANT}`. `{{` and `}}` stand for the characters themselves. Numbers may have a format:
/// `{id:05}`, `{hash:08x}`. Text may not be padded: `a` and `a ` would share a lock.
///
/// Different values make different keys. In a value, the characters of the template's own text (letters and digits apart)
/// are written as `%` and their code, and so are `%`, `{`, `}` and control characters; an ordinary id comes out unchanged.
///
/// ```
/// # use lock_runtime::key;
/// let (tenant, id) = ("a:b", 7);
/// assert_eq!(key!("order:{tenant}:{id}").as_str(), "order:a%3Ab:7");
/// ```
///
/// What could make one key of different values, or different keys of one value, does not compile: `{a}{b}`, `{a:?}`,
/// `{a:.2}`, an `Option`, a `%` in the template, a placeholder that is an expression. Where more is needed, `key` takes any
/// expression:
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock, key};
/// #[distributed_lock(key = { let day = at.split('T').next().unwrap_or(at); key!("report:{day}") }, ttl = "1m")]
/// async fn report(at: &str) -> Result<(), LockError> {
///     # let _ = at;
///     Ok(())
/// }
/// ```
///
/// # Several keys
///
/// `keys` takes all of them in one step, or none: nothing is held while something else is waited for, so calls that name the same
/// keys in opposite orders do not block each other.
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock};
/// #[distributed_lock(keys = ["account:{from}", "account:{to}"], ttl = "5s", wait = "2s")]
/// async fn transfer(from: u64, to: u64, amount: u64) -> Result<(), LockError> {
///     // Nobody else has either account.
///     # let _ = amount;
///     Ok(())
/// }
/// ```
///
/// The templates are those of `key`, and an expression in the list is a key as there. The order does not matter, and a key that comes
/// up twice (here, `from == to`) is taken once. Where only the call knows how many there are, `keys` is an expression: anything that
/// is `IntoIterator` of what is `Into<LockKey>`. None, and more than 1000, are `LockError::Invalid`.
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock, key};
/// # struct Order { lines: Vec<Line> }
/// # struct Line { item: u64 }
/// #[distributed_lock(keys = order.lines.iter().map(|line| key!("stock:{line.item}")), ttl = "5s", wait = "2s")]
/// async fn reserve(order: &Order) -> Result<usize, LockError> {
///     Ok(order.lines.len())
/// }
/// ```
///
/// Everything else is for all of them: one TTL, one fencing token that is higher than all before for any of the keys, one release.
/// When one key is lost, the lock is, and the other keys are given back. `Busy` names the key that somebody else has. A wait is not
/// first in, first out: see
/// [`LockManager::lock_many`](https://docs.rs/lock-runtime/latest/lock_runtime/struct.LockManager.html#method.lock_many).
///
/// # Return types
///
/// No failure of the lock is dropped silently:
///
/// | failure | goes to |
/// |---|---|
/// | somebody else holds the lock, also after `wait` | `on_busy` if given, else as below |
/// | any other `LockError` | `on_error` if given, else `Err(error.into())` |
///
/// So a function returns `Result<T, E>` where `E: From<LockError>`, under any alias, or has `on_error`:
///
/// ```
/// # use lock_runtime::distributed_lock;
/// #[distributed_lock(key = "sweep", ttl = "30s", on_busy = "skip", on_error = |error| eprintln!("not swept: {error}"))]
/// async fn sweep() {
///     // Another instance is at it? Then this one need not be.
/// }
/// ```
///
/// `"skip"` returns `()`, `None`, or an `Ok` of those. An expression in `on_busy` is evaluated only when the lock is busy; it
/// owns the arguments as the body does, and may use `?` and `.await`. `on_error` runs when the body is gone, and what the
/// body took with it. `-> impl Trait` is not possible, `-> Result<impl Trait, E>` is.
///
/// Anything else is an error at the return type:
///
/// ```compile_fail
/// # use lock_runtime::distributed_lock;
/// #[distributed_lock(key = "stock:{id}", ttl = "5s")]
/// async fn stock(id: u64) -> u64 { // a lock failure cannot be reported through this type
///     id
/// }
/// ```
///
/// The body's own result, or panic, always wins over trouble in the release.
///
/// # Renewal
///
/// With `renew`, `ttl` is no longer the time that the body may take, but the time that others wait if its process dies. The
/// lease is extended three times in each `ttl`, or once in each interval: `renew = "5s"`.
///
/// **`renew` without `max_hold` has no end.** A body that hangs holds its lock for as long as its process lives and polls it,
/// and nobody else gets it. With `max_hold` the lock is lost after that time, counted from its acquisition, whatever the body
/// does.
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock};
/// #[distributed_lock(key = "import:{file}", ttl = "30s", renew, max_hold = "1h")]
/// async fn import(file: &str) -> Result<(), LockError> {
///     // As long as it takes, but no longer than an hour.
///     # let _ = file;
///     Ok(())
/// }
/// ```
///
/// # Jobs on several instances
///
/// Several instances start the same job at about the same time, and one of them is to do it. If that one is done before the
/// clock of the last one strikes, the lock alone does not help: it is free again. `min_hold` keeps the key for this long,
/// counted from the acquisition, however the body ends: by a result, an error, a panic, or dropped. Make it longer than the
/// clocks are apart, and shorter than the time to the next run.
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock};
/// #[distributed_lock(key = "hourly-report", ttl = "10m", min_hold = "1m", on_busy = "skip")]
/// async fn hourly_report() -> Result<(), LockError> {
///     // Once an hour, on the instance that is first.
///     Ok(())
/// }
/// ```
///
/// # When the lock is lost
///
/// Its lease ended, the store says that it is gone, or `max_hold` is over. With `on_lost = "cancel"` the body is dropped at its
/// current `.await`, and the call returns `LockError::Lost`. With `on_lost = "proceed"` the body goes on to its end, **without
/// the lock**, and the call returns what it returns; the loss is an event of `tracing`. That is for work that is worse half
/// done than done twice, and for places that check a fencing token.
///
/// # Fencing tokens
///
/// A process that was paused goes on where it was, when its lock has long been given to somebody else, and no lock can keep it
/// from writing. The place where the data is can: every acquisition of the key takes a higher token than the one before, each
/// write brings its token, and one that is lower than the last is refused.
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock};
/// # enum AppError { Lock(LockError), Stale }
/// # impl From<LockError> for AppError { fn from(error: LockError) -> Self { Self::Lock(error) } }
/// # struct Database;
/// # impl Database { async fn execute(&self, _: &str, _: [i64; 3]) -> Result<u64, AppError> { Ok(1) } }
/// #[distributed_lock(key = "account:{id}", ttl = "5s", fence = token)]
/// async fn set_balance(db: &Database, id: i64, balance: i64) -> Result<(), AppError> {
///     let sql = "UPDATE accounts SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2";
///     match db.execute(sql, [balance, token, id]).await? {
///         0 => Err(AppError::Stale), // somebody has had the lock, and written, since it was ours
///         _ => Ok(()),
///     }
/// }
/// ```
///
/// What a token promises, and on what, is said at
/// [`LockGuard::fence`](https://docs.rs/lock-runtime/latest/lock_runtime/struct.LockGuard.html#method.fence).
///
/// # Equivalent code
///
/// ```
/// # use lock_runtime::{LockError, distributed_lock};
/// #[distributed_lock(key = "order:{id}", ttl = "5s", wait = "2s")]
/// async fn settle(id: u64) -> Result<u64, LockError> {
///     Ok(id * 2)
/// }
/// ```
///
/// does what this does, and one thing more: it stops the body when the lease ends.
///
/// ```
/// # use std::time::Duration;
/// # use lock_runtime::{LockError, LockManager, key};
/// async fn settle(locks: &LockManager, id: u64) -> Result<u64, LockError> {
///     let guard = locks
///         .lock(key!("order:{id}"))
///         .ttl(Duration::from_secs(5))
///         .wait(Duration::from_secs(2))
///         .acquire()
///         .await?;
///     let output = async move { Ok(id * 2) }.await;
///     guard.release().await.ok();
///     output
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LockError> {
/// # assert_eq!(settle(&LockManager::in_memory(), 21).await?, 42);
/// # Ok(())
/// # }
/// ```
///
/// # Order of attributes
///
/// Attributes are expanded from the top. Put this one *above* `#[tokio::main]` and `#[tokio::test]`, which remove the `async`.
/// Each wraps the body as the one above it left it, so the lower one is the outer one: `#[tracing::instrument]` below this one
/// measures the waiting as well, above it the body alone; `#[debug_handler]` and actix-web's
/// `#[get("/")]` work in both places. Within `#[async_trait]` it goes on the methods. Twice on one function takes two locks,
/// the lower one first.
///
/// # Order of drops
///
/// The locals of the body, and every argument that it uses, are dropped before the release is sent: a transaction is rolled
/// back under the lock, not after it. Arguments that the body does not use are dropped after it.
///
/// # Cancellation
///
/// Dropping the call, as `timeout` and `select!` do, drops the body and then releases the lock in the background. So does the
/// loss of the lock, unless `on_lost` says otherwise, at any `.await` of the body: what the body does must be able to stop
/// there. The future is `Send` if that of the function without the attribute is and what it returns is `Send`.
///
/// # What it does not guarantee
///
/// It is an advisory lease, not mutual exclusion by itself. A paused process, a blocked thread or a delayed packet can act
/// after the lease ended, and so can the code between two `.await`s. A failover to a replica without the key, a restart
/// without persistence, an eviction or a flush gives the lock away twice. Work that was spawned by the body goes on without
/// the lock. If overlap would corrupt data, the place where the data is must refuse it, by its
/// [fencing token](#fencing-tokens). It is not exactly-once, and it is no access control: whoever can write the key can take it.
#[proc_macro_attribute]
pub fn distributed_lock(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(args.into(), &item.into()).into()
}

/// Makes a `LockKey` from a template, as the `key` argument of `#[distributed_lock]` does.
///
/// ```
/// use lock_runtime::{LockKey, key};
///
/// struct Order { id: u64 }
/// let order = Order { id: 42 };
/// assert_eq!(key!("order:{order.id}"), LockKey::from("order:42"));
/// ```
///
/// The names are those of variables in scope, fields of them, and constants. Everything else is as the attribute has it:
/// different values make different keys, and what could break that does not compile.
///
/// ```compile_fail
/// # use lock_runtime::key;
/// let (user, order) = ("a", "b");
/// key!("{user}{order}"); // nothing separates these two
/// ```
#[proc_macro]
pub fn key(template: TokenStream) -> TokenStream {
    expand::key(template.into()).into()
}
