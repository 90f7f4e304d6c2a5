//! The local hand-over on a real server: a lock goes from one caller of a process to the next, and the server sees one
//! acquisition and one release for many of them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockGuard, LockManager, LockRequest, distributed_lock};
use lock_tests::{Moment, RedisServer, drop_after, eventually};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const KEY: &str = "passed-on";
const TTL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an offer stands, with what a busy machine adds; far below the lease.
const SOON: Duration = Duration::from_secs(5);

fn build(server: &RedisServer, hand_over: bool) -> LockManager {
    let store = RedisStore::open(&server.url()).expect("a good address");
    LockManager::builder(store).hand_over(hand_over).shutdown_grace(Duration::from_millis(200)).build()
}

fn request(locks: &LockManager) -> LockRequest {
    locks.lock(KEY).ttl(TTL).wait(PATIENCE)
}

/// What bodies under the lock look after.
#[derive(Default)]
struct Room {
    taken: AtomicBool,
    visits: AtomicUsize,
}

#[distributed_lock(key = KEY, ttl = TTL, wait = PATIENCE, manager = locks)]
async fn visit(locks: &LockManager, room: &Room) -> Result<(), LockError> {
    assert!(!room.taken.swap(true, Ordering::SeqCst), "two bodies at once");
    tokio::task::yield_now().await;
    room.taken.store(false, Ordering::SeqCst);
    room.visits.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Lets `tasks` tasks visit `turns` times each, and counts the acquisitions and releases that the server saw.
async fn crowd(locks: &LockManager, server: &RedisServer, tasks: usize, turns: usize) -> (u64, u64) {
    let room = Arc::new(Room::default());
    let mut crowd = JoinSet::new();
    for _ in 0..tasks {
        let (locks, room) = (locks.clone(), room.clone());
        crowd.spawn(async move {
            for _ in 0..turns {
                visit(&locks, &room).await.expect("the lock");
            }
        });
    }
    crowd.join_all().await;
    assert_eq!(room.visits.load(Ordering::SeqCst), tasks * turns);
    assert!(!server.admin().exists(KEY), "the last one released");
    let counts = server.admin().command_counts();
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    (of("set"), of("del"))
}

/// Promise: bodies never overlap, and what is acquired once is released once, however many have it in between.
///
/// Turned red by: an offer that is accepted twice, or is neither accepted nor given back; a release of what was handed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_an_acquisition() {
    let server = RedisServer::start();
    let (acquired, released) = crowd(&build(&server, true), &server, 32, 50).await;
    assert_eq!(acquired, released);
    assert!(acquired < 32 * 50 / 2, "hardly anything was handed over: {acquired} acquisitions");
}

/// Promise: fencing tokens rise from holder to holder, whether a lease was handed over, handed on by the server, or won anew; and
/// who has none in between takes none away. Two managers stand for two processes.
///
/// Turned red by: a token that is given out twice; tokens that are kept for a later lease; a receiver that makes one up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fencing_tokens_rise_from_hand_to_hand() {
    const TASKS: u64 = 16;
    const TURNS: u64 = 50;
    let server = RedisServer::start();
    let managers = [0; 2].map(|_| build(&server, true));
    let room: Arc<Mutex<Vec<i64>>> = Arc::default();
    let mut crowd = JoinSet::new();
    for task in 0..TASKS {
        for locks in &managers {
            let (locks, room) = (locks.clone(), room.clone());
            crowd.spawn(async move {
                for turn in 0..TURNS {
                    let fenced = (task + turn) % 4 != 0;
                    let asked = if fenced { request(&locks).fence() } else { request(&locks) };
                    let guard = asked.acquire().await.expect("the lock");
                    assert_eq!(guard.fence().is_some(), fenced);
                    room.lock().expect("nobody panicked").extend(guard.fence());
                    tokio::task::yield_now().await;
                    guard.release().await.expect("ours");
                }
            });
        }
    }
    crowd.join_all().await;
    let seen = room.lock().expect("nobody panicked");
    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
    let counts = server.admin().command_counts();
    let taken = counts.get("time").copied().expect("tokens are taken by the clock");
    assert!(
        taken * 2 < seen.len() as u64,
        "hardly any was handed over: {taken} acquisitions for {} tokens",
        seen.len()
    );
}

/// Promise: it can be switched off, and every caller asks the server then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_switched_off() {
    let server = RedisServer::start();
    let (acquired, released) = crowd(&build(&server, false), &server, 4, 25).await;
    assert_eq!(released, 100);
    assert!(acquired >= 100, "{acquired}");
}

/// Polls `future` once, which has to wait.
async fn ask<F: Future>(mut future: Pin<&mut F>) {
    let first = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
    assert!(first, "somebody holds the lock");
}

/// Promise: first in, first out.
#[tokio::test]
async fn first_come_first_served() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    let guard = request(&locks).acquire().await.expect("free");
    let (note, mut notes) = mpsc::unbounded_channel();
    let mut crowd = JoinSet::new();
    for number in 0..20 {
        let mut waiting = Box::pin(request(&locks).acquire());
        ask(waiting.as_mut()).await;
        let note = note.clone();
        crowd.spawn(async move {
            let guard = waiting.await.expect("the lock");
            note.send(number).expect("somebody reads");
            guard.release().await.expect("ours");
        });
    }
    guard.release().await.expect("ours");
    crowd.join_all().await;
    let order: Vec<i32> = std::iter::from_fn(|| notes.try_recv().ok()).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

/// Promise: a caller who is not polled any more does not have what it is offered: the next one has.
///
/// Turned red by: offers that nobody takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_is_passed_over() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    let guard = request(&locks).acquire().await.expect("free");
    let mut sleeper = pin!(request(&locks).acquire());
    ask(sleeper.as_mut()).await;
    let mut next = Box::pin(request(&locks).acquire());
    ask(next.as_mut()).await;
    let next = tokio::spawn(next);

    let began = Instant::now();
    guard.release().await.expect("handed over");
    let guard = next.await.expect("no panic").expect("the lock");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // The sleeper has lost its turn, and not its patience.
    ask(sleeper.as_mut()).await;
    guard.release().await.expect("ours");
    sleeper.await.expect("the lock").release().await.expect("ours");
    assert!(!server.admin().exists(KEY));
}

/// Promise: where nobody else of the process waits, other processes have it before the lease would have ended.
///
/// Turned red by: offers that nobody takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_keeps_the_lock_from_nobody() {
    let server = RedisServer::start();
    let (locks, others) = (build(&server, true), build(&server, true));
    let guard = request(&locks).acquire().await.expect("free");
    let mut sleeper = pin!(request(&locks).acquire());
    ask(sleeper.as_mut()).await;
    guard.release().await.expect("handed over");
    let began = Instant::now();
    let guard = request(&others).acquire().await.expect("the lock");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    guard.release().await.expect("ours");
    sleeper.await.expect("the lock").release().await.expect("ours");
}

/// Promise: a caller that gives up, wherever it stands, loses no lock: not the one that it is just being offered, either.
///
/// Turned red by: an offer that goes with the turn of a caller who is dropped, and is not given back.
#[tokio::test]
async fn dropped_at_every_poll() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    for moment in [Moment::Pending, Moment::Woken] {
        for polls in 1.. {
            let guard = request(&locks).acquire().await.expect("free");
            let leaving = drop_after(polls, moment, async {
                visit(&locks, &Room::default()).await.expect("the lock");
            });
            let mut leaving = pin!(leaving);
            let mut ended = poll_fn(|cx| Poll::Ready(leaving.as_mut().poll(cx))).await;
            guard.release().await.expect("ours");
            if ended.is_pending() {
                ended = Poll::Ready(leaving.await);
            }
            let mut admin = server.admin();
            let what = format!("the lock is free: {moment:?} after poll {polls}");
            eventually(&what, SOON, || !admin.exists(KEY)).await;
            if matches!(ended, Poll::Ready(Some(()))) {
                assert!(polls > 1, "it waited");
                break;
            }
        }
    }
}

/// The number of acquisitions that the server sees when `second` waits for the lock which `first` holds and gives back.
async fn acquisitions(first: LockRequest, second: LockRequest, server: &RedisServer) -> (LockGuard, u64) {
    let acquired = || server.admin().command_counts()["set"];
    let guard = first.acquire().await.expect("free");
    let before = acquired();
    let mut waiting = pin!(second.acquire());
    ask(waiting.as_mut()).await;
    guard.release().await.expect("ours");
    let guard = waiting.await.expect("the lock");
    (guard, acquired() - before)
}

/// Promise: a lock is handed over only to those who cannot tell the difference.
///
/// Turned red by: a fencing token that two holders share, a floor that is cut short, a holder who is shown as another, a lease
/// that is shorter than what was asked for, or so long that a crash would keep others waiting.
#[tokio::test]
async fn what_makes_a_difference_is_not_handed_over() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    let plain = || request(&locks);

    let (guard, asked) = acquisitions(plain(), plain(), &server).await;
    assert_eq!(asked, 0);
    guard.release().await.expect("ours");

    let (guard, asked) = acquisitions(plain().fence(), plain().fence(), &server).await;
    assert!(asked > 0);
    guard.release().await.expect("ours");
    let (guard, asked) = acquisitions(plain(), plain().metadata("of its own"), &server).await;
    assert!(asked > 0);
    assert_eq!(guard.metadata(), "of its own");
    guard.release().await.expect("ours");
    let (guard, asked) = acquisitions(plain(), locks.lock(KEY).ttl(2 * TTL).wait(PATIENCE), &server).await;
    assert!(asked > 0);
    assert!(guard.remaining() > TTL);
    guard.release().await.expect("ours");
    let (guard, asked) = acquisitions(plain(), locks.lock(KEY).ttl(TTL / 10).wait(PATIENCE), &server).await;
    assert!(asked > 0);
    guard.release().await.expect("ours");
    let kept = Duration::from_millis(200);
    let (guard, asked) = acquisitions(plain().min_hold(kept), plain(), &server).await;
    assert!(asked > 0);
    guard.release().await.expect("ours");
    let (guard, asked) = acquisitions(plain(), plain().min_hold(kept), &server).await;
    assert!(asked > 0);
    guard.release().await.expect("ours");
}

/// Promise: whoever is handed a lock believes in it for no longer than the one who had it before.
#[tokio::test]
async fn a_lease_does_not_grow_by_being_handed_over() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    let guard = request(&locks).acquire().await.expect("free");
    let mut waiting = pin!(request(&locks).acquire());
    ask(waiting.as_mut()).await;
    let before = guard.remaining();
    guard.release().await.expect("ours");
    let guard = waiting.await.expect("the lock");
    assert!(guard.remaining() < before);
    assert!(guard.ttl().await.expect("ours") >= guard.remaining());
    guard.extend(2 * TTL).await.expect("ours");
    assert!(guard.remaining() > TTL);
    guard.release().await.expect("ours");
}

/// Promise: nothing that was handed over, or was about to be, outlives a shutdown.
#[tokio::test]
async fn shutdown_in_the_middle() {
    let server = RedisServer::start();
    let locks = build(&server, true);
    let guard = request(&locks).acquire().await.expect("free");
    let mut sleeper = pin!(request(&locks).acquire());
    ask(sleeper.as_mut()).await;
    drop(guard);
    locks.shutdown().await;
    assert!(!server.admin().exists(KEY));
    let error = sleeper.await.expect_err("no locks any more");
    assert!(matches!(error, LockError::Unavailable { .. }), "{error}");
}
