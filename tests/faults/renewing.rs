//! Renewals that fail, come late, race or go on for ever.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, LostCause, distributed_lock};
use lock_tests::{Admin, Conduct, Count, Proxy, RedisServer, Sometimes, Way, eventually, eventually_blocking};
use tokio::task::JoinSet;

use crate::{AT_ONCE, TTL, connect, executed, in_time, ms};

/// Whether these are the words of a renewal: a script with three arguments for each key, a TTL the last of them.
fn renewal(words: &[&str]) -> bool {
    matches!(words, ["EVALSHA" | "EVAL", _, "1", _, "1", _, _])
}

/// Promise: a lock stays renewed while its holder's runtime is so busy that the body is not polled for longer than the ttl: nobody
/// else gets it, and the body goes on undisturbed.
///
/// Turned red by: renewals on the caller's runtime.
#[tokio::test]
async fn row_12_runtime_starved_by_ten_thousand_tasks() {
    const LEASE: Duration = Duration::from_millis(600);
    const TASKS: usize = 10_000;

    #[distributed_lock(key = "starved", ttl = LEASE, renew, manager = locks)]
    async fn starving(locks: LockManager, starved: Count, over: Arc<AtomicBool>) -> Result<(), LockError> {
        for _ in 0..TASKS {
            let over = over.clone();
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let until = Instant::now() + Duration::from_micros(70);
                    while Instant::now() < until {}
                    tokio::task::yield_now().await;
                }
            });
        }
        while starved.times() < 2 {
            let before = Instant::now();
            tokio::task::yield_now().await;
            if before.elapsed() > LEASE {
                starved.happened();
            }
        }
        // Not the release too.
        over.store(true, Ordering::Relaxed);
        Ok(())
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let starved = Sometimes::new("a pause longer than the lease");
    let over = Arc::<AtomicBool>::default();
    let missing = std::thread::spawn({
        let over = over.clone();
        move || {
            eventually_blocking("the lock", AT_ONCE, || admin.exists("starved"));
            let mut missing = 0;
            while !over.load(Ordering::Relaxed) {
                missing += u64::from(!admin.exists("starved") && !over.load(Ordering::Relaxed));
                std::thread::sleep(ms(1));
            }
            missing
        }
    });
    // In a task, which waits for its turn among the others.
    let call = tokio::spawn(starving(locks, starved.count(), over)).await;
    call.expect("no panic").expect("held to the end");
    assert_eq!(missing.join().expect("no panic"), 0);
}

/// Promise: renewals whose answers do not come for less than the lease disturb nobody: the lock is held all the while, and its
/// lease is as long as ever when the answers come again.
///
/// Turned red by: taking an unanswered renewal for a lost lock; not repeating it before the next is due.
#[tokio::test]
async fn row_13_renewal_replies_lost_for_less_than_the_lease() {
    const LEASE: Duration = Duration::from_millis(1500);

    #[distributed_lock(key = "renewed", ttl = LEASE, renew, manager = locks, guard = lock)]
    async fn watching(locks: &LockManager, proxy: &Proxy) -> Result<(), LockError> {
        let lost = proxy.next(Way::Replies, renewal, Conduct::Hold);
        lost.happened().await;
        // On new connections too.
        proxy.conduct_all(Way::Replies, Conduct::Hold);
        let shortest = LEASE / 3;
        eventually("most of the lease is gone", LEASE, || lock.remaining() < shortest).await;
        assert!(lock.is_held());
        proxy.conduct_all(Way::Replies, Conduct::Pass);
        eventually("it is renewed again", LEASE, || lock.remaining() > LEASE * 9 / 10).await;
        Ok(())
    }

    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    watching(&locks, &proxy).await.expect("held to the end");
}

/// Promise: a network that swallows everything, new connections too, for less than the lease costs no lock: nobody waits for a
/// connection that was dialled meanwhile.
///
/// Turned red by: renewals that wait for a connection for as long as everybody else.
#[tokio::test]
async fn row_13_network_away_for_less_than_the_lease() {
    const LEASE: Duration = Duration::from_millis(1500);

    #[distributed_lock(key = "renewed", ttl = LEASE, renew, manager = locks, guard = lock)]
    async fn watching(locks: &LockManager, proxy: &Proxy) -> Result<(), LockError> {
        proxy.conduct_all(Way::Requests, Conduct::Drop);
        // Renewals have failed by then, and connections are being dialled in vain.
        eventually("most of the lease is gone", LEASE, || lock.remaining() < LEASE * 2 / 5).await;
        proxy.conduct_all(Way::Requests, Conduct::Pass);
        eventually("it is renewed again", LEASE, || lock.remaining() > LEASE * 9 / 10).await;
        Ok(())
    }

    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    watching(&locks, &proxy).await.expect("held to the end");
    assert!(proxy.connections() > 2, "nothing was dialled anew");
}

/// Promise: when no renewal comes through any more, the body is dropped at the end of its lease, and that lies before the moment in
/// which the server drops the key: what the holder believes in is never more than what the server keeps.
///
/// Turned red by: a lease counted from the answer to its renewal; a lease of the full ttl; renewals that fail and count.
#[tokio::test]
async fn row_14_renewals_fail_until_the_deadline() {
    const LEASE: Duration = Duration::from_millis(1500);

    #[distributed_lock(key = "renewed", ttl = LEASE, renew = "50ms", manager = locks, guard = lock)]
    async fn measuring(locks: &LockManager, proxy: &Proxy, admin: &mut Admin) -> Result<(), LockError> {
        let (mut before, mut cut_off) = (LEASE, false);
        loop {
            // In this order: both run down.
            let kept = admin.remaining("renewed").unwrap_or_default();
            let believed = lock.remaining();
            assert!(believed <= kept, "{believed:?} of {kept:?}");
            // A server that knows no flags is asked several times before the first renewal: after that, and not after a time.
            if !cut_off && std::mem::replace(&mut before, believed) < believed {
                cut_off = true;
                proxy.conduct_all(Way::Requests, Conduct::Drop);
            }
            tokio::time::sleep(ms(1)).await;
        }
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    // Longer than the drift of this lease, within the time that a renewal has.
    proxy.conduct_all(Way::Replies, Conduct::Delay(LEASE / 25));
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    let started = Instant::now();
    let error = in_time("the loss", measuring(&locks, &proxy, &mut admin)).await.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, completed: false, .. }), "{error}");
    assert!(started.elapsed() > LEASE, "it was renewed before");
    proxy.conduct_all(Way::Requests, Conduct::Pass);
    eventually("the key is gone", AT_ONCE, || !admin.exists("renewed")).await;
}

/// Promise: the same for locks that are acquired and extended by hand: answers that are late do not lengthen what is believed in.
///
/// Turned red by: a lease counted from the answer.
#[tokio::test]
async fn row_14_answers_beyond_the_drift() {
    const LEASE: Duration = Duration::from_millis(1500);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    proxy.conduct_all(Way::Replies, Conduct::Delay(LEASE / 15));
    let guard = locks.lock("late").ttl(LEASE).acquire().await.expect("the lock");
    for extension in [None, Some(LEASE), Some(2 * LEASE)] {
        if let Some(ttl) = extension {
            guard.extend(ttl).await.expect("extended");
        }
        // In this order: both run down.
        let kept = admin.remaining("late").expect("held");
        let believed = guard.remaining();
        assert!(believed > LEASE / 2 && believed <= kept, "{extension:?}: {believed:?} of {kept:?}");
    }
    guard.release().await.expect("ours");
}

/// A body that goes on until its lock is lost, and how long that took after `fault`.
async fn noticed(locks: &LockManager, fault: impl FnOnce()) -> (LockError, Duration) {
    #[distributed_lock(key = "robbed", ttl = TTL, renew = "100ms", manager = locks)]
    async fn robbed(locks: &LockManager, fault: impl FnOnce(), at: &mut Option<Instant>) -> Result<(), LockError> {
        fault();
        *at = Some(Instant::now());
        pending().await
    }

    let mut at = None;
    let error = in_time("the loss", robbed(locks, fault, &mut at)).await.expect_err("it is gone");
    (error, at.expect("the body began").elapsed())
}

/// Promise: a lock that is deleted, or flushed with everything else, is noticed at the next renewal: the body is dropped, and its
/// call is *lost*.
///
/// Turned red by: a renewal that does not look at its answer, or brings the key back.
#[tokio::test]
async fn row_15_key_deleted() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    for words in [&["DEL", "robbed"][..], &["FLUSHDB"], &["FLUSHALL"], &["RENAME", "robbed", "elsewhere"]] {
        let (error, took) = noticed(&locks, || admin.command(words)).await;
        assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, completed: false, .. }), "{error}");
        assert!(took < AT_ONCE, "{words:?}: {took:?}");
        assert!(!admin.exists("robbed"), "{words:?}");
    }
}

/// Promise: the same for a lock that somebody else has overwritten; and theirs is neither extended nor deleted.
///
/// Turned red by: a renewal or a release that does not compare.
#[tokio::test]
async fn row_16_key_stolen() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    for words in [&["SET", "robbed", "theirs", "PX", "30000"][..], &["SET", "robbed", "theirs"]] {
        let (error, took) = noticed(&locks, || admin.command(words)).await;
        assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, completed: false, .. }), "{error}");
        assert!(took < AT_ONCE, "{words:?}: {took:?}");
        // What was given back in the background is behind this.
        locks.lock("fence").ttl(TTL).acquire().await.expect("the fence").release().await.expect("released");
        assert_eq!(admin.get("robbed").as_deref(), Some("theirs"));
        assert!(admin.remaining("robbed") <= Some(TTL / 2));
        admin.delete("robbed");
    }
}

/// Promise: no renewal is sent behind a release. In 10,000 races of the two, what is put in the place of a released lock, with the
/// very same value, is never extended.
///
/// Turned red by: a renewal that does not wait for its turn, or does not look whether it is still wanted when it comes.
#[tokio::test]
async fn row_20_renewal_races_with_release() {
    const TASKS: u64 = 100;
    const ROUNDS: u64 = 100;
    const MARK: &str = "30000";

    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let renewed = Sometimes::new("a renewal");
    let marked = Arc::<AtomicU64>::default();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (locks, marked, mut admin) = (locks.clone(), marked.clone(), server.admin());
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let key = format!("{task}:{round}");
                let request = locks.lock(key.as_str()).ttl(TTL).renew_every(ms(1));
                let guard = request.acquire().await.expect("the lock");
                let value = format!("{} {}", guard.token().as_str(), guard.metadata());
                // At another point of the renewals' interval each time.
                tokio::time::sleep(Duration::from_micros((task * 37 + round * 61) % 3000)).await;
                guard.release().await.expect("ours");
                admin.set(&key, &value, &["NX", "PX", MARK]);
                marked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(marked.load(Ordering::Relaxed), TASKS * ROUNDS);
    let scripts = executed(&mut admin, "evalsha");
    for _ in TASKS * ROUNDS..scripts {
        renewed.happened();
    }
    assert!(renewed.times() > TASKS * ROUNDS / 100, "{scripts} scripts, and a release for each lock");
    // The manager's end is behind everything that it has sent.
    locks.shutdown().await;
    let longest: i64 = admin.command(&[
        "EVAL",
        "local most = 0 for _, key in ipairs(redis.call('KEYS', '*')) do most = math.max(most, redis.call('PTTL', key)) end \
         return most",
        "0",
    ]);
    assert!(longest > 0 && longest <= MARK.parse().expect("a number"), "{longest} ms");
}

/// Promise: a renewal that the network delivers only after the release brings nothing back.
///
/// Turned red by: a renewal that sets the key instead of its expiry.
#[tokio::test]
async fn row_20_renewal_delayed_past_the_release() {
    const LEASE: Duration = Duration::from_secs(3);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    // The server has to know the script: a hash that it does not know would change nothing, whenever it comes.
    let known = locks.lock("known").ttl(LEASE).renew_every(ms(10)).acquire().await.expect("the lock");
    eventually("a renewal", AT_ONCE, || executed(&mut admin, "eval") > 0).await;
    known.release().await.expect("ours");
    let late = proxy.next(Way::Requests, renewal, Conduct::Hold);
    let guard = locks.lock("renewed").ttl(LEASE).renew_every(ms(50)).acquire().await.expect("the lock");
    late.happened().await;
    in_time("the release", guard.release()).await.expect("ours");
    assert!(!admin.exists("renewed"));
    let before = executed(&mut admin, "evalsha") + executed(&mut admin, "eval");
    late.let_go().await;
    eventually("the late renewal is executed", AT_ONCE, || {
        executed(&mut admin, "evalsha") + executed(&mut admin, "eval") > before
    })
    .await;
    assert!(!admin.exists("renewed"));
}

/// What is not promised: a server that restarts without its data has forgotten its locks, and gives them out again. Promise: the holder
/// notices at his next renewal, his body is dropped, and the next holder's lock stays.
///
/// Turned red by: a renewal that brings the key back, or does not look at its answer.
#[tokio::test]
async fn row_26_restart_without_data() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    let twice = Sometimes::new("a second holder");
    let (error, took) = noticed(&locks, || {
        server.restart_empty();
        server.admin().set("robbed", "theirs", &["NX", "PX", "30000"]);
        twice.happened();
    })
    .await;
    assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, completed: false, .. }), "{error}");
    assert!(took < AT_ONCE, "{took:?}");
    locks.lock("fence").ttl(TTL).acquire().await.expect("the fence").release().await.expect("released");
    assert_eq!(server.admin().get("robbed").as_deref(), Some("theirs"));
}

/// Promise: a body that hangs holds its lock for no longer than `max_hold`, renewals or not: it is dropped, its call is *lost*, and
/// the lock is free.
///
/// Turned red by: renewals without an end.
#[tokio::test]
async fn row_58_wedged_body() {
    const LIMIT: Duration = Duration::from_millis(1200);

    #[distributed_lock(key = "wedged", ttl = "400ms", renew, max_hold = LIMIT, manager = locks)]
    async fn wedged(locks: &LockManager) -> Result<(), LockError> {
        pending().await
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let (locks, others) = (connect(&server).await, connect(&server).await);
    let started = Instant::now();
    let error = in_time("the loss", wedged(&locks)).await.expect_err("it hangs");
    let took = started.elapsed();
    assert!(matches!(error, LockError::Lost { cause: LostCause::MaxHold, completed: false, .. }), "{error}");
    assert!(took >= LIMIT * 9 / 10, "{took:?}");
    in_time("the next", others.lock("wedged").ttl(TTL).wait(TTL).acquire())
        .await
        .expect("it is free")
        .release()
        .await
        .expect("ours");
    assert!(!admin.exists("wedged"));
}

/// Promise: a future that was put aside in the middle of its body, and forgotten, does not hold its lock for ever: its renewals end
/// when it was not polled for `max_stall`.
///
/// Turned red by: renewals without a look at the body.
#[tokio::test]
async fn row_58_forgotten_body() {
    #[distributed_lock(key = "forgotten", ttl = "150ms", renew, manager = locks)]
    async fn forgotten(locks: &LockManager, began: &AtomicBool) -> Result<(), LockError> {
        began.store(true, Ordering::Relaxed);
        pending().await
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let store = RedisStore::open(&server.url()).expect("a good address");
    // Ten times the ttl, which is the least.
    let locks = LockManager::builder(store).max_stall(ms(1500)).build();
    let began = AtomicBool::new(false);
    let mut call = Box::pin(forgotten(&locks, &began));
    poll_fn(|context| {
        let polled = call.as_mut().poll(context);
        if began.load(Ordering::Relaxed) { Poll::Ready(()) } else { polled.map(|outcome| panic!("{outcome:?}")) }
    })
    .await;
    let started = Instant::now();
    eventually("it is free", ms(1650) + AT_ONCE, || !admin.exists("forgotten")).await;
    assert!(started.elapsed() > ms(600), "it was not even renewed: {:?}", started.elapsed());
    // Whoever finds it again learns of it.
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => assert!(error.is_lost(), "{error}"),
        other => panic!("{other:?}"),
    }
}
