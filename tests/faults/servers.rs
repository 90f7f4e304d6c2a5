//! Servers that answer, and refuse: as replicas, without replicas, out of memory, still loading.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lock_runtime::{LockError, LockGuard, LockManager, LostCause, StoreErrorKind};
use lock_tests::{Admin, Log, RedisServer, Sometimes, begin_to_follow, demote, eventually, info, is_linked, promote};
use tokio::task::JoinHandle;

use crate::{AT_ONCE, DEADLINE, TTL, connect, executed, in_time, locked, ms};

/// What a call came to must be that the server refused it with `code`, for now: nothing was found out about the lock.
#[track_caller]
fn assert_refused<T>(what: &str, code: &str, result: Result<T, LockError>) {
    assert_unavailable(what, StoreErrorKind::Refused, code, result);
}

/// What a call came to must be that the server did not do it, and why.
#[track_caller]
pub(crate) fn assert_unavailable<T>(what: &str, kind: StoreErrorKind, text: &str, result: Result<T, LockError>) {
    match result {
        Ok(_) => panic!("{what}: it is done"),
        Err(LockError::Unavailable { source, .. }) => {
            assert_eq!(source.kind(), kind, "{what}: {source}");
            assert!(source.to_string().contains(text), "{what}: {source}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// What is asked about a held lock must be refused with `code`, and leave it held.
async fn assert_held_and_refused(guard: &LockGuard, code: &str) {
    assert_refused("extend", code, guard.extend(2 * TTL).await);
    assert_refused("ttl", code, guard.ttl().await);
    assert!(guard.is_held(), "refused is not lost");
    assert!(guard.remaining() > TTL / 2, "refused is not shortened");
}

/// A call under the attribute must be refused with `code` without its body having begun; and so must one that would wait, when
/// its time is over, and not before.
async fn assert_nobody_gets_it(locks: &LockManager, code: &str) {
    let mut ran = false;
    assert_refused("a call", code, in_time("the call", locked(locks, async { ran = true })).await);
    assert!(!ran);
    let (started, wait) = (Instant::now(), ms(300));
    assert_refused("a patient call", code, locks.lock("work").ttl(TTL).wait(wait).acquire().await);
    assert!(started.elapsed() >= wait, "it may pass: {:?}", started.elapsed());
}

/// Somebody who waits for a lock, in the background.
fn waiter(locks: &LockManager) -> JoinHandle<Result<LockGuard, LockError>> {
    tokio::spawn(locks.lock("work").ttl(TTL).wait(TTL).acquire())
}

/// The waiter must get the lock now.
async fn assert_gets_it(waiter: JoinHandle<Result<LockGuard, LockError>>) {
    let guard = in_time("the lock", waiter).await.expect("no panic").expect("the lock");
    guard.release().await.expect("released");
}

/// How many errors with `code` the server has given.
fn errors(admin: &mut Admin, code: &str) -> u64 {
    let count = info(admin, "errorstats", &format!("errorstat_{code}"));
    count.and_then(|count| count.strip_prefix("count=")?.parse().ok()).unwrap_or_default()
}

/// Promise: writes that are refused by a demoted master are *unavailable*: the body does not run, and who waits for the lock gets
/// it when there is a master again.
///
/// Turned red by: taking `READONLY` for a refusal for good.
#[tokio::test]
async fn row_29_writes_to_a_demoted_master() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let locks = connect(&server).await;
    demote(&server, &master).await;
    assert_nobody_gets_it(&locks, "READONLY").await;

    let mut admin = server.admin();
    let before = errors(&mut admin, "READONLY");
    let waiter = waiter(&locks);
    eventually("it asks again and again", DEADLINE, || errors(&mut admin, "READONLY") > before + 2).await;
    assert!(!waiter.is_finished());
    promote(&server);
    assert_gets_it(waiter).await;
}

/// Promise: a replica on which there is no key, because its master never had it or has not sent it yet, says nothing about a
/// lock: it is neither lost nor not held, by whatever script it is asked. What is true is found out from the next master.
///
/// Turned red by: scripts without flags, from 7.0 on; without the look for a replica, before.
#[tokio::test]
async fn row_30_script_on_a_replica_without_the_key() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("plain").ttl(TTL).acquire().await.expect("the lock");
    let kept = locks.lock("kept").ttl(TTL).min_hold(TTL).acquire().await.expect("the lock");
    let given_back = locks.lock("given back").ttl(TTL).acquire().await.expect("the lock");
    let renewed = locks.lock("renewed").ttl(TTL).renew_every(ms(50)).acquire().await.expect("the lock");

    demote(&server, &master).await;
    assert_eq!(admin.keys(), [""; 0], "the replica has none of them");
    assert_held_and_refused(&guard, "READONLY").await;
    assert_refused("set_ttl", "READONLY", guard.set_ttl(TTL).await);
    assert_refused("release", "READONLY", given_back.release().await);
    assert_refused("release before its time", "READONLY", kept.release().await);
    let before = executed(&mut admin, "evalsha");
    eventually("renewals are refused", DEADLINE, || executed(&mut admin, "evalsha") > before + 2).await;
    assert!(renewed.is_held());

    // A master says the truth.
    promote(&server);
    assert_eq!(in_time("the loss", renewed.lost()).await, LostCause::Gone);
    let error = guard.release().await.expect_err("it is gone");
    assert!(error.is_lost(), "{error}");
}

/// Promise: a replica that has the key of another holder, since it does not know of ours yet, does not make ours lost.
///
/// Turned red by: as `row_30_script_on_a_replica_without_the_key`.
#[tokio::test]
async fn row_30_script_on_a_replica_with_an_earlier_key() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let locks = connect(&server).await;
    let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the lock");
    master.admin().set("key", "an earlier holder's", &["PX", "60000"]);
    demote(&server, &master).await;
    assert_eq!(server.admin().get("key").as_deref(), Some("an earlier holder's"));
    assert_held_and_refused(&guard, "READONLY").await;
    assert_refused("release", "READONLY", guard.release().await);
}

/// Promise: a server with too few replicas gives out no locks, for now; those that it gave out before stay held until their
/// leases end, and a release that it refuses is repeated until it is carried out.
///
/// Turned red by: a release that is given up, or believed, when it is refused.
#[tokio::test]
async fn row_32_too_few_replicas() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    admin.configure("min-replicas-to-write", "1");
    assert_nobody_gets_it(&locks, "NOREPLICAS").await;
    assert_refused("extend", "NOREPLICAS", guard.extend(2 * TTL).await);
    assert!(guard.is_held(), "refused is not lost");
    assert_refused("release", "NOREPLICAS", guard.release().await);
    let before = executed(&mut admin, "evalsha");
    eventually("it is refused in the background too", DEADLINE, || executed(&mut admin, "evalsha") > before + 1).await;
    assert!(admin.exists("held"), "it was refused");

    let waiter = waiter(&locks);
    admin.configure("min-replicas-to-write", "0");
    assert_gets_it(waiter).await;
    eventually("the release is repeated", 2 * DEADLINE, || !admin.exists("held")).await;
}

/// Promise: a server that is out of memory gives out no new locks, but the holders of those that are there can extend them, by
/// hand and by renewal, and give them back.
///
/// Turned red by: `allow-oom` left out of the flags.
#[tokio::test]
async fn row_33_out_of_memory() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let kept = locks.lock("kept").ttl(TTL).min_hold(TTL / 2).acquire().await.expect("the lock");
    let renewed = locks.lock("renewed").ttl(TTL).renew_every(ms(50)).acquire().await.expect("the lock");
    admin.configure("maxmemory", "1");
    assert_nobody_gets_it(&locks, "OOM").await;

    guard.extend(2 * TTL).await.expect("extended");
    assert!(admin.remaining("held") > Some(TTL));
    guard.set_ttl(TTL).await.expect("shortened");
    assert!(admin.remaining("held") <= Some(TTL));
    assert!(guard.ttl().await.expect("an answer") > TTL / 2);
    guard.release().await.expect("released");
    assert!(!admin.exists("held"));
    kept.release().await.expect("released, later");
    let left = admin.remaining("kept");
    assert!(left > Some(TTL / 4) && left <= Some(TTL / 2), "{left:?}");

    let mut before = admin.remaining("renewed");
    eventually("a renewal", DEADLINE, || {
        let left = admin.remaining("renewed");
        std::mem::replace(&mut before, left) < left
    })
    .await;
    renewed.release().await.expect("still ours");
    admin.configure("maxmemory", "0");
    locked(&locks, async {}).await.expect("there is memory again");
}

/// Promise: a server that may evict locks is named in the log when it is connected to, with what to set, and with the policy that
/// it has; it is used all the same. One that may not, or does not say, is not complained of.
///
/// Turned red by: no look at the policy, or an error where it may not be asked for.
#[tokio::test]
async fn row_34_eviction_is_warned_of() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let warnings = || log.lines().into_iter().filter(|line| line.contains("\"lock.eviction\"")).collect::<Vec<_>>();

    connect(&server).await;
    assert_eq!(warnings(), [""; 0], "`noeviction` is what it should be");
    admin.configure("maxmemory-policy", "volatile-lru");
    connect(&server).await;
    let [unlimited] = &*warnings() else { panic!("one warning: {:#?}", warnings()) };
    assert!(unlimited.contains("policy=\"volatile-lru\"") && unlimited.contains("would evict"), "{unlimited}");
    assert!(unlimited.contains(&format!("127.0.0.1:{}", server.port())), "{unlimited}");
    admin.configure("maxmemory", "100mb");
    let locks = connect(&server).await;
    let [_, limited] = &*warnings() else { panic!("one more warning: {:#?}", warnings()) };
    assert!(limited.contains("redis evicts locks") && limited.contains("maxmemory-policy noeviction"), "{limited}");
    locked(&locks, async {}).await.expect("it is used all the same");
    locks.self_test().await.expect("it does what locks take");
    assert_eq!(warnings().len(), 3, "the self-test looks as well");

    admin.command::<()>(&["ACL", "SETUSER", "bob", "on", ">secret", "~*", "+@all", "-info"]);
    let address = format!("redis://bob:secret@127.0.0.1:{}/", server.port());
    let locks = LockManager::connect(&address).await.expect("nothing is wrong");
    locked(&locks, async {}).await.expect("nothing is wrong");
    assert_eq!(warnings().len(), 3, "it may not be asked for: {:#?}", warnings());
}

/// Promise: the holder of a lock that was evicted learns of it at its next extension, by hand or by renewal; it does not come
/// back.
///
/// Turned red by: an extension that creates the key again.
#[tokio::test]
async fn row_34_eviction_is_noticed() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("evicted").ttl(TTL).acquire().await.expect("the lock");
    let renewed = locks.lock("renewed").ttl(TTL).renew_every(ms(50)).acquire().await.expect("the lock");
    // The first to go are those that would end anyway: that is every lock.
    admin.configure("maxmemory-policy", "volatile-ttl");
    admin.configure("maxmemory", "1");
    let evicted = |admin: &mut Admin| info(admin, "stats", "evicted_keys").as_deref() == Some("2");
    eventually("both are evicted", DEADLINE, || evicted(&mut admin)).await;
    let error = guard.extend(TTL).await.expect_err("it is gone");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, .. }), "{error}");
    assert_eq!(in_time("the loss", renewed.lost()).await, LostCause::Gone);
    assert_eq!(admin.keys(), [""; 0]);
}

/// Promise: a server that is still loading its data is *unavailable* until it is done: nothing is lost meanwhile, no body runs,
/// and who waits for a lock gets it afterwards.
///
/// Turned red by: taking `LOADING` for a refusal for good.
#[tokio::test]
async fn row_35_loading() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let (mut admin, mut source) = (server.admin(), master.admin());
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    // A server looks at its clients after every 2 MB: here every 160 ms, for four seconds.
    source.configure("rdbcompression", "no");
    let value = "x".repeat(512 * 1024);
    for n in 0..100 {
        source.set(&format!("filler {n}"), &value, &[]);
    }
    admin.configure("key-load-delay", "40000");
    // Else a replica says READONLY first.
    admin.configure("replica-read-only", "no");
    begin_to_follow(&server, &master);
    let loading = Sometimes::new("all of it while the server was loading");
    let is_loading = |admin: &mut Admin| info(admin, "persistence", "loading").as_deref() == Some("1");
    eventually("it is loading", 4 * DEADLINE, || is_loading(&mut admin)).await;
    assert_held_and_refused(&guard, "LOADING").await;
    assert_nobody_gets_it(&locks, "LOADING").await;
    let waiter = waiter(&locks);
    if is_loading(&mut admin) {
        loading.happened();
    }

    // Servers before 7.0 cannot be told while they load: they take their time.
    let _: Option<()> = admin.try_command(&["CONFIG", "SET", "key-load-delay", "0"]).ok();
    eventually("it has loaded", 4 * DEADLINE, || !is_loading(&mut admin) && is_linked(&mut admin)).await;
    promote(&server);
    assert_gets_it(waiter).await;
    let error = guard.release().await.expect_err("what was loaded does not have it");
    assert!(error.is_lost(), "{error}");
}

/// Promise: a replica that has lost its master and gives no stale answers is *unavailable*: nothing is lost, no body runs, and who
/// waits for a lock gets it when the replica was promoted.
///
/// Turned red by: taking `MASTERDOWN` for a refusal for good.
#[tokio::test]
async fn row_36_master_down() {
    let (server, mut master) = (RedisServer::start(), RedisServer::start());
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    admin.configure("replica-serve-stale-data", "no");
    // Else a replica says READONLY first.
    admin.configure("replica-read-only", "no");
    demote(&server, &master).await;
    master.kill();
    eventually("the replica has noticed", 2 * DEADLINE, || !is_linked(&mut admin)).await;
    assert_held_and_refused(&guard, "MASTERDOWN").await;
    assert_nobody_gets_it(&locks, "MASTERDOWN").await;
    let before = errors(&mut admin, "MASTERDOWN");
    let waiter = waiter(&locks);
    eventually("it asks again and again", DEADLINE, || errors(&mut admin, "MASTERDOWN") > before + 2).await;
    assert_refused("release", "MASTERDOWN", guard.release().await);
    promote(&server);
    assert_gets_it(waiter).await;
}

/// Promise: a server that is blocked by somebody's script, and says so, is *unavailable* until that ends.
///
/// Turned red by: taking `BUSY` for a refusal for good, or for a busy lock.
#[tokio::test]
async fn row_24_server_busy_with_a_script() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    admin.configure("lua-time-limit", "10");
    let mut endless = server.admin();
    let running = std::thread::spawn(move || endless.try_command::<()>(&["EVAL", "while true do end", "0"]));
    let is_busy = |admin: &mut Admin| {
        let answer = admin.try_command::<()>(&["PING"]);
        answer.is_err_and(|error| error.code() == Some("BUSY"))
    };
    eventually("the script blocks the server", DEADLINE, || is_busy(&mut admin)).await;
    assert_held_and_refused(&guard, "BUSY").await;
    assert_nobody_gets_it(&locks, "BUSY").await;
    let waiter = waiter(&locks);
    assert!(is_busy(&mut admin), "all of this was while it was blocked");
    admin.command::<()>(&["SCRIPT", "KILL"]);
    assert!(running.join().expect("no panic").is_err(), "it was killed");
    assert_gets_it(waiter).await;
    guard.release().await.expect("still ours");
}

/// Promise: a server that cannot save its data, and so takes no writes, is *unavailable* until it can: nothing is lost meanwhile,
/// no body runs, and who waits for a lock gets it afterwards.
///
/// Turned red by: taking `MISCONF` for a refusal for good.
#[tokio::test]
async fn server_that_cannot_save() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let (_, directory): (String, String) = admin.command(&["CONFIG", "GET", "dir"]);
    // Where its file has to go.
    let obstacle = Path::new(&directory).join("dump.rdb");
    fs::create_dir(&obstacle).expect("the server's own directory");
    admin.configure("save", "3600 1");
    let can_save = |admin: &mut Admin| {
        // Refused where one is under way.
        let _: Option<()> = admin.try_command(&["BGSAVE"]).ok();
        info(admin, "persistence", "rdb_last_bgsave_status").as_deref() == Some("ok")
    };
    eventually("it cannot save", DEADLINE, || !can_save(&mut admin)).await;
    assert_nobody_gets_it(&locks, "MISCONF").await;
    assert_refused("extend", "MISCONF", guard.extend(2 * TTL).await);
    assert!(guard.is_held(), "refused is not lost");

    let waiter = waiter(&locks);
    fs::remove_dir(&obstacle).expect("it is empty");
    eventually("it can save", DEADLINE, || can_save(&mut admin)).await;
    assert_gets_it(waiter).await;
    guard.release().await.expect("still ours");
}

/// Promise: a key that is no lock (another type, or no expiry) is reported at once, however long the caller would wait, and
/// is not touched.
///
/// Turned red by: taking every refused `SET NX` for a busy lock.
#[tokio::test]
async fn row_45_foreign_key() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    admin.command::<()>(&["RPUSH", "list", "one", "two"]);
    admin.command::<()>(&["HSET", "hash", "field", "value"]);
    admin.set("string", "no expiry", &[]);
    admin.command::<()>(&["SADD", "expiring set", "member"]);
    admin.command::<()>(&["PEXPIRE", "expiring set", "60000"]);
    let mut before: Vec<String> = admin.keys();
    before.sort();
    for key in &before {
        let call = locks.lock(key.as_str()).ttl(TTL).wait(TTL).acquire();
        let error = tokio::time::timeout(AT_ONCE, call).await.expect("at once").expect_err("that is no lock");
        assert!(matches!(error, LockError::ForeignKey { .. }), "{key}: {error}");
    }
    let mut after = admin.keys();
    after.sort();
    assert_eq!(before, after);
    assert_eq!(admin.get("string").as_deref(), Some("no expiry"));
}

/// Promise: a held lock whose key was overwritten, by a value of another type or one without expiry, is lost, whichever way its
/// holder learns of it, and what was written stays.
///
/// Turned red by: taking `WRONGTYPE` for an answer that says nothing.
#[tokio::test]
async fn row_45_lock_overwritten_by_something_else() {
    async fn learn(guard: &LockGuard, way: &str) -> Result<Duration, LockError> {
        match way {
            "extend" => guard.extend(TTL).await.map(|()| TTL),
            "set_ttl" => guard.set_ttl(TTL).await.map(|()| TTL),
            _ => guard.ttl().await,
        }
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    let list: &[&str] = &["RPUSH", "key", "one"];
    let string: &[&str] = &["SET", "key", "no expiry"];
    for overwrite in [list, string] {
        for way in ["extend", "set_ttl", "ttl"] {
            let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the lock");
            admin.delete("key");
            admin.command::<()>(overwrite);
            match learn(&guard, way).await {
                Ok(left) => assert!(left.is_zero() && way == "ttl", "{overwrite:?}, {way}: {left:?}"),
                Err(error) => assert!(error.is_lost() && way != "ttl", "{overwrite:?}, {way}: {error}"),
            }
            assert!(!guard.is_held(), "{overwrite:?}, {way}");
            let error = guard.release().await.expect_err("it is gone");
            assert!(error.is_lost(), "{overwrite:?}, {way}: {error}");
            assert!(admin.delete("key"), "what was written stays");
        }
        let renewed = locks.lock("key").ttl(TTL).renew_every(ms(50)).acquire().await.expect("the lock");
        admin.delete("key");
        admin.command::<()>(overwrite);
        assert_eq!(in_time("the loss", renewed.lost()).await, LostCause::Gone);
        drop(renewed);
        assert!(admin.delete("key"), "what was written stays");
    }
}
