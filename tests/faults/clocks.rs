//! Clocks that are set, run fast, or go on while the process sleeps.

use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::{LockError, LockManager, LostCause, Moment, distributed_lock};
use lock_tests::{Process, RedisServer, Sometimes, WallClock, eventually};
use tokio::sync::Notify;

use crate::{AT_ONCE, PROCESS, TTL, connect, ms};

/// A server that goes by `clock`.
fn server_of(clock: &WallClock) -> RedisServer {
    RedisServer::options().environment(clock.environment()).start()
}

/// What is not promised: when the server's clock is set forwards, a lock ends early there, and a second holder gets it while the
/// first one still believes in his. Promise: that harms nothing else. The first holder's release and extension leave the second
/// one's lock alone, and tell him; and his fencing token is the lower one, by which a resource refuses him.
///
/// Turned red by: a release by bare `DEL`; an extension that does not compare; tokens that do not rise.
#[tokio::test]
async fn row_39_server_clock_set_forwards() {
    const LEASE: Duration = Duration::from_secs(30);
    let Some(mut clock) = WallClock::new() else { return };
    let server = server_of(&clock);
    let (ours, theirs) = (connect(&server).await, connect(&server).await);
    let overlap = Sometimes::new("the second holder beside the first");
    for extend in [true, false] {
        let first = ours.lock("stepped").ttl(LEASE).fence().acquire().await.expect("the lock");
        let busy = theirs.lock("stepped").ttl(LEASE).acquire().await.expect_err("it is held");
        assert!(busy.is_busy(), "{busy}");
        clock.step(31);
        let second = theirs.lock("stepped").ttl(TTL).wait(AT_ONCE).fence().acquire().await.expect("it has ended there");
        assert!(second.fence() > first.fence() && first.fence().is_some());
        if first.remaining() > Duration::ZERO {
            overlap.happened();
        }
        let error = if extend { first.extend(TTL).await } else { first.release().await };
        let error = error.expect_err("it is the second one's");
        assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, .. }), "{error}");
        second.extend(2 * TTL).await.expect("still theirs");
        second.release().await.expect("still theirs");
    }
}

/// Promise: when the server's clock is set back, its keys live longer, and nothing else changes: a holder believes in his lease for no
/// longer than before, his release frees the lock at once, and fencing tokens go on rising. (The key of one who died stays for as long as the clock was set back.)
///
/// Turned red by: taking the deadline from what the server says is left.
#[tokio::test]
async fn row_39_server_clock_set_back() {
    const LEASE: Duration = Duration::from_secs(30);
    let Some(mut clock) = WallClock::new() else { return };
    let server = server_of(&clock);
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("stepped").ttl(LEASE).fence().acquire().await.expect("the lock");
    let (before, token) = (guard.remaining(), guard.fence());
    clock.step(-3600);
    eventually("the server has seen it", AT_ONCE, || admin.remaining("stepped") > Some(100 * LEASE)).await;
    assert!(guard.ttl().await.expect("an answer") > 100 * LEASE);
    assert!(guard.remaining() <= before);
    // At least: never less than what is left already.
    guard.extend(LEASE).await.expect("extended");
    assert!(guard.remaining() <= LEASE);
    guard.release().await.expect("ours");
    assert!(!admin.exists("stepped"));
    let next = locks.lock("stepped").ttl(LEASE).fence().acquire().await.expect("the lock");
    assert!(next.fence() > token && token.is_some());
}

/// Promise: a server whose clock is fast by no more than the drift that is taken off a lease (1 %) never frees a lock that its holder
/// still believes in. The same with a clock that is much faster shows that this is the drift's doing.
///
/// Turned red by: a lease of the full ttl; a lease that is counted from the answer.
#[tokio::test]
async fn row_40_server_clock_fast() {
    const LEASE: Duration = Duration::from_millis(500);
    // What the holder still believes in at the moment in which the server has freed the lock.
    async fn left_when_freed(fast_by: i64) -> Option<Duration> {
        let mut clock = WallClock::new()?;
        let server = server_of(&clock);
        let mut admin = server.admin();
        let locks = connect(&server).await;
        clock.run_fast_by(fast_by);
        let mut least = Duration::ZERO;
        for _ in 0..2 {
            let guard = locks.lock("fast").ttl(LEASE).acquire().await.expect("the lock");
            let acquired = Instant::now();
            // Without a pause, which would hide an overlap.
            while admin.exists("fast") {
                assert!(acquired.elapsed() < LEASE + AT_ONCE, "it never ends");
            }
            least = least.max(guard.remaining());
        }
        Some(least)
    }

    let Some(left) = left_when_freed(10_000).await else { return };
    assert_eq!(left, Duration::ZERO);
    let far_beyond = left_when_freed(400_000).await.expect("as above");
    let overlap = Sometimes::new("an overlap beyond the drift");
    if far_beyond > Duration::ZERO {
        overlap.happened();
    }
}

/// A store whose clock jumps, as the clock that goes on during a suspend does when the system wakes up.
#[derive(Debug)]
struct Jumping {
    store: RedisStore,
    ahead: Mutex<Duration>,
}

impl Jumping {
    fn ahead(&self) -> Duration {
        *self.ahead.lock().expect("no panic")
    }

    fn jump(&self, by: Duration) {
        *self.ahead.lock().expect("no panic") += by;
    }
}

impl Store for Jumping {
    fn now(&self) -> Moment {
        self.store.now().plus(self.ahead())
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            // Before the request, on this clock.
            let ahead = self.ahead();
            Ok(match self.store.acquire(claim).await? {
                Attempt::Acquired { sent, .. } => Attempt::acquired(sent.plus(ahead)),
                other => other,
            })
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.store.extend(claim, ttl, extension)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.store.remaining(claim)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.store.release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }
}

/// Promise: a lease goes on while the system sleeps. A body that is woken after that, and would go on, is not polled any more; one
/// whose lease is long enough goes on.
///
/// Turned red by: measuring the lease with `Instant`; trusting the deadline's timer, which sleeps along.
#[tokio::test]
async fn row_41_client_suspended() {
    #[distributed_lock(key = "suspended", ttl = ttl, manager = locks)]
    async fn body(locks: &LockManager, ttl: Duration, asleep: &Notify, awake: &Notify) -> Result<(), LockError> {
        asleep.notify_one();
        awake.notified().await;
        Ok(())
    }

    let server = RedisServer::start();
    let store = RedisStore::open(&server.url()).expect("a good address");
    let store = Arc::new(Jumping { store, ahead: Mutex::default() });
    let locks = LockManager::builder(store.clone()).build();
    let (asleep, awake) = (Notify::new(), Notify::new());
    for (ttl, lost) in [(TTL, true), (1000 * TTL, false)] {
        let suspend = async {
            asleep.notified().await;
            store.jump(10 * TTL);
            awake.notify_one();
        };
        let (outcome, ()) = tokio::join!(body(&locks, ttl, &asleep, &awake), suspend);
        match outcome {
            Err(LockError::Lost { cause: LostCause::Expired, completed: false, .. }) => assert!(lost),
            other => assert!(!lost && other.is_ok(), "{other:?}"),
        }
        eventually("given back", AT_ONCE, || !server.admin().exists("suspended")).await;
    }

    // By hand, the same.
    let guard = locks.lock("suspended").ttl(TTL).acquire().await.expect("the lock");
    store.jump(10 * TTL);
    assert_eq!(guard.remaining(), Duration::ZERO);
    // The store would still do it.
    let error = guard.extend(TTL).await.expect_err("too late");
    assert!(error.is_lost(), "{error}");
}

/// Promise: setting the wall clock of a holder's machine, forwards or back, changes nothing: neither what is left of a lease, nor how
/// long one lasts.
///
/// Turned red by: measuring the lease with `SystemTime`.
#[tokio::test]
async fn row_42_wall_clock_set() {
    let Some(mut clock) = WallClock::new() else { return };
    let server = RedisServer::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command.args(["watch-wall-clock", &server.url()]).envs(clock.environment());
    let mut holder = Process::spawn(&command);
    assert_eq!(holder.line(PROCESS), "held");
    for step in [3600, -7200] {
        assert!(server.admin().exists("wall-clock"));
        clock.step(step);
        let line = holder.line(PROCESS);
        let (seen, left) = line.split_once(' ').expect("two numbers");
        let (seen, left): (i64, u64) = (seen.parse().expect("seconds"), left.parse().expect("milliseconds"));
        assert!((seen - step).abs() <= 10, "set by {step} s: {line}");
        assert!(ms(left) > TTL / 2 && ms(left) < TTL, "set by {step} s: {line}");
    }
    let line = holder.line(PROCESS);
    let lasted = line.strip_prefix("lost ").and_then(|lasted| lasted.parse().ok()).map(ms).expect("milliseconds");
    assert!(lasted > ms(250) && lasted < ms(300) + AT_ONCE, "{lasted:?}");
    assert!(holder.finish(PROCESS).0.success());
}
