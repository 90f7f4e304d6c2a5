//! Hand-off on real servers: how a lock goes from one process to the next, and all that may get in its way. A store stands for a
//! process here: it has connections of its own.
//!
//! A test is named by the hole that it looks into, of those which a study of such protocols has found.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::waiter::{Confirmed, Place, Waiter};
use lock_runtime::store::{Attempt, Claim, Store};
use lock_runtime::{LockError, LockKey, LockManager, StoreErrorKind};
use lock_tests::{Admin, Conduct, Moment, Process, Proxy, RedisServer, Way, command, demote, drop_after, eventually};

const KEY: &str = "work";
const LINE: &str = "work:lock_runtime:q1";
const TTL: Duration = Duration::from_secs(60);
/// How long a lock is kept for whoever it was granted to.
const WINDOW: Duration = Duration::from_secs(1);
/// How long whoever waits goes at most without asking.
const CAP: Duration = Duration::from_secs(1);
/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

fn store(server: &RedisServer) -> RedisStore {
    RedisStore::open(&server.url()).expect("a good address")
}

fn claim_of(key: &str) -> Claim {
    Claim::new(LockKey::from(key), TTL, Arc::from("host:1 with words"))
}

/// Takes a free lock.
async fn hold_key(store: &RedisStore, key: &str) -> Claim {
    let claim = claim_of(key);
    let taken = store.acquire(&claim).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{taken:?}");
    claim
}

async fn hold(store: &RedisStore) -> Claim {
    hold_key(store, KEY).await
}

fn place_of(store: &RedisStore) -> Box<dyn Waiter> {
    store.waiter(claim_of(KEY)).expect("there are lines")
}

async fn ask(waiter: &mut Box<dyn Waiter>) -> Place {
    waiter.ask().await.expect("an answer")
}

fn is_waiting(place: &Place) -> bool {
    matches!(place, Place::Waiting { .. })
}

/// Takes a place in line.
async fn line_up(store: &RedisStore) -> Box<dyn Waiter> {
    let mut waiter = place_of(store);
    let place = ask(&mut waiter).await;
    assert!(is_waiting(&place), "{place:?}");
    waiter
}

async fn called(waiter: &mut Box<dyn Waiter>) {
    tokio::time::timeout(AT_ONCE, waiter.called()).await.expect("a call");
}

async fn confirm(waiter: &mut Box<dyn Waiter>) -> Option<Confirmed> {
    waiter.confirm(TTL, None, 0).await.expect("an answer")
}

/// Waits for the call, and makes a lock of the grant.
async fn won(mut waiter: Box<dyn Waiter>) -> Claim {
    called(&mut waiter).await;
    confirm(&mut waiter).await.expect("it was granted");
    waiter.settle()
}

async fn release(store: &RedisStore, claim: &Claim) {
    assert!(store.release(claim).await.expect("an answer"), "it was ours");
}

/// Who stands in line, from the first to the last.
fn line(admin: &mut Admin) -> Vec<String> {
    admin.command(&["LRANGE", LINE, "0", "-1"])
}

/// Puts somebody in line who listens to nothing.
fn line_up_a_dead_one(admin: &mut Admin, number: usize) {
    let entry = format!("1000 lock_runtime:{number:032x} {number:032x} dead");
    admin.command::<()>(&["RPUSH", LINE, &entry]);
}

fn is_for(line: &str, claim: &Claim) -> bool {
    line.ends_with(&claim.value())
}

/// Promise: who is next has the lock at once, without asking, and without its ever being free. It is kept for a moment until it is
/// confirmed, and then for the whole of its time.
///
/// Turned red by: a release that only deletes the key; a grant of the whole time (hole 8).
#[tokio::test]
async fn hole_12_the_next_in_line_is_called() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    let deleted = |admin: &mut Admin| admin.command_counts().get("del").copied().unwrap_or(0);
    let before = deleted(&mut admin);
    release(&first, &held).await;
    called(&mut waiter).await;
    assert!(admin.get(KEY).is_some_and(|value| value == waiter.claim().value()), "never free");
    assert!(admin.remaining(KEY) <= Some(WINDOW), "not confirmed");
    confirm(&mut waiter).await.expect("it was granted");
    let claim = waiter.settle();
    assert!(admin.remaining(KEY) > Some(TTL / 2), "confirmed");
    assert_eq!(deleted(&mut admin), before);
    assert!(!admin.exists(LINE));
    release(&second, &claim).await;
    assert!(!admin.exists(KEY));
}

/// Promise: first in, first out; over three processes, round after round.
///
/// Turned red by: a line that is a set, or is popped at its other end.
#[tokio::test]
async fn first_in_first_out() {
    let server = RedisServer::start();
    let holder = store(&server);
    let stores = [0; 3].map(|_| store(&server));
    let held = hold(&holder).await;
    let mut waiting = std::collections::VecDeque::new();
    for store in &stores {
        waiting.push_back((store, line_up(store).await));
    }
    let (mut owner, mut claim) = (&holder, held);
    for round in 0..12 {
        release(owner, &claim).await;
        let (store, next) = waiting.pop_front().expect("somebody waits");
        claim = won(next).await;
        owner = store;
        for (_, other) in &mut waiting {
            let called = tokio::time::timeout(Duration::ZERO, other.called()).await;
            assert!(called.is_err(), "it was not its turn: round {round}");
        }
        waiting.push_back((store, line_up(store).await));
    }
}

/// Promise: a repeat of the question finds that the lock was granted, or is confirmed already, and does not touch its expiry.
///
/// Turned red by: a question that sets the key anew.
#[tokio::test]
async fn hole_02_a_repeat_leaves_the_expiry_alone() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    release(&first, &held).await;
    admin.command::<()>(&["PEXPIRE", KEY, "600"]);
    assert_eq!(ask(&mut waiter).await, Place::Granted);
    assert!(admin.remaining(KEY) <= Some(Duration::from_millis(600)));
    confirm(&mut waiter).await.expect("still ours");
    assert_eq!(ask(&mut waiter).await, Place::Granted);
    assert!(admin.remaining(KEY) > Some(TTL / 2));
    assert!(!admin.exists(LINE), "nobody is in line");
    // What is confirmed late takes nothing away, either.
    admin.command::<()>(&["PEXPIRE", KEY, "3600000"]);
    confirm(&mut waiter).await.expect("still ours");
    assert!(admin.remaining(KEY) > Some(Duration::from_secs(3000)));
}

/// Promise: a process that is stopped while it is next in line costs the others the time for which a lock is kept for it, and one
/// round of asking; not its TTL.
///
/// Turned red by: a grant for the whole TTL; a waiter who only listens and never asks.
#[tokio::test]
async fn hole_08_a_stopped_waiter_costs_a_window() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let first = store(&server);
    let held = hold(&first).await;
    let arguments = ["wait-for-lock", &server.url(), KEY, "60000"];
    let mut stopped = Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments));
    eventually("it is in line", AT_ONCE, || line(&mut admin).len() == 1).await;
    stopped.pause();
    let others = LockManager::connect(&server.url()).await.expect("connect");
    let waiting = tokio::spawn(others.lock(KEY).ttl(TTL).wait(TTL).acquire());
    eventually("it is in line", AT_ONCE, || line(&mut admin).len() == 2).await;
    let released = Instant::now();
    release(&first, &held).await;
    let guard = waiting.await.expect("no panic").expect("the lock");
    let took = released.elapsed();
    assert!(took < WINDOW + CAP + Duration::from_secs(1), "{took:?}");
    assert!(took > WINDOW / 2, "it had not been granted to the one that was stopped: {took:?}");
    // It has lost its place, and no more than that.
    stopped.resume();
    guard.release().await.expect("ours");
    let (status, output) = stopped.finish(AT_ONCE);
    assert!(status.success() && output.contains("held"), "{output}");
}

/// Promise: whoever confirms too late has the lock kept for longer the next time, and after three times polls.
///
/// Turned red by: a window that stays as it is.
#[tokio::test]
async fn hole_08_who_is_slow_gets_more_time_and_then_no_place() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let mut waiter = place_of(&second);
    for window in ["1000 ", "2000 ", "4000 "] {
        let held = hold(&first).await;
        assert!(is_waiting(&ask(&mut waiter).await));
        let entries = line(&mut admin);
        assert!(entries.len() == 1 && entries[0].starts_with(window), "{window}");
        release(&first, &held).await;
        called(&mut waiter).await;
        // The time is up.
        assert!(admin.delete(KEY));
        assert_eq!(confirm(&mut waiter).await, None);
    }
    let held = hold(&first).await;
    assert!(matches!(ask(&mut waiter).await, Place::None { .. }));
    assert!(!admin.exists(LINE));
    release(&first, &held).await;
    assert!(!admin.exists(KEY));
}

/// Promise: whoever is gone is passed over, also where somebody listens to every channel.
///
/// Turned red by: taking the number of those who hear a note for the number of those it is for.
#[tokio::test]
async fn hole_09_listening_to_everything_wakes_no_dead() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let mut curious = server.admin();
    curious.command::<()>(&["PSUBSCRIBE", "*"]);
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    line_up_a_dead_one(&mut admin, 1);
    let waiter = line_up(&second).await;
    release(&first, &held).await;
    assert_eq!(admin.get(KEY), Some(waiter.claim().value()));
    won(waiter).await;
}

/// Promise: nobody is in line before the server has confirmed that it will be called.
///
/// Turned red by: asking for a place without waiting for that.
#[tokio::test]
async fn hole_11_listening_comes_first() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, proxy) = (store(&server), Proxy::start(server.port()).await);
    let second = RedisStore::open(&proxy.url()).expect("a good address");
    let held = hold(&first).await;
    let confirmed = proxy.next(Way::Replies, command("SUBSCRIBE"), Conduct::Hold);
    let asking = tokio::spawn(async move { (line_up(&second).await, second) });
    confirmed.happened().await;
    let subscribed: Vec<String> = admin.command(&["PUBSUB", "CHANNELS", "lock_runtime:*"]);
    assert_eq!(subscribed.len(), 1);
    // Another round trip after it, and nothing more was sent.
    assert!(!admin.exists(LINE));
    let sent = proxy.requests(0);
    assert_eq!(sent.last().map(String::as_str), Some("SUBSCRIBE"), "{sent:?}");
    confirmed.let_go().await;
    let (waiter, _second) = asking.await.expect("no panic");
    assert!(line(&mut admin)[0].contains(&subscribed[0]));
    release(&first, &held).await;
    won(waiter).await;
}

/// Promise: a waiter whose connection was closed hears of it, connects anew, and has kept its place.
///
/// Turned red by: a channel that is new with every connection; a disconnection that nobody is told of.
#[tokio::test]
async fn hole_11_a_place_outlives_its_connection() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second, third) = (store(&server), store(&server), store(&server));
    let held = hold(&first).await;
    let (mut before, mut behind) = (line_up(&second).await, line_up(&third).await);
    let places = line(&mut admin);
    let killed: u64 = admin.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 2);
    called(&mut behind).await;
    // The last one is back first.
    assert_eq!(confirm(&mut behind).await, None, "that was not why it was called");
    assert!(is_waiting(&ask(&mut behind).await));
    called(&mut before).await;
    assert!(tokio::time::timeout(Duration::ZERO, before.called()).await.is_err(), "once");
    assert!(is_waiting(&ask(&mut before).await));
    assert_eq!(line(&mut admin), places);
    assert!(places.len() == 2 && is_for(&places[0], before.claim()));
    release(&first, &held).await;
    let claim = won(before).await;
    release(&second, &claim).await;
    won(behind).await;
}

/// Promise: a waiter who is gone while the lock is given back, and comes back, finds its place taken but gets another.
///
/// Turned red by: a question that only looks and does not line up.
#[tokio::test]
async fn hole_11_a_lost_place_is_taken_anew() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    admin.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    called(&mut waiter).await;
    release(&first, &held).await;
    assert!(!admin.exists(KEY) && !admin.exists(LINE), "nobody was there");
    let held = hold(&first).await;
    assert!(is_waiting(&ask(&mut waiter).await));
    release(&first, &held).await;
    won(waiter).await;
}

/// Promise: a user who may not call anybody gives locks back all the same, and leaves those in line where they are; whoever asks
/// next has the lock. A user who may not touch the line does, too.
///
/// Turned red by: a script that takes an entry out before it knows that it may call; a release that fails with its line.
#[tokio::test]
async fn hole_12_whoever_may_call_nobody_gives_back() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let second = store(&server);
    for limits in
        [&["resetchannels"][..], &["-publish"], &["-pubsub"], &["-lindex"], &["-lpop"], &["resetkeys", "~work"]]
    {
        let all = ["ACL", "SETUSER", "mute", "on", ">password", "resetkeys", "~*", "resetchannels", "&*", "+@all"];
        admin.command::<()>(&all);
        admin.command::<()>(&[&["ACL", "SETUSER", "mute"], limits].concat());
        let mute = RedisStore::open(&format!("redis://mute:password@127.0.0.1:{}/", server.port()));
        let mute = mute.expect("a good address");
        let held = hold(&mute).await;
        let mut waiter = line_up(&second).await;
        let places = line(&mut admin);
        release(&mute, &held).await;
        assert!(!admin.exists(KEY), "{limits:?}");
        assert_eq!(line(&mut admin), places, "{limits:?}");
        assert!(mute.waiter(claim_of("other")).is_none(), "it has learned that it has to poll: {limits:?}");
        // A second time, when it knows.
        let held = hold(&mute).await;
        release(&mute, &held).await;
        assert!(!admin.exists(KEY), "{limits:?}");
        assert_eq!(ask(&mut waiter).await, Place::Granted, "{limits:?}");
        confirm(&mut waiter).await.expect("granted");
        release(&second, &waiter.settle()).await;
        assert!(!admin.exists(LINE), "{limits:?}");
    }
}

/// Promise: every key has a line, whatever its name; and no key has the name of one.
///
/// Turned red by: braces around the key.
#[tokio::test]
async fn hole_14_every_key_has_a_line() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    for key in ["a}b", "a{}b", "{t}x", "{}x", "with space", "ünï", "new\nline", "%s"] {
        let held = hold_key(&first, key).await;
        let mut waiter = second.waiter(claim_of(key)).expect("there are lines");
        assert!(is_waiting(&ask(&mut waiter).await), "{key}");
        assert!(admin.exists(&format!("{key}:lock_runtime:q1")), "{key}");
        release(&first, &held).await;
        release(&second, &won(waiter).await).await;
    }
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    let error = locks.lock(LINE).ttl(TTL).acquire().await.expect_err("that is a line");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
}

/// Promise: a lock that a program of another kind holds, and deletes, is had by whoever asks next; which is granted to the first in
/// line, and not to the one who asks.
///
/// Turned red by: a question that takes the lock past the line.
#[tokio::test]
async fn hole_15_whoever_asks_grants_to_the_first() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    admin.set(KEY, "somebody else's", &["PX", "60000"]);
    let mut before = place_of(&first);
    let Place::Waiting { holder: Some(holder), .. } = ask(&mut before).await else { panic!("it is held") };
    assert_eq!(holder.value, "somebody else's");
    assert!(holder.remaining > TTL / 2 && holder.remaining <= TTL, "{holder:?}");
    let mut behind = line_up(&second).await;
    admin.delete(KEY);
    let Place::Waiting { holder: Some(holder), .. } = ask(&mut behind).await else { panic!("not its turn") };
    assert_eq!(holder.value, before.claim().value());
    assert!(holder.remaining <= WINDOW, "{holder:?}");
    release(&first, &won(before).await).await;
    release(&second, &won(behind).await).await;
    assert_eq!(admin.keys(), [""; 0]);

    // A single one has it when it asks; and what is no lock is told.
    admin.set(KEY, "somebody else's", &["PX", "60000"]);
    let mut waiter = line_up(&first).await;
    admin.delete(KEY);
    assert_eq!(ask(&mut waiter).await, Place::Granted);
    drop(waiter);
    first.drain().await;
    assert_eq!(admin.keys(), [""; 0]);
    for words in [&["SET", KEY, "for ever"][..], &["RPUSH", KEY, "a list"]] {
        admin.delete(KEY);
        admin.command::<()>(words);
        let mut waiter = store(&server).waiter(claim_of(KEY)).expect("there are lines");
        assert!(matches!(ask(&mut waiter).await, Place::Foreign { .. }), "{words:?}");
        assert!(!admin.exists(LINE));
    }
}

/// Promise: a line is kept for a minute after anybody in it has asked, and not for longer. If it is lost, it is made anew.
///
/// Turned red by: a line that never ends, or ends with a TTL; a question that only reads.
#[tokio::test]
async fn hole_16_a_line_does_not_outlive_its_waiters_for_long() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    let minute = Duration::from_secs(50)..=Duration::from_secs(60);
    assert!(minute.contains(&admin.remaining(LINE).expect("it ends")));
    admin.command::<()>(&["PEXPIRE", LINE, "1000"]);
    assert!(is_waiting(&ask(&mut waiter).await));
    assert!(minute.contains(&admin.remaining(LINE).expect("it ends")));
    assert_eq!(line(&mut admin).len(), 1, "one place");
    admin.delete(LINE);
    assert!(is_waiting(&ask(&mut waiter).await));
    assert!(minute.contains(&admin.remaining(LINE).expect("it ends")));
    release(&first, &held).await;
    won(waiter).await;
}

/// Promise: where something else has the name of the line, nobody stands in it and nothing is done to it, and locks work.
///
/// Turned red by: a release that fails with its line.
#[tokio::test]
async fn hole_16_what_is_no_line_is_left_alone() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    admin.set(LINE, "no list", &[]);
    let held = hold(&first).await;
    let mut waiter = place_of(&second);
    let Place::None { holder: Some(holder), .. } = ask(&mut waiter).await else { panic!("no place") };
    assert_eq!(holder.value, held.value());
    release(&first, &held).await;
    assert!(matches!(ask(&mut waiter).await, Place::None { holder: None, .. }));
    drop(waiter);
    second.drain().await;
    assert_eq!(admin.get(LINE).as_deref(), Some("no list"));
    assert!(!admin.exists(KEY));
    // What is in a line, but no entry, is passed over.
    admin.delete(LINE);
    admin.command::<()>(&["RPUSH", LINE, "", "nonsense", "0 a b", "99999999 a b", "1000 a", "1e3 a b"]);
    let held = hold(&first).await;
    let waiter = line_up(&second).await;
    release(&first, &held).await;
    won(waiter).await;
}

/// Promise: a grant to somebody of whom the process knows nothing is given back at once; one that it has, or that is somebody
/// else's, is not.
///
/// Turned red by: notes that are ignored; a note that comes late and ends the lock that it is about.
#[tokio::test]
async fn hole_17_ghosts_are_laid() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let waiter = line_up(&second).await;
    let entry = line(&mut admin).remove(0);
    let channel = entry.split(' ').nth(1).expect("a channel").to_owned();
    release(&first, &held).await;
    let claim = won(waiter).await;
    // Late, and about a lock that is held.
    let note = format!("{} {KEY}", claim.value().split(' ').next().expect("a token"));
    assert_eq!(admin.command::<u64>(&["PUBLISH", &channel, &note]), 1);
    // About somebody else's.
    let other = hold_key(&first, "other").await;
    admin.command::<()>(&["PUBLISH", &channel, &format!("{:032x} other", 1)]);

    // For longer than anybody would wait.
    let ghost = format!("9999 {channel} {:032x} a ghost", 2);
    admin.command::<()>(&["RPUSH", "haunted:lock_runtime:q1", &ghost]);
    let haunted = hold_key(&first, "haunted").await;
    release(&first, &haunted).await;
    eventually("it is given back", AT_ONCE, || !admin.exists("haunted")).await;
    // The notes before it have been read by now, and were answered before.
    assert_eq!(admin.get(KEY), Some(claim.value()));
    assert_eq!(admin.get("other"), Some(other.value()));
    release(&second, &claim).await;
    assert!(!admin.exists(KEY));
}

/// Promise: only what is still ours is made a lock.
///
/// Turned red by: a confirmation that does not compare; a lease that is believed in because of a note.
#[tokio::test]
async fn hole_18_confirming_compares() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    assert_eq!(confirm(&mut waiter).await, None, "nothing was granted");
    assert_eq!(admin.get(KEY), Some(held.value()));
    release(&first, &held).await;
    called(&mut waiter).await;
    // Too late by one millisecond, and it was free, or had gone to somebody else.
    admin.delete(KEY);
    assert_eq!(confirm(&mut waiter).await, None);
    assert!(!admin.exists(KEY), "nothing is made anew");
    let held = hold(&first).await;
    assert_eq!(confirm(&mut waiter).await, None);
    assert!(is_waiting(&ask(&mut waiter).await), "in the same line");
    release(&first, &held).await;
    let before = second.now();
    called(&mut waiter).await;
    let confirmed = confirm(&mut waiter).await.expect("in time");
    assert!(confirmed.sent >= before && confirmed.sent <= second.now());
    assert_eq!(confirmed.fence, None);
    // Another type is not ours, either.
    admin.delete(KEY);
    admin.command::<()>(&["RPUSH", KEY, "a list"]);
    assert_eq!(confirm(&mut waiter).await, None);
}

/// Promise: a lock that was handed over has a fencing token, above all before it.
///
/// Turned red by: a token that is taken when the lock is granted, or not at all (hole 30).
#[tokio::test]
async fn hole_30_fences_rise_with_each_confirmation() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let counter = LockKey::from("lock_runtime:fence");
    let claim = claim_of(KEY).fenced_by(counter.clone());
    let Attempt::Acquired { fence: Some(taken), .. } = first.acquire(&claim).await.expect("an answer") else {
        panic!("it is free");
    };
    let mut waiter = line_up(&second).await;
    release(&first, &claim).await;
    called(&mut waiter).await;
    let mut last = taken;
    for spares in [0, 10, 0] {
        let confirmed = waiter.confirm(TTL, Some(&counter), spares).await.expect("an answer").expect("granted");
        assert!(confirmed.fence > Some(last), "{confirmed:?} after {last}");
        assert_eq!(confirmed.spare_fences, spares);
        last = confirmed.fence.unwrap_or_default() + i64::from(spares);
    }
    let error = {
        admin.set("lock_runtime:fence", "no number", &[]);
        admin.command::<()>(&["PEXPIRE", KEY, "500"]);
        waiter.confirm(TTL, Some(&counter), 0).await.expect_err("no token to be had")
    };
    assert!(error.to_string().contains("lock_runtime:fence"), "{error}");
    assert!(admin.remaining(KEY) <= Some(Duration::from_millis(500)), "no lock without its token");
}

/// Promise: a server that is out of memory takes nobody in line, but locks are given back and confirmed.
///
/// Turned red by: a line that grows whatever the server says; a release that is refused.
#[tokio::test]
async fn hole_19_out_of_memory() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second, third) = (store(&server), store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    // So that the server knows the scripts.
    let late = line_up(&third).await;
    drop(late);
    third.drain().await;
    admin.configure("maxmemory", "1");
    let error = store(&server).waiter(claim_of(KEY)).expect("lines").ask().await.expect_err("no memory");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert_eq!(line(&mut admin).len(), 1);
    release(&first, &held).await;
    called(&mut waiter).await;
    confirm(&mut waiter).await.expect("granted");
    assert_eq!(admin.keys(), [KEY]);
}

/// Promise: a master that has become a replica says so, to all that is asked of a line.
///
/// Turned red by: a script whose "not yours" is believed on a replica.
#[tokio::test]
async fn hole_19_a_replica_has_no_line() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    demote(&server, &master).await;
    let errors = [
        waiter.ask().await.expect_err("a replica"),
        waiter.confirm(TTL, None, 0).await.expect_err("a replica"),
        first.release(&held).await.expect_err("a replica"),
    ];
    for error in errors {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("replica"), "{error}");
    }
}

/// Promise: a lock that is given back calls one of those who wait, and none of the others hears of it (row 44 of the fault matrix);
/// nobody asks while it waits.
///
/// Turned red by: a release that calls everybody.
#[tokio::test]
async fn row_44_one_is_called() {
    const WAITING: usize = 20;
    let server = RedisServer::start();
    let mut admin = server.admin();
    let first = store(&server);
    let held = hold(&first).await;
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let store = store(&server);
        waiting.push((line_up(&store).await, store));
    }
    let before = admin.command_counts();
    let (mut owner, mut claim) = (first, held);
    for (waiter, store) in waiting {
        release(&owner, &claim).await;
        (claim, owner) = (won(waiter).await, store);
    }
    let after = admin.command_counts();
    let times = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    let waiting = u64::try_from(WAITING).expect("a number");
    assert_eq!(times("publish"), waiting);
    assert_eq!(times("rpush"), 0);
    // A release and a confirmation for each; the first of either by its text as well, and on an older server twice, to learn that.
    assert!(times("evalsha") + times("eval") <= 2 * waiting + 4, "{after:?}");
}

/// Promise: hundreds who died in line cost the next who lives nothing that could be noticed, and a line is not endless.
///
/// Turned red by: a release that passes over a few only; a line without a bound.
#[tokio::test]
async fn hole_20_many_dead_waiters() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    (0..200).for_each(|number| line_up_a_dead_one(&mut admin, number));
    let waiter = line_up(&second).await;
    release(&first, &held).await;
    assert_eq!(admin.get(KEY), Some(waiter.claim().value()));
    let claim = won(waiter).await;
    release(&second, &claim).await;

    let held = hold(&first).await;
    (0..1000).for_each(|number| line_up_a_dead_one(&mut admin, number));
    let mut late = place_of(&second);
    assert!(matches!(ask(&mut late).await, Place::None { holder: Some(_), .. }), "the line is full");
    release(&first, &held).await;
    assert_eq!(admin.keys(), [""; 0], "all of them are gone");
}

/// Promise: whoever leaves, at whatever moment, leaves neither a place in line nor a lock behind.
///
/// Turned red by: a waiter whose end sends nothing; a clean-up that takes one of the two.
#[tokio::test]
async fn hole_03_leaving_at_every_moment() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let first = store(&server);
    for fresh in [false, true] {
        for moment in [Moment::Pending, Moment::Woken] {
            let mut second = store(&server);
            for polls in 0.. {
                if fresh {
                    second = store(&server);
                }
                let held = hold(&first).await;
                let waiting = async {
                    let mut waiter = line_up(&second).await;
                    release(&first, &held).await;
                    called(&mut waiter).await;
                    confirm(&mut waiter).await.expect("it was granted");
                    waiter.ask().await.expect("an answer");
                };
                let finished =
                    tokio::time::timeout(AT_ONCE, drop_after(polls, moment, waiting)).await.expect("in time");
                let what = format!("after poll {polls}, {moment:?}, fresh: {fresh}");
                tokio::time::timeout(AT_ONCE, second.drain()).await.expect("it was cleaned up");
                assert_eq!(line(&mut admin), [""; 0], "{what}");
                // Where it was dropped before that was done.
                let _ = first.release(&held).await.expect("an answer");
                assert!(!admin.exists(KEY), "{what}");
                if finished.is_some() {
                    assert!(polls >= 4, "{polls}");
                    break;
                }
            }
        }
    }
}

/// Promise: a place whose question was never answered, because its connection died, is left all the same: on another connection.
///
/// Turned red by: a clean-up that knows one connection only.
#[tokio::test]
async fn hole_04_leaving_after_the_connection_died() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, proxy) = (store(&server), Proxy::start(server.port()).await);
    let second = RedisStore::open(&proxy.url()).expect("a good address");
    let held = hold(&first).await;
    let mut place = place_of(&second);
    // The script is known from here on, and its hash is sent.
    assert!(is_waiting(&ask(&mut place).await));
    let lost = proxy.next(Way::Replies, command("EVALSHA"), Conduct::Cut);
    let error = place.ask().await.expect_err("the connection died");
    assert_eq!(error.kind(), StoreErrorKind::Connection, "{error}");
    lost.happened().await;
    assert_eq!(line(&mut admin).len(), 1);
    drop(place);
    eventually("it has left", AT_ONCE, || !admin.exists(LINE)).await;
    release(&first, &held).await;
    assert!(!admin.exists(KEY));
    tokio::time::timeout(2 * AT_ONCE, second.drain()).await.expect("it is settled");
}

/// Promise: a server that forgets its scripts is sent them anew, whatever is done.
///
/// Turned red by: a script that is sent by its hash alone.
#[tokio::test]
async fn scripts_may_be_forgotten() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    for _ in 0..2 {
        admin.forget_scripts();
        let mut waiter = place_of(&second);
        assert!(is_waiting(&ask(&mut waiter).await));
        admin.forget_scripts();
        drop(waiter);
        second.drain().await;
        assert!(!admin.exists(LINE));
    }
    admin.forget_scripts();
    let mut waiter = line_up(&second).await;
    admin.forget_scripts();
    release(&first, &held).await;
    called(&mut waiter).await;
    admin.forget_scripts();
    confirm(&mut waiter).await.expect("granted");
}

/// Promise: after a restart, with what was written or without, those in line are called, and go on.
///
/// Turned red by: a waiter who is not told that its connection ended; a place that is believed in without asking.
#[tokio::test]
async fn a_server_is_restarted() {
    for kept in [true, false] {
        let mut server = RedisServer::options().arguments(["--appendonly", "yes", "--appendfsync", "always"]).start();
        let (first, second, third) = (store(&server), store(&server), store(&server));
        let held = hold(&first).await;
        let (mut before, mut behind) = (line_up(&second).await, line_up(&third).await);
        if kept {
            server.kill();
            server.restart();
        } else {
            server.restart_empty();
        }
        let mut admin = server.admin();
        called(&mut before).await;
        called(&mut behind).await;
        if kept {
            assert!(is_waiting(&ask(&mut behind).await));
            assert!(is_waiting(&ask(&mut before).await));
            let places = line(&mut admin);
            assert!(places.len() == 2 && is_for(&places[0], before.claim()), "the places are kept");
            release(&first, &held).await;
        } else {
            assert_eq!(ask(&mut before).await, Place::Granted, "there is nothing any more");
            assert!(is_waiting(&ask(&mut behind).await));
            confirm(&mut before).await.expect("granted");
            assert!(!first.release(&held).await.expect("an answer"), "it was forgotten");
            release(&second, &before.settle()).await;
            won(behind).await;
            continue;
        }
        release(&second, &won(before).await).await;
        won(behind).await;
    }
}

/// Promise: a place in line is kept when somebody on another runtime goes on waiting in it, who is called then; and when the first
/// runtime ends, it is taken anew.
///
/// Turned red by: an entry for the connection of whoever asked last; notes that are known to one connection only; a runtime that
/// ends without a word to those who are called on its connection; an entry that stays behind in line.
#[test]
fn a_place_outlives_the_turn_and_the_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    };
    let (one, other) = (runtime(), runtime());
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (first, second, third) = (store(&server), store(&server), store(&server));
    let held = other.block_on(hold(&first));
    let mut waiter = one.block_on(line_up(&second));
    let behind = other.block_on(line_up(&third));
    let before = line(&mut admin);
    assert!(is_waiting(&other.block_on(ask(&mut waiter))));
    assert_eq!(line(&mut admin), before, "the place is kept");
    other.block_on(release(&first, &held));
    let claim = other.block_on(won(waiter));
    // The next one waits on a runtime that ends.
    let (mut waiter, before) = (one.block_on(line_up(&second)), line(&mut admin));
    assert!(before.len() == 2 && is_for(&before[0], behind.claim()));
    one.shutdown_background();
    other.block_on(called(&mut waiter));
    assert!(is_waiting(&other.block_on(ask(&mut waiter))));
    let after = line(&mut admin);
    assert!(after.len() == 2 && after[0] == before[0] && after[1] != before[1], "{before:?}, {after:?}");
    other.block_on(release(&second, &claim));
    let claim = other.block_on(won(behind));
    other.block_on(release(&third, &claim));
    let claim = other.block_on(won(waiter));
    other.block_on(release(&second, &claim));
    assert!(!admin.exists(KEY) && !admin.exists(LINE));
}

/// Promise: a lock of several keys hands each of them on when it is given back.
///
/// Turned red by: a release that knows the line of its first key only.
#[tokio::test]
async fn hole_22_several_keys_are_handed_on_one_by_one() {
    let server = RedisServer::start();
    let (first, second) = (store(&server), store(&server));
    let keys: Vec<LockKey> = ["a", "b", "c"].map(LockKey::from).into();
    let mut claim = claim_of("a");
    claim.keys = keys.clone().into();
    let taken = first.acquire(&claim).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{taken:?}");
    assert!(second.waiter(claim.clone()).is_none(), "nobody holds one key while it waits for another");
    let mut waiting = Vec::new();
    for key in ["a", "c"] {
        let mut waiter = second.waiter(claim_of(key)).expect("there are lines");
        assert!(is_waiting(&ask(&mut waiter).await));
        waiting.push(waiter);
    }
    release(&first, &claim).await;
    assert!(!server.admin().exists("b"));
    for waiter in waiting {
        release(&second, &won(waiter).await).await;
    }
    assert_eq!(server.admin().keys(), [""; 0]);
}
