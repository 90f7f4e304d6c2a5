//! Whoever waits in line, and what befalls him, those before him, and the lock at the moment at which it is handed to him. What the
//! line is made of is looked into hole by hole in `tests/handoff.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockGuard, LockManager, Store};
use lock_tests::{Admin, Moment, Process, RedisServer, Sometimes, drop_after, eventually};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::{AT_ONCE, PROCESS, TTL, connect, ms, worker};

pub(crate) const KEY: &str = "awaited";
pub(crate) const LINE: &str = "awaited:lock_runtime:q1";

/// How long a lock is kept for whoever it was granted to.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);

/// How long whoever waits goes at most without asking.
pub(crate) const CAP: Duration = Duration::from_secs(1);

/// How long it may take at most when nobody tells whoever is next, with what a busy machine may add.
pub(crate) const UNTOLD: Duration = Duration::from_secs(3);

/// A wait that is under way.
pub(crate) type Waiting = JoinHandle<Result<LockGuard, LockError>>;

pub(crate) async fn hold(locks: &LockManager) -> LockGuard {
    locks.lock(KEY).ttl(TTL).acquire().await.expect("a free lock")
}

/// Who stands in line, from the first to the last.
pub(crate) fn line(admin: &mut Admin) -> Vec<String> {
    admin.command(&["LRANGE", LINE, "0", "-1"])
}

/// Waits until `number` of them stand in line.
pub(crate) async fn in_line(admin: &mut Admin, number: usize) {
    eventually(&format!("{number} in line"), AT_ONCE, || line(admin).len() == number).await;
}

/// Begins to wait, behind everybody who is there.
pub(crate) async fn line_up(locks: &LockManager, admin: &mut Admin) -> Waiting {
    let before = line(admin).len();
    let waiting = tokio::spawn(locks.lock(KEY).ttl(TTL).wait(TTL).acquire());
    in_line(admin, before + 1).await;
    waiting
}

/// What came of a wait, which has to end in the lock and within this time.
pub(crate) async fn won(waiting: Waiting, within: Duration) -> LockGuard {
    let outcome = tokio::time::timeout(within, waiting).await;
    outcome.unwrap_or_else(|_| panic!("not within {within:?}")).expect("no panic").expect("the lock")
}

/// Starts a process that waits, behind everybody who is there.
pub(crate) async fn line_up_process(server: &RedisServer, admin: &mut Admin) -> Process {
    let before = line(admin).len();
    let process = worker(&["wait-for-lock", &server.url(), KEY, &TTL.as_millis().to_string()]);
    eventually("it is in line", PROCESS, || line(admin).len() == before + 1).await;
    process
}

/// Whether the lock, or a place in line, is had by a call of this metadata.
fn is_had_by(admin: &mut Admin, metadata: &str) -> bool {
    let value = admin.get(KEY).unwrap_or_default();
    [value].into_iter().chain(line(admin)).any(|text| text.ends_with(metadata))
}

/// Promise: dropped at every await, from before it lines up until it has given the lock back, a call that waits leaves neither a
/// key nor a place in line behind. Whoever is next has the lock at once.
///
/// Turned red by: a place in line, or a grant, that is not given back when the call is dropped.
#[tokio::test]
async fn row_04_a_waiter_dropped_at_every_poll() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, behind) = (connect(&server).await, connect(&server).await);
    for moment in [Moment::Pending, Moment::Woken] {
        for polls in 0.. {
            let what = format!("dropped after poll {polls}, {moment:?}");
            let store = RedisStore::open(&server.url()).expect("a good address");
            let locks = LockManager::builder(store.clone()).build();
            let gone = Arc::<AtomicBool>::default();
            let held = hold(&holder).await;
            // In a task of its own: nothing but its own news polls the call.
            let releasing = {
                let (gone, behind, mut admin) = (gone.clone(), behind.clone(), server.admin());
                let (next_in_line, next) = oneshot::channel();
                tokio::spawn(async move {
                    let is_waited_for = || gone.load(Ordering::Acquire) || admin.exists(LINE);
                    eventually("it is in line, or gone", AT_ONCE, is_waited_for).await;
                    let next = tokio::spawn(behind.lock(KEY).ttl(TTL).wait(TTL).metadata("next").acquire());
                    eventually("the next is in line", AT_ONCE, || {
                        line(&mut admin).last().is_some_and(|last| last.ends_with("next"))
                    })
                    .await;
                    held.release().await.expect("ours");
                    next_in_line.send(next).expect("it is waited for");
                });
                next
            };
            let waiting = async {
                let guard = locks.lock(KEY).ttl(TTL).wait(TTL).metadata("dropped").acquire().await;
                guard.expect("the lock").release().await.expect("ours");
            };
            let finished = tokio::time::timeout(UNTOLD, drop_after(polls, moment, waiting)).await;
            let finished = finished.unwrap_or_else(|_| panic!("it stands still: {what}")).is_some();
            gone.store(true, Ordering::Release);
            let next = releasing.await.expect("no panic");
            tokio::time::timeout(AT_ONCE, store.drain()).await.expect("it was cleaned up");
            assert!(!is_had_by(&mut admin, "dropped"), "{what}");
            won(next, AT_ONCE).await.release().await.expect("ours");
            assert_eq!(admin.keys(), [""; 0], "{what}");
            if finished {
                // A connection, two questions, a call, a confirmation, a release.
                assert!(polls >= 5, "{polls}");
                break;
            }
        }
    }
}

/// As above, at any moment of time and not only between two polls: three processes' worth of callers give up all the time, on threads
/// of their own, while the lock goes from one to the other. In the end nothing is left.
///
/// Turned red by: as above; a call that is answered to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_waiters_dropped_at_any_moment() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let stores = [0; 3].map(|_| RedisStore::open(&server.url()).expect("a good address"));
    let (won, dropped) = (Sometimes::new("the lock"), Sometimes::new("a call that was given up"));
    let mut callers = JoinSet::new();
    for (place, store) in stores.iter().enumerate() {
        let locks = LockManager::builder(store.clone()).build();
        for task in 0..4 {
            let (locks, won, dropped) = (locks.clone(), won.count(), dropped.count());
            callers.spawn(async move {
                for round in 0..80 {
                    // Up to 6 ms, in an order of its own for each of them.
                    let patience = Duration::from_micros((round * 617 + place * 331 + task * 97) as u64 % 6000);
                    let call = locks.lock(KEY).ttl(TTL).wait(TTL).acquire();
                    match tokio::time::timeout(patience, call).await {
                        Ok(guard) => {
                            won.happened();
                            guard.expect("the lock").release().await.expect("ours");
                        }
                        Err(_) => dropped.happened(),
                    }
                }
            });
        }
    }
    callers.join_all().await;
    for store in &stores {
        tokio::time::timeout(AT_ONCE, store.drain()).await.expect("it was cleaned up");
    }
    assert_eq!(admin.keys(), [""; 0], "after {} locks and {} that were given up", won.times(), dropped.times());
}

/// Promise: of those in line, who was killed costs the others nothing, and who was stopped, or is killed before he has confirmed, the
/// time for which the lock is kept for him and one round of asking; not a TTL. Somebody who listens to every channel changes nothing.
///
/// Turned red by: a grant for the whole TTL; the dead taken for living because a note is heard; waiters who never ask.
#[tokio::test]
async fn hole_08_waiters_are_killed_and_stopped() {
    let server = RedisServer::start();
    let (mut admin, mut curious) = (server.admin(), server.admin());
    curious.command::<()>(&["PSUBSCRIBE", "*"]);
    let (holder, others) = (connect(&server).await, connect(&server).await);
    let held = hold(&holder).await;
    let mut killed = line_up_process(&server, &mut admin).await;
    let mut stopped = line_up_process(&server, &mut admin).await;
    let mut alive = line_up_process(&server, &mut admin).await;
    let last = line_up(&others, &mut admin).await;
    killed.kill();
    stopped.pause();
    let places = line(&mut admin);

    let released = Instant::now();
    held.release().await.expect("ours");
    let granted = admin.get(KEY).expect("it is never free");
    assert!(places[1].ends_with(&granted), "to the first who is connected");
    stopped.kill();
    assert_eq!(alive.line(UNTOLD), "held");
    let took = released.elapsed();
    assert!(took > WINDOW / 2, "it was kept for the one who was stopped: {took:?}");
    won(last, AT_ONCE).await.release().await.expect("ours");
    let took = released.elapsed();
    assert!(took < WINDOW + CAP + ms(1000), "{took:?}");
    assert!(alive.finish(PROCESS).0.success());
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: when a holder is killed, the first in line has the lock when its ttl is over and somebody has asked, and the next one
/// when that one gives it back: in their order.
///
/// Turned red by: waiters who ask neither when the lease in their way is over nor every now and then.
#[tokio::test]
async fn row_08_the_holder_is_killed_while_others_wait() {
    const LEASE: Duration = Duration::from_millis(1500);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (connect(&server).await, connect(&server).await);
    let began = Instant::now();
    let mut holder = worker(&["hold-lock", &server.url(), KEY, &LEASE.as_millis().to_string()]);
    assert_eq!(holder.line(PROCESS), "held");
    let (first, second) = (line_up(&first, &mut admin).await, line_up(&second, &mut admin).await);
    holder.kill();
    let killed = Instant::now();
    let guard = won(first, LEASE + UNTOLD).await;
    assert!(began.elapsed() >= LEASE, "its lease was not over: {:?}", began.elapsed());
    assert!(killed.elapsed() < LEASE + CAP + ms(1000), "{:?}", killed.elapsed());
    assert!(!second.is_finished(), "one at a time");
    guard.release().await.expect("ours");
    won(second, AT_ONCE).await.release().await.expect("ours");
}

/// Promise: a wait that ends at the very moment at which the lock is handed over ends in the lock, or in *busy*; the lock itself
/// is lost in neither case: the next caller has it, and not after a while.
///
/// Turned red by: a grant that is not given back when the wait is over.
#[tokio::test]
async fn wait_ends_at_the_moment_of_the_hand_off() {
    const WAIT: Duration = Duration::from_millis(40);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let store = RedisStore::open(&server.url()).expect("a good address");
    let locks = LockManager::builder(store.clone()).build();
    let (won, busy) = (Sometimes::new("the lock in time"), Sometimes::new("busy at the end"));
    for round in 0..60 {
        // A hundredth before it to a hundredth after it, in steps that no timer can be trusted with: every order comes about.
        let release_at = ms(30) + Duration::from_micros(333) * round;
        let held = hold(&holder).await;
        let began = tokio::time::Instant::now();
        let waiting = tokio::spawn(locks.lock(KEY).ttl(TTL).wait(WAIT).acquire());
        tokio::time::sleep_until(began + release_at).await;
        held.release().await.expect("ours");
        match tokio::time::timeout(AT_ONCE, waiting).await.expect("its wait is over").expect("no panic") {
            Ok(guard) => {
                won.happened();
                assert!(guard.is_held() && guard.ttl().await.expect("an answer") > TTL / 2, "round {round}");
                guard.release().await.expect("ours");
            }
            Err(error) if error.is_busy() => busy.happened(),
            Err(error) => panic!("round {round}: {error}"),
        }
        tokio::time::timeout(AT_ONCE, store.drain()).await.expect("it was cleaned up");
        assert_eq!(admin.keys(), [""; 0], "round {round}");
    }
}

/// Promise: the place in line is the process's: when the first of its callers gives up, the next one goes on in it, ahead of everybody
/// who came later, and gets a lock for its own ttl.
///
/// Turned red by: a place that is left with whoever took it; a lock for the ttl of the one who took the place.
#[tokio::test]
async fn hole_21_a_place_goes_to_the_next_of_its_process() {
    const SHORT: Duration = Duration::from_secs(10);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, locks, others) = (connect(&server).await, connect(&server).await, connect(&server).await);
    let held = hold(&holder).await;
    let first = tokio::spawn(locks.lock(KEY).ttl(TTL).wait(ms(300)).acquire());
    in_line(&mut admin, 1).await;
    let short = tokio::spawn(locks.lock(KEY).ttl(SHORT).wait(TTL).acquire());
    let last = line_up(&others, &mut admin).await;
    let places = line(&mut admin);
    assert!(first.await.expect("no panic").expect_err("it is held").is_busy());
    assert!(!short.is_finished());
    assert_eq!(line(&mut admin), places, "the place is kept");
    held.release().await.expect("ours");
    let guard = won(short, AT_ONCE).await;
    let left = admin.remaining(KEY).expect("held");
    assert!(left <= SHORT && left > SHORT / 2 && guard.remaining() <= left, "{left:?}");
    guard.release().await.expect("ours");
    let guard = won(last, AT_ONCE).await;
    assert!(admin.remaining(KEY) > Some(TTL / 2), "{:?}", admin.remaining(KEY));
    guard.release().await.expect("ours");
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: two managers of one process that share a store wait as two processes do, one behind the other, and each is called
/// for what is its own.
///
/// Turned red by: one place for a whole store; a note that is told to another than the one that it names.
#[tokio::test]
async fn two_managers_of_a_store_take_turns() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let store = RedisStore::open(&server.url()).expect("a good address");
    let [first, second] = [store.clone(), store].map(|store| LockManager::builder(store).build());
    let began = Instant::now();
    for _ in 0..5 {
        let held = hold(&holder).await;
        let (before, behind) = (line_up(&first, &mut admin).await, line_up(&second, &mut admin).await);
        held.release().await.expect("ours");
        let guard = won(before, AT_ONCE).await;
        assert!(!behind.is_finished() && line(&mut admin).len() == 1);
        guard.release().await.expect("ours");
        won(behind, AT_ONCE).await.release().await.expect("ours");
    }
    // Who is not told asks within a second: of ten who are not, most would have had to.
    assert!(began.elapsed() < UNTOLD, "{:?}", began.elapsed());
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: callers on two runtimes of a process wait one behind the other, and when the runtime of the first one ends, the other is
/// not kept waiting: neither before the lock is handed over, nor for a ttl after.
///
/// Turned red by: a turn, or a place in line, that ends with its runtime.
#[test]
fn a_runtime_ends_while_its_callers_wait() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    };
    let server = RedisServer::start();
    let other = runtime();
    let holder = other.block_on(connect(&server));
    let locks = other.block_on(connect(&server));
    for granted in [false, true] {
        let mut admin = server.admin();
        let one = runtime();
        let held = other.block_on(hold(&holder));
        let first = one.spawn(locks.lock(KEY).ttl(TTL).wait(TTL).acquire());
        other.block_on(in_line(&mut admin, 1));
        let second = other.spawn(locks.lock(KEY).ttl(TTL).wait(TTL).acquire());
        if granted {
            other.block_on(async { held.release().await.expect("ours") });
            one.shutdown_background();
        } else {
            one.shutdown_background();
            other.block_on(async { held.release().await.expect("ours") });
        }
        // It ended with its runtime; or it had the lock by then, and the guard ends here.
        drop(other.block_on(first));
        other.block_on(async { won(second, UNTOLD).await.release().await.expect("ours") });
        other.block_on(async { eventually("nothing is left", AT_ONCE, || admin.keys().is_empty()).await });
    }
}

/// Promise: when a manager is shut down, those of its callers who wait in line are refused, and when that is done, their place is
/// left and what was handed to them is given back, whatever the moment.
///
/// Turned red by: a shutdown that does not wait for what is left behind; a place that is not left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_is_shut_down_while_its_callers_wait() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let (refused, won) = (Sometimes::new("a refusal"), Sometimes::new("the lock"));
    for round in 0..40 {
        let locks = connect(&server).await;
        let held = hold(&holder).await;
        let waiting = [0; 2].map(|_| {
            let call = locks.lock(KEY).ttl(TTL).wait(TTL).acquire();
            tokio::spawn(async { call.await.map(drop) })
        });
        in_line(&mut admin, 1).await;
        // Before it, in the middle of it, and after it.
        let pause = Duration::from_micros(100) * (round % 20);
        let (early, late) = if round < 20 { (pause, Duration::ZERO) } else { (Duration::ZERO, pause) };
        let shutting_down = async {
            tokio::time::sleep(late).await;
            locks.shutdown().await;
        };
        let releasing = async {
            tokio::time::sleep(early).await;
            held.release().await.expect("ours");
        };
        let ((), ()) = tokio::join!(shutting_down, releasing);
        for waiting in waiting {
            match tokio::time::timeout(AT_ONCE, waiting).await.expect("at once").expect("no panic") {
                Ok(()) => won.happened(),
                Err(LockError::Unavailable { .. }) => refused.happened(),
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        assert_eq!(admin.keys(), [""; 0], "round {round}");
    }
}

/// Promise: a user who may call nobody, and those who stand in line, wait for each other without standing still: from the line he is
/// handed nothing, and asks; they are not told when he gives back, and ask.
///
/// Turned red by: waiters in line who never ask; a release that is refused with its line.
#[tokio::test]
async fn hole_12_those_in_line_and_one_who_may_not() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let words = ["ACL", "SETUSER", "mute", "on", ">password", "~*", "resetchannels", "+@all", "-publish", "-subscribe"];
    admin.command::<()>(&words);
    let url = format!("redis://mute:password@127.0.0.1:{}/", server.port());
    let mute = LockManager::connect(&url).await.expect("connect");
    let (holder, others) = (connect(&server).await, connect(&server).await);
    let held = hold(&holder).await;
    let waiting = line_up(&others, &mut admin).await;
    let polling = tokio::spawn(mute.lock(KEY).ttl(TTL).wait(TTL).acquire());
    held.release().await.expect("ours");
    won(waiting, AT_ONCE).await.release().await.expect("ours");
    let held = won(polling, AT_ONCE).await;
    let waiting = line_up(&others, &mut admin).await;
    held.release().await.expect("ours");
    won(waiting, UNTOLD).await.release().await.expect("ours");
    assert_eq!(admin.keys(), [""; 0]);
}
