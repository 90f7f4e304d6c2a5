//! Who holds a key keeps the others out, whatever library they are written with.

use std::time::{Duration, Instant};

use lock_interop_tests::{Scene, with_each_library, with_library};
use lock_runtime::{LockError, LockManager, Retry, distributed_lock};
use lock_tests::{Admin, Conduct, Proxy, Way, eventually};

const TTL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

with_each_library!(
    they_keep_us_out,
    we_keep_them_out,
    we_get_the_lock_when_they_release_it,
    they_get_the_lock_when_we_release_it,
    both_take_turns,
    both_take_turns_with_our_line,
    they_are_kept_out_while_we_hand_over,
    we_wait_in_line_for_theirs,
);

with_library!(only_redis_py, RedisPy: a_lock_that_never_expires_is_none_of_ours);

/// Promise: a lock of theirs is busy for us until they release it, and the error tells of a stranger without repeating
/// the stranger's token, which is all that it takes to steal the lock.
///
/// Turned red by: `SET` without `NX`; a `Holder` that takes a value without metadata for its own, or shows it.
async fn they_keep_us_out(mut scene: Scene) {
    assert!(scene.peer.acquire("key", Some(TTL)));
    assert_eq!(scene.admin.command::<String>(&["TYPE", "key"]), "string");
    let value = scene.admin.get("key").expect("their token");

    let error = scene.locks.lock("key").ttl(TTL).acquire().await.expect_err("they hold it");
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(!shown.contains(&value), "{shown}");
    }
    let text = error.to_string();
    assert!(text.contains("held by another client, which left no name"), "{text}");
    let LockError::Busy(busy) = error else { panic!("{error}") };
    let holder = busy.holder.expect("the server tells");
    assert_eq!((holder.metadata, holder.this_process), (None, false));
    assert!(busy.retry_after.is_some_and(|left| !left.is_zero() && left <= TTL), "{:?}", busy.retry_after);
    assert_eq!(scene.admin.get("key"), Some(value), "left alone");

    assert!(scene.peer.release("key"));
    let guard = scene.locks.lock("key").ttl(TTL).acquire().await.expect("it is free");
    guard.release().await.expect("released");
}

/// Promise: a lock of ours, with its metadata, is busy for them until we release it.
///
/// Turned red by: a key that is not the one that was asked for (a hidden prefix), or a release that leaves it.
async fn we_keep_them_out(mut scene: Scene) {
    let guard = scene.locks.lock("key").ttl(TTL).acquire().await.expect("it is free");
    assert_eq!(scene.admin.command::<String>(&["TYPE", "key"]), "string");
    let value = scene.admin.get("key").expect("our token");
    assert_eq!(value, format!("{} {}", guard.token().as_str(), guard.metadata()));
    assert!(!scene.peer.acquire("key", Some(TTL)), "we hold it");
    assert_eq!(scene.admin.get("key"), Some(value), "left alone");

    guard.release().await.expect("released");
    assert!(scene.peer.acquire("key", Some(TTL)));
}

/// Promise: a caller of ours who waits for a lock of theirs has it soon after their release, of which they tell nobody.
///
/// Turned red by: waiting for the end of the lease instead of looking again.
async fn we_get_the_lock_when_they_release_it(mut scene: Scene) {
    assert!(scene.peer.acquire("key", Some(TTL)));
    let before = scene.requests();
    let request = scene.locks.lock("key").ttl(TTL).wait(PATIENCE);
    let waiting = tokio::spawn(request.acquire());
    // A look takes three commands at most: `SET`, and a script that says who is in the way, by its digest and in full.
    eventually("we have asked and asked again", PATIENCE, || scene.requests() > before + 3).await;
    assert!(!waiting.is_finished());

    let released = Instant::now();
    assert!(scene.peer.release("key"));
    let guard = waiting.await.expect("no panic").expect("their release frees it");
    let waited = released.elapsed();
    assert!(waited < Duration::from_secs(2), "after {waited:?}");
    guard.release().await.expect("released");
}

/// Promise: our release frees the lock for one of theirs who waits.
///
/// Turned red by: a release that lowers the time to live instead of deleting.
async fn they_get_the_lock_when_we_release_it(mut scene: Scene) {
    let guard = scene.locks.lock("key").ttl(TTL).acquire().await.expect("it is free");
    let before = scene.requests();
    scene.peer.wait("key", TTL, PATIENCE);
    eventually("they have asked and asked again", PATIENCE, || scene.requests() > before + 3).await;
    assert!(scene.admin.get("key").is_some_and(|value| value.starts_with(guard.token().as_str())), "still ours");

    guard.release().await.expect("released");
    assert!(scene.peer.waited());
    assert!(scene.peer.release("key"));
}

/// How often each side takes the lock.
const TIMES: usize = 40;

/// Promise: no body of ours runs beside one of theirs, while both want the lock all the time.
///
/// Each body appends the number of entries of a list to that list; two at once would append the same number.
///
/// Turned red by: `SET` without `NX`.
async fn both_take_turns(mut scene: Scene) {
    scene.peer.number("key", "log", TIMES);
    let mut writer = scene.server.admin();
    for _ in 0..TIMES {
        number(&scene.locks, &mut writer).await.expect("our turn");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    scene.peer.numbered();

    let entries: Vec<String> = scene.admin.command(&["LRANGE", "log", "0", "-1"]);
    let (numbers, sides): (Vec<usize>, Vec<&str>) = entries
        .iter()
        .map(|entry| {
            let (number, side) = entry.split_once(' ').expect("a number and a side");
            (number.parse::<usize>().expect("a number"), side)
        })
        .unzip();
    assert_eq!(numbers, (0..2 * TIMES).collect::<Vec<_>>(), "{entries:?}");
    let changes = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 4, "they did not compete: the lock changed hands {changes} times");
}

#[distributed_lock(
    key = "key",
    ttl = "10s",
    wait = "50s",
    retry = Retry::linear(Duration::from_millis(5)),
    manager = locks
)]
async fn number(locks: &LockManager, writer: &mut Admin) -> Result<(), LockError> {
    let entries: u64 = writer.command(&["LLEN", "log"]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    writer.command::<()>(&["RPUSH", "log", &format!("{entries} ours")]);
    Ok(())
}

/// Promise: the same where ours stand in line, in two processes' stead, and hand the lock to each other: neither theirs nor ours are
/// let in beside anybody, and nobody is kept out for good.
///
/// Turned red by: a grant that writes over what somebody has taken past the line.
async fn both_take_turns_with_our_line(mut scene: Scene) {
    scene.peer.number("key", "log", TIMES);
    let others = LockManager::connect(&scene.server.url()).await.expect("connect");
    let before = scene.handed();
    let ours = [scene.locks.clone(), others].map(|locks| {
        let mut writer = scene.server.admin();
        tokio::spawn(async move {
            for _ in 0..TIMES / 2 {
                number_in_line(&locks, &mut writer).await.expect("our turn");
            }
        })
    });
    for ours in ours {
        ours.await.expect("no panic");
    }
    scene.peer.numbered();
    assert!(scene.handed() > before, "ours hand over");
    let entries: Vec<String> = scene.admin.command(&["LRANGE", "log", "0", "-1"]);
    let numbers: Vec<_> = entries.iter().filter_map(|entry| entry.split(' ').next()?.parse::<usize>().ok()).collect();
    assert_eq!(numbers, (0..2 * TIMES).collect::<Vec<_>>(), "{entries:?}");
}

#[distributed_lock(key = "key", ttl = "10s", wait = "50s", manager = locks)]
async fn number_in_line(locks: &LockManager, writer: &mut Admin) -> Result<(), LockError> {
    let entries: u64 = writer.command(&["LLEN", "log"]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    writer.command::<()>(&["RPUSH", "log", &format!("{entries} ours")]);
    Ok(())
}

/// Promise: a lock of ours that goes to the next of ours in line is busy for them all the time: while it is held, while it is kept for
/// whoever is next and has not confirmed yet, and after that. When nobody of ours waits any more, they have it.
///
/// Turned red by: a release that deletes the key although somebody is in line.
async fn they_are_kept_out_while_we_hand_over(mut scene: Scene) {
    let proxy = Proxy::start(scene.server.port()).await;
    let others = LockManager::connect(&proxy.url()).await.expect("connect");
    let guard = scene.locks.lock("key").ttl(TTL).acquire().await.expect("it is free");
    let waiting = tokio::spawn(others.lock("key").ttl(TTL).wait(PATIENCE).acquire());
    scene.in_line().await;
    assert!(!scene.peer.acquire("key", Some(TTL)), "we hold it");
    scene.peer.wait("key", TTL, PATIENCE);
    let before = scene.requests();
    eventually("they have asked and asked again", PATIENCE, || scene.requests() > before + 3).await;

    let confirmation = proxy.next(Way::Requests, |words: &[&str]| words[0].starts_with("EVAL"), Conduct::Hold);
    guard.release().await.expect("released");
    confirmation.happened().await;
    let granted = scene.admin.get("key").expect("kept for the next of ours");
    let before = scene.requests();
    eventually("they ask on", PATIENCE, || scene.requests() > before + 3).await;
    assert_eq!(scene.admin.get("key"), Some(granted), "still kept");
    confirmation.let_go().await;
    let guard = waiting.await.expect("no panic").expect("the lock");
    guard.ttl().await.expect("still ours");

    guard.release().await.expect("released");
    assert!(scene.peer.waited());
    assert!(scene.peer.release("key"));
}

/// Promise: ours who wait in line for a lock of theirs leave it alone, and have it one after the other soon after their release, of
/// which they tell nobody.
///
/// Turned red by: a line that grants what somebody else holds; a question every second, whoever the holder is.
async fn we_wait_in_line_for_theirs(mut scene: Scene) {
    assert!(scene.peer.acquire("key", Some(TTL)));
    let value = scene.admin.get("key");
    let others = LockManager::connect(&scene.server.url()).await.expect("connect");
    let waiting = tokio::spawn(scene.locks.lock("key").ttl(TTL).wait(PATIENCE).acquire());
    scene.in_line().await;
    let behind = tokio::spawn(others.lock("key").ttl(TTL).wait(PATIENCE).acquire());
    let before = scene.requests();
    eventually("we have asked and asked again", PATIENCE, || scene.requests() > before + 6).await;
    assert!(!waiting.is_finished() && !behind.is_finished() && scene.admin.get("key") == value, "left alone");
    assert!(scene.peer.extend("key", TTL), "it is still theirs");

    let released = Instant::now();
    assert!(scene.peer.release("key"));
    waiting.await.expect("no panic").expect("their release frees it").release().await.expect("released");
    behind.await.expect("no panic").expect("the next").release().await.expect("released");
    let waited = released.elapsed();
    assert!(waited < Duration::from_secs(2), "after {waited:?}");
    assert!(scene.peer.acquire("key", Some(TTL)), "nothing is left of ours");
}

/// Promise: a lock that nobody has to give back, which redis-py makes unless told a `timeout`, keeps us out with an error
/// of its own, at once: waiting for it might never end.
///
/// Turned red by: leaving out the question for an expiry in `contend.lua`.
async fn a_lock_that_never_expires_is_none_of_ours(mut scene: Scene) {
    assert!(scene.peer.acquire("key", None));
    let value = scene.admin.get("key").expect("their token");
    let started = Instant::now();
    let result = scene.locks.lock("key").ttl(TTL).wait(PATIENCE).acquire().await;
    assert!(matches!(result, Err(LockError::ForeignKey { .. })), "{result:?}");
    assert!(started.elapsed() < PATIENCE / 2, "it does not wait");
    assert_eq!(scene.admin.get("key"), Some(value), "left alone");
    assert!(scene.peer.release("key"));
}
