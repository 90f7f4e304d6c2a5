//! In production: the server, what to watch, and what to do when a lock is stuck.
//!
//! # The server
//!
//! - **`maxmemory-policy noeviction`**, or a server for locks alone. A lock is a key with a TTL, and those are the first that a full
//!   server removes. [`connect`](crate::LockManager::connect) warns of another policy (`lock.eviction`).
//! - **Its data** are the locks. A restart without them frees every lock at once, while its holders go on for what is left of their
//!   leases. `appendonly yes` with `appendfsync always` keeps all of them, with `everysec` those older than a second; or leave a server that
//!   was restarted alone for the length of your longest `ttl`.
//! - **Its clock** may run, and may be slewed. A step forwards ends leases early that their holders believe in; a step
//!   backwards makes others wait.
//! - **Its distance**: an acquisition is one round trip, a hand-off between processes two. Locks with a `ttl` of seconds can be an
//!   ocean away; those that are renewed want answers within a quarter of their `ttl`.
//!
//! [`topologies`](super::topologies) has the rest: replicas, Sentinel, clusters, several servers.
//!
//! # The user
//!
//! Locks need
//!
//! ```text
//! +ping +set +get +del +pttl +pexpire +time +eval +evalsha
//! ```
//!
//! and, to go from process to process without polling, `+subscribe +publish +pubsub +rpush +lpop +lindex +lpos +llen +lrem` and the
//! channels `&lock_runtime:*`. Sentinel and clusters take some more: the README has every line, and a test that each is enough.
//!
//! [`self_test`](crate::LockManager::self_test) at the start of the program runs every command and every script once, and names all that
//! the user may not do.
//!
//! # Connections
//!
//! One for each tokio runtime that asks for locks, and one for the thread that renews, if anything is renewed: two for most programs. They are
//! made when they are needed first, and made anew when they break. An operation that is not answered within
//! [`operation_timeout`](crate::store::redis::RedisStore::operation_timeout) (1 s) is [`Unavailable`](crate::LockError::Unavailable), and what it may
//! have taken is given back as soon as the server is heard of again.
//!
//! # What to watch
//!
//! Metrics are those of the feature `metrics`, events those of `tracing`; [`telemetry`](crate::telemetry) lists all of them.
//!
//! | what | means | do |
//! |---|---|---|
//! | `lock_lost_total`, cause `expired` | the work outlasts its `ttl`, or renewals do not come through | [a longer `ttl`, or `renew`](super::ttl_and_wait); look at the server |
//! | cause `gone` | somebody deletes keys, the server evicts or was restarted, a failover | find out which: this is when two may have worked at once |
//! | cause `max_hold` | work that hangs | a timeout inside of the work |
//! | `lock_acquisitions_total`, outcome `unavailable` | the server is away, or refuses | `source` in the event `lock.failed` has its words |
//! | outcome `busy` rises | more work than one at a time can do | smaller locks (`order:{id}`, not `orders`), or less work inside |
//! | `lock_wait_seconds` near `wait` | the same, a little earlier | likewise |
//! | `lock_releases_total`, outcome `gone` | work that ended after its lease | as `expired` |
//! | event `lock.polling` | no hand-off between processes, and why | the permissions above |
//! | event `lock.stalled` | a future under a lock is not polled | find who put it aside: a `select!` without a loop, a full `buffered` stream |
//! | event `lock.orphaned` | a lock could not be given back, and ends with its `ttl` | the server was away for that long |
//!
//! # A lock that is stuck
//!
//! Somebody has it, and should not. [`inspect`](crate::LockManager::inspect) tells who, for how long still, and how many wait:
//!
//! ```
//! use lock_runtime::{LockError, LockManager};
//!
//! async fn who(locks: &LockManager, key: &str) -> Result<String, LockError> {
//!     Ok(match locks.inspect(key).await? {
//!         None => "nobody".to_owned(),
//!         Some(lock) => format!("{}, for {:?} still; in line: {:?}", lock.holder, lock.remaining, lock.in_line),
//!     })
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # assert_eq!(who(&LockManager::in_memory(), "order:42").await.unwrap(), "nobody");
//! # }
//! ```
//!
//! From a shell it is `GET order:42` (the token, a space, the metadata: `host:pid` unless the call says otherwise) and `PTTL order:42`. In
//! that process, [`locks()`](crate::LockManager::locks) lists what is held and waited for, and since when.
//!
//! - The holder is dead: wait. It ends with its `ttl`.
//! - The holder is alive and hangs: end that process, and wait. A lock without `max_hold` that is renewed has no other end.
//! - **`DEL order:42` is the last resort, and only when the holder has been ended.** A holder that is alive is not told. It finds out at its next
//!   renewal, or when it gives the lock back, and works on until then beside the next one.
//!
//! # Changing a program that runs
//!
//! While a new version is rolled out, both run at once. They exclude each other only on the same key:
//!
//! - **A new key template**, or another `key_prefix`, locks nobody of the old version out. For one release, take both:
//!   `keys = ["order:{id}", "shop:order:{id}"]`.
//! - Another `ttl`, `wait`, `renew` or `metadata` is safe at any time.
//! - `fence` in the new version alone gives tokens that the old one does not know: let the resource check when all have them.
//! - Versions of this library that are compatible by their numbers (`0.1.2` and `0.1.7`) read each other's locks, lines and counters.
//!
//! # When the server is away
//!
//! Locks that are held go on until their leases end; nothing new is granted, and calls that wait go on waiting until their `wait` is over.
//! A program that should start without its server makes its manager by [`connect_lazy`](crate::LockManager::connect_lazy). There is no mode in
//! which bodies run without their lock: if that is better for you than not to run, call the function without the attribute, in your own words.
