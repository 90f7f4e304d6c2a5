//! Notes that are lost or wrong, connections and servers that fail while callers wait in line, lines that are gone, and those who know
//! nothing of lines.

use std::time::Instant;

use lock_runtime::{LockError, LockManager};
use lock_tests::{Admin, Conduct, Proxy, RedisServer, Way, eventually};

use crate::waiting::{CAP, KEY, LINE, UNTOLD, WINDOW, hold, in_line, line, line_up, line_up_process, won};
use crate::{AT_ONCE, PROCESS, TTL, connect, executed, ms};

/// Of each entry in line, where it is called and the token that a note to it names.
fn calls(admin: &mut Admin) -> Vec<(String, String)> {
    let call = |entry: &String| {
        let mut words = entry.split(' ').skip(1).map(str::to_owned);
        words.next().zip(words.next()).expect("a channel and a token")
    };
    line(admin).iter().map(call).collect()
}

/// How many are called on this channel.
fn listeners(admin: &mut Admin, channel: &str) -> u64 {
    let (_, number): (String, u64) = admin.command(&["PUBSUB", "NUMSUB", channel]);
    number
}

/// Promise: whoever is not told that the lock was handed to him finds out by asking, in time to have it.
///
/// Turned red by: a waiter who only listens; a question that does not find what was granted; a time for which it is kept that is
/// shorter than the time between two questions.
#[tokio::test]
async fn row_43_the_note_is_lost() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, proxy) = (connect(&server).await, Proxy::start(server.port()).await);
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    let held = hold(&holder).await;
    let waiting = line_up(&locks, &mut admin).await;
    proxy.conduct_all(Way::Replies, Conduct::DropNotes);
    let released = Instant::now();
    held.release().await.expect("ours");
    let guard = won(waiting, UNTOLD).await;
    assert!(released.elapsed() < CAP + ms(1000), "{:?}", released.elapsed());
    guard.release().await.expect("ours");
}

/// Promise: a note that comes so late that the lock is not kept any more does no harm, and its waiter goes on, to have the lock in
/// the end.
///
/// Turned red by: a note that is believed in without asking; a wait that ends with a grant that came to nothing.
#[tokio::test]
async fn row_43_the_note_is_too_late() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, proxy) = (connect(&server).await, Proxy::start(server.port()).await);
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    let held = hold(&holder).await;
    let waiting = line_up(&locks, &mut admin).await;
    let note = proxy.next(Way::Replies, |request: &[&str]| request.is_empty(), Conduct::Hold);
    held.release().await.expect("ours");
    note.happened().await;
    // As if its time had been over, and somebody else had come.
    let theirs = "somebody else's";
    admin.set(KEY, theirs, &["PX", "60000"]);
    note.let_go().await;
    in_line(&mut admin, 1).await;
    assert!(!waiting.is_finished() && admin.get(KEY).as_deref() == Some(theirs));
    admin.delete(KEY);
    won(waiting, UNTOLD).await.release().await.expect("ours");
}

/// Promise: notes that come too early, twice, for somebody unknown, or when all is over, give nobody the lock, and take it from nobody;
/// everybody goes on waiting.
///
/// Turned red by: a note that is believed in without asking; one that comes late and is taken for a ghost's, whose lock is given back.
#[tokio::test]
async fn row_43_notes_at_the_wrong_time() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, locks, others) = (connect(&server).await, connect(&server).await, connect(&server).await);
    let held = hold(&holder).await;
    let (mut first, mut second) = (line_up(&locks, &mut admin).await, line_up(&others, &mut admin).await);
    let calls = calls(&mut admin);
    let [(channel, token), (other_channel, other_token)] = &calls[..] else { panic!("two in line") };
    let note = |admin: &mut Admin, channel: &str, token: &str| {
        let heard: u64 = admin.command(&["PUBLISH", channel, &format!("{token} {KEY}")]);
        assert_eq!(heard, 1, "somebody is called there");
    };
    let (nobody, asked) = (format!("{:032x}", 9), |admin: &mut Admin| executed(admin, "lpos"));
    let before = asked(&mut admin);
    note(&mut admin, channel, token);
    note(&mut admin, channel, token);
    note(&mut admin, other_channel, &nobody);
    eventually("it is asked again", AT_ONCE, || asked(&mut admin) > before).await;
    in_line(&mut admin, 2).await;
    assert!(held.is_held() && !first.is_finished() && !second.is_finished());
    held.release().await.expect("still ours");

    // Whoever has asked because of a note may have lost his place.
    let (guard, next) = tokio::select! {
        guard = &mut first => (guard, second),
        guard = &mut second => (guard, first),
    };
    let guard = guard.expect("no panic").expect("the lock");
    let late = |admin: &mut Admin| {
        for (channel, token) in [(channel, token), (other_channel, other_token), (channel, &nobody)] {
            note(admin, channel, token);
        }
    };
    late(&mut admin);
    // Behind whatever comes of the notes, on the same connections.
    for locks in [&locks, &others] {
        locks.lock("behind").ttl(TTL).acquire().await.expect("free").release().await.expect("ours");
    }
    assert!(guard.ttl().await.expect("an answer") > TTL / 2 && !next.is_finished());
    guard.release().await.expect("still ours");
    let guard = won(next, UNTOLD).await;
    late(&mut admin);
    for locks in [&locks, &others] {
        locks.lock("behind").ttl(TTL).acquire().await.expect("free").release().await.expect("ours");
    }
    assert!(guard.ttl().await.expect("an answer") > TTL / 2);
    guard.release().await.expect("still ours");
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: when the server closes the connections of those who wait, or of the holder, or all, they are made anew, and the places
/// are kept: first in, first out.
///
/// Turned red by: a channel that is new with every connection; a waiter who neither hears that its connection has ended nor asks.
#[tokio::test]
async fn row_43_connections_are_killed_and_places_kept() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let waiters = [connect(&server).await, connect(&server).await, connect(&server).await];
    for types in [&["pubsub"][..], &["normal"], &["normal", "pubsub"]] {
        let held = hold(&holder).await;
        let mut waiting = Vec::new();
        for locks in &waiters {
            waiting.push(line_up(locks, &mut admin).await);
        }
        let (places, channels) = (line(&mut admin), calls(&mut admin));
        for of_type in types {
            let killed: u64 = admin.command(&["CLIENT", "KILL", "TYPE", of_type, "SKIPME", "yes"]);
            assert!(killed >= 1, "{of_type}");
        }
        for (channel, _) in &channels {
            eventually("it listens again", AT_ONCE, || listeners(&mut admin, channel) == 1).await;
        }
        assert_eq!(line(&mut admin), places, "{types:?}");
        held.release().await.expect("ours");
        for next in waiting {
            // Those behind it are still in line.
            let guard = won(next, AT_ONCE).await;
            let token = guard.token().as_str().to_owned();
            let place = places.iter().position(|place| place.contains(&token)).expect("one of them");
            assert_eq!(line(&mut admin), places[place + 1..], "{types:?}");
            guard.release().await.expect("ours");
        }
        assert_eq!(admin.keys(), [""; 0]);
    }
}

/// Has three processes wait in line behind a holder, does something to all of them, and has the lock given back. Everybody who
/// waits has it, one after the other, and no later than those who have to find everything out by asking.
async fn processes_wait_through(fault: impl FnOnce(&mut RedisServer)) {
    let mut server = RedisServer::options().arguments(["--appendonly", "yes", "--appendfsync", "always"]).start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let held = hold(&holder).await;
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(line_up_process(&server, &mut admin).await);
    }
    fault(&mut server);
    let released = Instant::now();
    // Whether it was still there to be given back is up to the fault.
    let outcome = held.release().await;
    assert!(matches!(outcome, Ok(()) | Err(LockError::Lost { .. } | LockError::Unavailable { .. })), "{outcome:?}");
    for process in &mut processes {
        assert_eq!(process.line(PROCESS), "held");
    }
    let took = released.elapsed();
    assert!(took < WINDOW + CAP + ms(1500), "{took:?}");
    for mut process in processes {
        let (status, output) = process.finish(PROCESS);
        assert!(status.success(), "{output}");
    }
    assert!(!server.admin().exists(KEY));
}

/// Promise: processes that wait go on when the server forgets its scripts.
///
/// Turned red by: a script that is sent by its hash alone.
#[tokio::test]
async fn row_25_scripts_are_forgotten_while_processes_wait() {
    processes_wait_through(|server| server.admin().forget_scripts()).await;
}

/// Promise: and when it is killed, and comes back with what it had written.
///
/// Turned red by: a waiter who neither hears that its connection has ended nor asks.
#[tokio::test]
async fn row_26_the_server_comes_back_with_its_data_while_processes_wait() {
    processes_wait_through(|server| {
        server.kill();
        server.restart();
    })
    .await;
}

/// Promise: and when it comes back with nothing.
///
/// Turned red by: a place that is believed in without asking.
#[tokio::test]
async fn row_26_the_server_comes_back_empty_while_processes_wait() {
    processes_wait_through(RedisServer::restart_empty).await;
}

/// Promise: and when all connections are closed.
///
/// Turned red by: as above.
#[tokio::test]
async fn row_21_connections_are_killed_while_processes_wait() {
    processes_wait_through(|server| {
        for of_type in ["normal", "pubsub"] {
            server.admin().command::<u64>(&["CLIENT", "KILL", "TYPE", of_type, "SKIPME", "yes"]);
        }
    })
    .await;
}

/// Promise: and when their line is deleted, or evicted, and nobody is told when the lock is given back.
///
/// Turned red by: a question that only looks and does not line up.
#[tokio::test]
async fn hole_16_the_line_is_deleted_while_processes_wait() {
    processes_wait_through(|server| assert!(server.admin().delete(LINE))).await;
}

/// Promise: and when somebody else's key has the name of their line: they poll, and that key is left alone.
///
/// Turned red by: a wait that ends with an error, or a release that fails, where the line is no list.
#[tokio::test]
async fn hole_16_the_line_is_something_else_while_processes_wait() {
    processes_wait_through(|server| server.admin().set(LINE, "no list", &[])).await;
}

/// Promise: beside a holder who knows nothing of lines, and tells nobody when it gives back, those who wait in line ask as often as
/// those who have none; and whoever takes the lock past the line has it, and is waited for.
///
/// Turned red by: a question every second, whoever the holder is.
#[tokio::test]
async fn hole_15_a_holder_of_another_kind() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    // As redis-py does it: a token that looks like ours, and nothing behind it.
    let theirs = format!("{:032x}", 7);
    admin.set(KEY, &theirs, &["NX", "PX", "60000"]);
    let waiting = line_up(&locks, &mut admin).await;
    let asked = |admin: &mut Admin| executed(admin, "lpos");
    let before = asked(&mut admin);
    // One a second would take twelve.
    eventually("it asks and asks", ms(6000), || asked(&mut admin) >= before + 12).await;
    // Deleted, and taken by the next one of their kind, before anybody of ours has asked.
    admin.command::<()>(&["MULTI"]);
    admin.command::<()>(&["DEL", KEY]);
    admin.command::<()>(&["SET", KEY, &theirs, "NX", "PX", "60000"]);
    admin.command::<()>(&["EXEC"]);
    let before = asked(&mut admin);
    eventually("it asks on", AT_ONCE, || asked(&mut admin) >= before + 2).await;
    assert!(!waiting.is_finished() && admin.get(KEY) == Some(theirs));
    admin.delete(KEY);
    won(waiting, AT_ONCE).await.release().await.expect("ours");
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: of two hundred who wait, one is called for each release, and the others neither hear of it nor ask.
///
/// Turned red by: a release that calls everybody; waiters who poll.
#[tokio::test]
async fn row_44_two_hundred_wait() {
    const WAITING: usize = 200;
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let held = hold(&holder).await;
    let mut waiting = Vec::new();
    for number in 1..=WAITING {
        let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
        waiting.push((tokio::spawn(locks.lock(KEY).ttl(TTL).wait(TTL).acquire()), locks));
        // Many at a time, and yet in order.
        eventually("it is in line", PROCESS, || admin.command::<usize>(&["LLEN", LINE]) == number).await;
    }
    let before = admin.command_counts();
    let began = Instant::now();
    let mut guard = held;
    for (next, _) in &mut waiting {
        guard.release().await.expect("ours");
        guard = tokio::time::timeout(AT_ONCE, next).await.expect("at once").expect("no panic").expect("the lock");
    }
    let took = began.elapsed();
    let after = admin.command_counts();
    guard.release().await.expect("ours");
    let times = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
    let waiting = u64::try_from(WAITING).expect("a number");
    assert_eq!(times("publish"), waiting);
    assert_eq!(times("set"), waiting, "granted, and nothing else");
    // A release and a confirmation for each, and a question of each for every second that it took.
    let questions = times("lpos");
    assert!(questions <= waiting * (took.as_secs() + 1), "{questions} in {took:?}");
    let scripts = times("evalsha") + times("eval");
    assert!(scripts <= 2 * waiting + questions + waiting, "{scripts} and {questions} questions");
}

/// Promise: a process that waits for a lock of ours asks once a second at most, and sends nothing else.
///
/// Turned red by: a wait that polls, or asks more than once a second; a sign of life.
#[tokio::test]
async fn row_44_who_waits_is_quiet() {
    const TIME: u64 = 10;
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, proxy) = (connect(&server).await, Proxy::start(server.port()).await);
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    let held = hold(&holder).await;
    let waiting = line_up(&locks, &mut admin).await;
    let sent = || (0..proxy.connections()).map(|index| proxy.requests(index).len()).sum::<usize>();
    let before = sent();
    // The time itself is what is measured.
    tokio::time::sleep(std::time::Duration::from_secs(TIME)).await;
    let sent = sent() - before;
    assert!(sent <= usize::try_from(TIME).expect("a number"), "{sent} in {TIME} s");
    assert!(sent > 0, "and does ask: a call may get lost");
    assert!(!waiting.is_finished());
    held.release().await.expect("ours");
    won(waiting, AT_ONCE).await.release().await.expect("ours");
}
