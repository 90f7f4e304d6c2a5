//! Who holds a key keeps the others out, whatever library they are written with.

use std::time::{Duration, Instant};

use lock_interop_tests::{Scene, with_each_library, with_library};
use lock_runtime::{LockError, LockManager, Retry, distributed_lock};
use lock_tests::{Admin, eventually};

const TTL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

with_each_library!(
    they_keep_us_out,
    we_keep_them_out,
    we_get_the_lock_when_they_release_it,
    they_get_the_lock_when_we_release_it,
    both_take_turns,
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
