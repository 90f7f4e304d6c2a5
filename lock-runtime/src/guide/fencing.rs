//! Fencing tokens: numbers by which a resource refuses whoever comes too late.
//!
//! A lease ends by the clock, and its holder may be the last to know. The attribute drops a body at its next `.await`, but
//! between two of them nothing can end it: a process that is stopped, a computation that takes too long, a write that is
//! already on its way will be carried out after the next holder has begun. Only who receives the write can refuse it, and for
//! that it has to know whose is the later. So the lock comes with a number that is higher than those of all earlier holders,
//! every write carries it, and the resource keeps the highest that it has seen:
//!
//! | | first holder | second holder | resource |
//! |---|---|---|---|
//! | 1 | takes the lock, token 33 | | has seen 32 |
//! | 2 | is stopped beyond its lease | takes the lock, token 34 | |
//! | 3 | | writes with 34 | has seen 34 |
//! | 4 | goes on, writes with 33 | | refuses |
//!
//! # Getting one
//!
//! By the attribute, `fence = token` binds it as an `i64` in the body:
//!
//! ```
//! # #[cfg(feature = "macros")]
//! # mod compiled {
//! # use lock_runtime::{LockError, distributed_lock};
//! # struct Accounts;
//! # impl Accounts { async fn write(&self, _: u64, _: i64, _: i64) -> Result<(), LockError> { Ok(()) } }
//! #[distributed_lock(key = "account:{id}", ttl = "5s", fence = token)]
//! async fn set_balance(accounts: &Accounts, id: u64, balance: i64) -> Result<(), LockError> {
//!     accounts.write(id, balance, token).await
//! }
//! # }
//! ```
//!
//! By hand:
//!
//! ```
//! use std::time::Duration;
//! use lock_runtime::{LockError, LockManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LockError> {
//! # let locks = LockManager::in_memory();
//! let guard = locks.lock("account:7").ttl(Duration::from_secs(5)).fence().acquire().await?;
//! let token: i64 = guard.fence().expect("a lock that was asked for with a token has one");
//! # assert!(token > 0);
//! # guard.release().await
//! # }
//! ```
//!
//! # The resource's side
//!
//! It keeps the token of the last write beside the data. In one step with the next write, it refuses a lower one; an equal one
//! is the same holder, who may write more than once.
//!
//! ## SQL
//!
//! A column `fence BIGINT NOT NULL DEFAULT 0` beside the data, and one condition more:
//!
//! ```sql
//! UPDATE accounts SET balance = $3, fence = $2 WHERE id = $1 AND fence <= $2;
//! ```
//!
//! **Look at the number of rows that were changed: none means refused.** A statement that changes nothing is no error to a
//! database. To ask first and to write then is no check: that has the gap which the token is to close. Rows that may be new:
//!
//! ```sql
//! INSERT INTO accounts (id, fence, balance) VALUES ($1, $2, $3)
//! ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, fence = excluded.fence
//! WHERE accounts.fence <= excluded.fence;
//! ```
//!
//! Where a transaction changes several tables, it begins with a row that stands for the whole, and ends if that is refused.
//! The database keeps the row for it until it commits, and nobody with a later token gets in between:
//!
//! ```sql
//! UPDATE orders SET fence = $2 WHERE id = $1 AND fence <= $2;
//! ```
//!
//! `cargo run -p lock-example-fenced` shows it: a late writer is refused, and with `FENCE=off` it is not.
//!
//! ## HTTP, and stores of objects
//!
//! A server of your own takes the token in a header, and does the above. A store that knows no numbers but conditional writes
//! (`If-Match`, as S3 has it) will do as well. Read the object with its `ETag`, and with the token of its last writer, which
//! is kept as metadata. If that is higher than your own, you are late. If not, the write has the condition that nobody has
//! written since; whoever is refused with 412 reads again.
//!
//! ```
//! use std::error::Error;
//!
//! use axum::http::header::{ETAG, IF_MATCH};
//! use axum::http::{HeaderName, Request, Response};
//!
//! /// Where the object keeps the token of its last writer.
//! const FENCE: HeaderName = HeaderName::from_static("x-amz-meta-fence");
//!
//! /// The request that replaces what was `found`.
//! fn replacing(found: &Response<()>, uri: &str, token: i64, content: String) -> Result<Request<String>, Box<dyn Error>> {
//!     let (seen, etag) = match (found.headers().get(FENCE), found.headers().get(ETAG)) {
//!         (Some(seen), Some(etag)) => (seen.to_str()?.parse::<i64>()?, etag),
//!         _ => return Err("the object has no token, or no ETag".into()),
//!     };
//!     if seen > token {
//!         return Err(format!("the object was written with token {seen}, and ours is {token}: we are late").into());
//!     }
//!     Ok(Request::put(uri).header(IF_MATCH, etag).header(FENCE, token).body(content)?)
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! let found = Response::builder().header(ETAG, r#""5f2a""#).header(FENCE, 33).body(())?;
//! let request = replacing(&found, "/accounts/7", 34, "balance=150".to_owned())?;
//! assert_eq!(request.headers()[IF_MATCH], r#""5f2a""#);
//! assert_eq!(request.headers()[FENCE], "34");
//! assert!(replacing(&found, "/accounts/7", 32, "balance=150".to_owned()).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! An object that is not there yet is written with `If-None-Match: *`.
#![cfg_attr(feature = "redis", doc = include_str!("fencing-redis.md"))]
//!
//! # What a token promises
//!
//! It is higher than the token of every earlier holder of the same key, in whatever process. That survives a `FLUSHALL`, a
//! restart without data and a failover to a replica that has missed writes, because a token is the greater of two numbers:
//! that of the last one and one, and the server's time in microseconds. If the counter is lost, the time is ahead of it; if
//! the clock is put back, the counter goes on from where it was. Only both at once can set tokens back: a server that forgets
//! the counter, and whose clock is behind those that were given out.
//!
//! - Tokens are not a count: what is between two of them says nothing.
//! - A lock has one token for as long as it is held, extensions included.
//! - A lock that cannot have its token is not given: the error is [`LockError::Unavailable`](crate::LockError::Unavailable), and
//!   nothing is taken.
//! - Holders that ask for no token have none to be refused by. Nor have those of other libraries.
//! - Tokens are below 2^53: programs that read numbers as JavaScript does read them right.
//!
//! # The counter
//!
//! In Redis it is the key `lock_runtime:fence`, behind the manager's
//! [`key_prefix`](crate::LockManagerBuilder::key_prefix) if there is one, and it never expires. One counter serves all locks; one
//! for each would stay for every key that was ever locked. So those who share a lock need the same prefix: the key `x`
//! behind the prefix `app:` and the key `app:x` are one lock, but have their tokens from two counters.
//!
//! In a cluster there is one for each slot, in that slot: `slot:??????:lock_runtime:fence`, with letters for the question marks.
//!
//! It takes the right to that key, and to `GET`, `SET` and `TIME`. A lock with a token is one script, and one round trip, as
//! one without is one `SET`.
//!
//! In memory it is a number, and the time is that of the machine, also where tokio's is paused: the database that remembers
//! the last token outlives the process.
