//! Coming from another library: the same program there and here, option by option.
//!
//! | from | its key in Redis | on the same key as ours |
//! |---|---|---|
//! | [bsm/redislock](redislock) | a string | excludes ours, and the other way round |
//! | [redsync] | a string on each server | excludes ours, on the same servers |
//! | [Redisson](redisson) | a hash | an error on both sides, and no lock |
//! | [ShedLock](shedlock) | a string, `job-lock:default:name` | excludes ours; unless told, it deletes without looking whose |
//! | [lock4j] | a string by `RedisTemplate`, a hash by Redisson | as above; klock is there, too |
//! | [redis-py](redis_py) | a string | excludes ours, if it has a `timeout` |
//!
//! "Excludes ours" is tested with redis-py 8.1.0 and node-redlock 5.0.0-beta.2, in `tests/interop`. Of the others it follows from
//! what they write, `SET key value NX PX ttl` or the same in a script, and from how they release.
//!
//! # What changes, wherever you come from
//!
//! - **It is tried once.** Who shall wait says for how long: [`wait`](crate::LockRequest::wait).
//! - **The body ends with the lease.** Under the attribute, a body whose lease is over is dropped at its next `.await`, and the call is
//!   [`LockError::Lost`](crate::LockError::Lost). Work that takes longer than its `ttl` takes [`renew`](crate::LockRequest::renew).
//! - **A TTL is required,** and is from 10 ms to 30 days. There is no lock for ever.
//! - **The key is what it says.** There is no prefix unless
//!   [`key_prefix`](crate::LockManagerBuilder::key_prefix) sets one.
//! - **Extending never shortens.** [`extend`](crate::LockGuard::extend) makes sure of at least so much;
//!   [`set_ttl`](crate::LockGuard::set_ttl) is for exactly so much.
//! - **A caller who holds a lock and asks for it again** is told [`AlreadyHeld`](crate::LockError::AlreadyHeld) under the attribute, and
//!   waits for itself by hand. Nothing here is reentrant.
//!
//! # What the others have, and this library has not
//!
//! - Reentrant locks, read/write locks and semaphores: Redisson. klock has the first two, and nested tasks of ShedLock are reentrant.
//! - Other stores than Redis: ShedLock has two dozen, databases above all; lock4j has ZooKeeper. Here, [`Store`](crate::Store) is a trait
//!   with a conformance suite, and the crate has Redis and memory.
//! - Years in production, and the bug reports of many users. Redisson, ShedLock, redsync and redis-py have them; this library is at
//!   its first version.
//! - Calls that block a thread. Everything here is `async`, on tokio.
//!
//! # Moving while both run
//!
//! Where both exclude each other, move one program after the other, and give them the same key. Three things to look at first:
//!
//! - The longest that the old program works under its lock. It goes on after its lease has ended, and the new one does not know.
//! - Waiting. A program of the other kind is in no line: it takes the lock whenever it is free, and ours who wait look for that every
//!   now and then.
//! - Fencing tokens. The old program brings none, so a resource can refuse late writers only when the last of them has moved.
//!
//! # Sources
//!
//! Looked at on 23 November 2026, in copies of the repositories and pages named here, which may be older. A commit is given where the
//! copy had one. What is not said of a library was not found.
//!
//! - bsm/redislock 0.10.0, since 2020 at the latest: [repository](https://github.com/bsm/redislock),
//!   [reference](https://pkg.go.dev/github.com/bsm/redislock), and
//!   [what is new in 0.10.0](https://gitlab.com/gitlab-org/container-registry/-/merge_requests/2912). Its scripts were run on Redis 7.0.15.
//! - redsync 4.17, since 2020 at the latest: [repository](https://github.com/go-redsync/redsync), its
//!   [`redsync.go`](https://gitcode.com/gh_mirrors/re/redsync/blob/master/redsync.go) with the options and their defaults, and
//!   [#149](https://github.com/go-redsync/redsync/pull/149) for `WithSetNXOnExtend`.
//! - Redisson, since 2013, 4.4.0 the newest release seen:
//!   [locks](https://redisson.pro/docs/data-and-services/locks-and-synchronizers/), and in the
//!   [repository](https://github.com/redisson/redisson) `docs/data-and-services/locks-and-synchronizers.md` (391ea39),
//!   `docs/configuration.md` (3a3e2bd), `docs/observability.md` (05b91d2), `RedissonLock.java` (4339c99) and
//!   `RedissonLockExpirationRenewalTest.java` (0b3143d). Its script was run on a string, and answers `WRONGTYPE`.
//! - ShedLock 7.10.0: [README](https://github.com/lukas-krecan/ShedLock/blob/master/README.md) (00bc847),
//!   [release notes](https://github.com/lukas-krecan/ShedLock/blob/master/RELEASES.md) (0030143),
//!   `InternalRedisLockProvider.java` (6b4bf7a) and `LettuceLockProvider.java` (0ee0cfc).
//! - lock4j 2.2, since 2018: [README](https://github.com/baomidou/lock4j) (edf6242), `Lock4j.java`, `LockTemplate.java`,
//!   `LockInterceptor.java`, `Lock4jProperties.java`, `RedisTemplateLockExecutor.java` and `RedissonLockExecutor.java` (17f3e97).
//! - klock 1.5, since 2017: [README](https://github.com/kekingcn/spring-boot-klock-starter), `Klock.java` and
//!   `LockTimeoutStrategy.java` (26efb98), `LockInfoProvider.java` (275420b), `BusinessKeyProvider.java` (86e347c) and
//!   `KlockAspectHandler.java` (1f00d7b).
//! - rslock 0.10.0: its [source](https://docs.rs/crate/rslock/0.10.0/source/src/lock.rs) and README.
//! - redis-py 8.1.0: [`redis/lock.py`](https://github.com/redis/redis-py/blob/master/redis/lock.py) of the wheel, and
//!   [its reference](https://redis.readthedocs.io/en/latest/lock.html).

pub mod lock4j;
pub mod redis_py;
pub mod redislock;
pub mod redisson;
pub mod redsync;
pub mod shedlock;
