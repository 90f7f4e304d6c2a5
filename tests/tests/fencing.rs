//! Fencing tokens on real servers: they rise, whatever happens to the server, and a lock without its token is no lock.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::{Attempt, Claim};
use lock_runtime::{LockError, LockGuard, LockManager, Store, StoreErrorKind};
use lock_tests::{Admin, Conduct, Process, Proxy, RedisServer, eventually};

const COUNTER: &str = "lock_runtime:fence";
const KEY: &str = "account:7";
const TTL: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

/// The greatest token: above it, Lua's numbers have gaps.
const LAST: i64 = (1 << 53) - 1;

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
}

async fn try_fenced(locks: &LockManager) -> Result<LockGuard, LockError> {
    locks.lock(KEY).ttl(TTL).fence().acquire().await
}

/// Takes the lock, gives it back, and returns its token.
async fn token(locks: &LockManager) -> i64 {
    let guard = locks.lock(KEY).ttl(TTL).wait(PATIENCE).fence().acquire().await.expect("the lock");
    let token = guard.fence().expect("its token");
    guard.release().await.expect("ours");
    token
}

/// The last of several tokens, so that a counter which forgets them falls behind by more than one.
async fn tokens(locks: &LockManager) -> i64 {
    let mut last = 0;
    for _ in 0..10 {
        let next = token(locks).await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    last
}

fn stored(admin: &mut Admin) -> Option<i64> {
    admin.get(COUNTER).map(|text| text.parse().expect("a number, written without an exponent"))
}

/// Why the lock was not given, if it is trouble that waiting does not mend.
#[track_caller]
fn denied<T>(result: Result<T, LockError>) -> String {
    match result {
        Ok(_) => panic!("a lock without its token"),
        Err(LockError::Unavailable { source, .. }) => {
            assert_eq!(source.kind(), StoreErrorKind::Denied, "{source}");
            source.to_string()
        }
        Err(error) => panic!("{error}"),
    }
}

/// Lets eight processes take the lock in turns, and returns the tokens in the order of the holds.
fn contend(server: &RedisServer) -> Vec<i64> {
    const PROCESSES: usize = 8;
    const TURNS: usize = 40;
    let arguments = ["fence", &server.url(), KEY, &TURNS.to_string()];
    let worker = |_| Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments));
    let mut workers: Vec<_> = (0..PROCESSES).map(worker).collect();
    for worker in &mut workers {
        assert_eq!(worker.line(PATIENCE), "ready");
    }
    let mut admin = server.admin();
    admin.set("go", "", &[]);
    for (process, mut worker) in workers.into_iter().enumerate() {
        let (status, output) = worker.finish(PATIENCE);
        assert!(status.success(), "process {process}: {output}");
    }
    let tokens: Vec<i64> = admin.command(&["LRANGE", "tokens", "0", "-1"]);
    assert_eq!(tokens.len(), PROCESSES * TURNS);
    tokens
}

#[track_caller]
fn assert_rising(tokens: &[i64]) {
    let fall = tokens.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(fall, None, "{tokens:?}");
}

/// Promise: tokens rise strictly from one holder to the next, over all processes.
///
/// Turned red by: a counter in each process; a token that is read before the lock is taken, and not in one step with it.
#[test]
fn tokens_rise_over_eight_processes() {
    let server = RedisServer::start();
    assert_rising(&contend(&server));
    // No expiry: it would make the clock the only memory.
    assert_eq!(server.admin().command::<i64>(&["PTTL", COUNTER]), -1);
}

/// Promise: the same on a server whose clock is behind what was given out, as one that was never set or was put back: then the
/// counter alone counts, one by one.
///
/// Turned red by: a token that is the time alone.
#[test]
fn tokens_rise_on_a_server_whose_clock_is_behind() {
    let server = RedisServer::start();
    let far_ahead = 1_i64 << 52;
    server.admin().set(COUNTER, &far_ahead.to_string(), &[]);
    let tokens = contend(&server);
    let expected: Vec<i64> = (far_ahead + 1..).take(tokens.len()).collect();
    assert_eq!(tokens, expected);
}

/// Promise: a `FLUSHALL` does not set tokens back: the server's clock goes on.
///
/// Turned red by: a token that is the counter alone.
#[tokio::test]
async fn tokens_survive_a_flush() {
    let server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    let before = tokens(&locks).await;
    assert_eq!(stored(&mut admin), Some(before));
    admin.command::<()>(&["FLUSHALL"]);
    assert_eq!(stored(&mut admin), None);
    let after = token(&locks).await;
    assert!(after > before, "{after} after {before}");
}

/// Promise: neither does a restart without the data.
///
/// Turned red by: a token that is the counter alone.
#[tokio::test]
async fn tokens_survive_a_restart_without_data() {
    let mut server = RedisServer::start();
    let locks = connect(&server).await;
    let before = tokens(&locks).await;
    server.restart_empty();
    assert_eq!(stored(&mut server.admin()), None);
    let after = token(&locks).await;
    assert!(after > before, "{after} after {before}");
}

/// Promise: neither does a failover to a replica that has missed the last tokens.
///
/// Turned red by: a token that is the counter alone: the replica's is an old one.
#[tokio::test]
async fn tokens_survive_a_replica_that_missed_them() {
    let mut master = RedisServer::start();
    let port = master.port().to_string();
    let mut replica = RedisServer::options().arguments(["--replicaof", "127.0.0.1", &port]).start();
    let (mut old, mut new) = (master.admin(), replica.admin());
    let locks = connect(&master).await;
    let early = tokens(&locks).await;
    eventually("the replica has the first tokens", PATIENCE, || stored(&mut new) == Some(early)).await;

    // Cut off while it cannot come back: what follows never leaves the master.
    replica.pause();
    let cut: i64 = old.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(cut, 1);
    let before = tokens(&locks).await;
    master.kill();
    replica.resume();
    new.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(stored(&mut new), Some(early), "it was to miss them");

    let after = token(&connect(&replica).await).await;
    assert!(after > before, "{after} after {before}");
}

/// Promise: where something else is stored under the counter's name, nobody gets a lock with a token; the error names the
/// key, comes at once even to those who would wait, and nothing is taken or changed. Locks without a token go on.
///
/// Turned red by: setting the lock before the counter is looked at: an error in a script rolls nothing back. By `INCR`, whose
/// error does not name the key. By taking every text that Lua can read for a number.
#[tokio::test]
async fn a_counter_that_holds_something_else() {
    let server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    let numbers = [
        "",
        "many",
        "-5",
        "12x",
        " 7",
        "7\n",
        "1e3",
        "0x10",
        "3.5",
        "nan",
        "inf",
        "9007199254740991",
        "9007199254740992",
        "99999999999999999999",
    ];
    let wrong = numbers.iter().map(|number| vec!["SET", COUNTER, number]);
    let types = [vec!["RPUSH", COUNTER, "1"], vec!["HSET", COUNTER, "1", "1"], vec!["ZADD", COUNTER, "1", "1"]];
    for wrong in wrong.chain(types) {
        admin.command::<()>(&wrong);
        let before: Vec<u8> = admin.command(&["DUMP", COUNTER]);
        for wait in [Duration::ZERO, TTL] {
            let asked = locks.lock(KEY).ttl(TTL).wait(wait).fence().acquire();
            let asked = tokio::time::timeout(PATIENCE / 6, asked).await.expect("at once");
            let text = denied(asked);
            assert!(text.contains(&format!("its counter `{COUNTER}` holds something else")), "{text}");
        }
        assert!(!admin.exists(KEY), "{wrong:?}: the lock stays");
        assert_eq!(admin.command::<Vec<u8>>(&["DUMP", COUNTER]), before, "{wrong:?}: it was changed");

        // Whoever holds the lock is in the way first, and holds it without a token.
        let guard = locks.lock(KEY).ttl(TTL).acquire().await.expect("a lock without a token");
        let error = try_fenced(&connect(&server).await).await.expect_err("it is held");
        assert!(error.is_busy(), "{error}");
        guard.release().await.expect("ours");
        admin.delete(COUNTER);
        token(&locks).await;
        admin.delete(COUNTER);
    }
}

/// Promise: tokens are exact up to the last one, and there is none after it: the next would be equal to it, or lower.
///
/// Turned red by: writing the counter in Lua's own format (`9.007e+15`); a bound that is one too high.
#[tokio::test]
async fn the_last_tokens_are_exact() {
    let server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    admin.set(COUNTER, &(LAST - 3).to_string(), &[]);
    for expected in [LAST - 2, LAST - 1, LAST] {
        assert_eq!(token(&locks).await, expected);
        assert_eq!(stored(&mut admin), Some(expected));
    }
    denied(try_fenced(&locks).await);
    assert_eq!(stored(&mut admin), Some(LAST));
    assert!(!admin.exists(KEY));
}

/// Promise: a server that is out of memory gives no lock with a token, and keeps nothing of the attempt: neither the lock, nor
/// a counter.
///
/// Turned red by: the flag `allow-oom` on the script.
#[tokio::test]
async fn out_of_memory_leaves_nothing() {
    let server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    let before = token(&locks).await;
    for counter_is_there in [true, false] {
        if !counter_is_there {
            admin.delete(COUNTER);
        }
        admin.configure("maxmemory", "1");
        let error = try_fenced(&locks).await.expect_err("out of memory");
        let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), StoreErrorKind::Refused, "{error}");
        assert!(source.to_string().contains("out of memory"), "{error}");
        assert!(!admin.exists(KEY));
        assert_eq!(stored(&mut admin), counter_is_there.then_some(before));
        admin.configure("maxmemory", "0");
    }
    assert!(token(&locks).await > before);
}

/// A user of the server who may do what the words say.
async fn user(server: &RedisServer, rights: &str) -> LockManager {
    let mut words = vec!["ACL", "SETUSER", "bob", "reset", "on", ">secret"];
    words.extend(rights.split(' '));
    server.admin().command::<()>(&words);
    let address = format!("redis://bob:secret@127.0.0.1:{}/", server.port());
    LockManager::connect(&address).await.expect("bob may connect")
}

/// Promise: a user who may not raise the counter gets no lock with a token, learns which key and which commands it takes, and
/// leaves nothing behind. Locks without a token go on.
///
/// Turned red by: setting the lock before the counter is raised (with the right to everything but `TIME`); an error that does
/// not name the counter.
#[tokio::test]
async fn a_user_without_the_right_to_the_counter() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    for rights in ["+@all ~account:*", "+@all -time ~*", "+@all -get ~*"] {
        let locks = user(&server, rights).await;
        let text = denied(try_fenced(&locks).await);
        assert!(text.contains("permission"), "{rights}: {text}");
        assert!(text.contains(&format!("takes GET, SET and TIME, and the key `{COUNTER}`")), "{rights}: {text}");
        assert!(admin.keys().is_empty(), "{rights}: {:?}", admin.keys());
    }
    let locks = user(&server, "+@all ~account:*").await;
    let guard = locks.lock(KEY).ttl(TTL).acquire().await.expect("a lock without a token");
    guard.release().await.expect("ours");
}

/// Promise: a user who may run our scripts needs `TIME` and the counter's key on top, and nothing else.
///
/// Turned red by: another command in the script.
#[tokio::test]
async fn what_a_user_needs_for_tokens() {
    let server = RedisServer::start();
    let rights = format!("-@all +ping +evalsha +eval +pttl +get +set +del +time ~account:* ~{COUNTER}");
    let locks = user(&server, &rights).await;
    let first = token(&locks).await;
    assert!(token(&locks).await > first);
}

/// Promise: a lock with a token takes one round trip, as one without does, and one without asks for neither the time nor the
/// counter.
///
/// Turned red by: a `SET` that is tried before the script; the script for every lock.
#[tokio::test]
async fn a_token_costs_no_round_trip() {
    let server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    // The server learns the script.
    token(&locks).await;

    admin.command::<()>(&["CONFIG", "RESETSTAT"]);
    let guard = try_fenced(&locks).await.expect("free");
    let counts = admin.command_counts();
    let count = |command: &str| counts.get(command).copied().unwrap_or_default();
    assert_eq!((count("evalsha"), count("eval")), (1, 0), "{counts:?}");
    // The counter and the lock, both inside of the script.
    assert_eq!((count("set"), count("time")), (2, 1), "{counts:?}");
    guard.release().await.expect("ours");

    admin.command::<()>(&["CONFIG", "RESETSTAT"]);
    let guard = locks.lock(KEY).ttl(TTL).acquire().await.expect("free");
    assert_eq!(guard.fence(), None);
    let counts = admin.command_counts();
    let count = |command: &str| counts.get(command).copied().unwrap_or_default();
    assert_eq!((count("set"), count("evalsha"), count("time"), count("get")), (1, 0, 0, 0), "{counts:?}");
    guard.release().await.expect("ours");
}

/// Promise: a request that something between us and the server sends twice is one acquisition; its token is the second,
/// higher one, so that it is above every token that the first answer, if it was seen, can have told. The expiry stays.
///
/// Turned red by: a script that takes its own value for somebody else's; one that answers the counter without raising it.
#[tokio::test]
async fn a_repeated_request_has_the_later_token() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let locks = LockManager::connect(&proxy.url()).await.expect("connect");
    let mut admin = server.admin();
    // The server learns the script: what is repeated is the acquisition, and not the question for it.
    token(&locks).await;
    admin.set(COUNTER, &(1_i64 << 52).to_string(), &[]);

    let pause = Duration::from_millis(200);
    proxy.conduct(0, Conduct::Repeat(pause));
    let guard = try_fenced(&locks).await.expect("it is ours, both times");
    assert_eq!(guard.fence(), Some((1 << 52) + 2));
    assert_eq!(stored(&mut admin), guard.fence());
    let left = admin.remaining(KEY).expect("a lease");
    assert!(left + pause <= TTL, "the repeat has extended it: {left:?}");
    guard.release().await.expect("ours");
}

/// Promise: an acquisition whose answer does not come leaves no lock when it is carried out after all, and the token that it
/// had is not given to anybody else.
///
/// Turned red by: a clean-up that follows a `SET` alone.
#[tokio::test]
async fn an_unanswered_request_leaves_no_lock() {
    let mut server = RedisServer::start();
    let (locks, mut admin) = (connect(&server).await, server.admin());
    let before = token(&locks).await;
    server.pause();
    let error = try_fenced(&locks).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    server.resume();
    eventually("the request is carried out", PATIENCE, || stored(&mut admin) > Some(before)).await;
    eventually("and cleaned up", TTL / 6, || !admin.exists(KEY)).await;
    let unseen = stored(&mut admin).expect("a counter");
    let after = token(&locks).await;
    assert!(after > unseen, "{after} after {unseen}");
}

/// Promise: managers with a prefix keep to it: their counter is behind it too, and each prefix has its own.
///
/// Turned red by: a counter without the prefix, which an ACL of `~app:*` would refuse.
#[tokio::test]
async fn a_prefix_has_a_counter_of_its_own() {
    let server = RedisServer::start();
    let store = RedisStore::open(&server.url()).expect("a good URL");
    let app = LockManager::builder(store.clone()).key_prefix("app:").build();
    let mut admin = server.admin();
    let guard = try_fenced(&app).await.expect("free");
    let mut keys = admin.keys();
    keys.sort();
    assert_eq!(keys, ["app:account:7", "app:lock_runtime:fence"]);
    assert_eq!(admin.get("app:lock_runtime:fence"), guard.fence().map(|fence| fence.to_string()));
    guard.release().await.expect("ours");

    admin.set("app:lock_runtime:fence", "many", &[]);
    let text = denied(try_fenced(&app).await);
    assert!(text.contains("`app:lock_runtime:fence`"), "{text}");
    token(&LockManager::builder(store).build()).await;
}

/// Promise: tokens that were taken in a row are nobody else's. Where the counter is ahead of the clock there is one alone: the faster
/// it ran ahead, the longer would it be wrong if it got lost.
///
/// Turned red by: a counter that is raised by one for many; a row that is taken ahead of the clock.
#[tokio::test]
async fn tokens_come_in_rows_while_the_clock_is_ahead_of_them() {
    const SPARES: u32 = 100;
    let server = RedisServer::start();
    let mut admin = server.admin();
    let store = RedisStore::open(&server.url()).expect("a good URL");
    let taken = async || {
        let mut claim = Claim::new("a".into(), TTL, "".into()).fenced_by(COUNTER.into());
        claim.spare_fences = SPARES;
        let attempt = store.acquire(&claim).await.expect("an answer");
        assert!(store.release(&claim).await.expect("an answer"));
        let Attempt::Acquired { fence: Some(fence), spare_fences, .. } = attempt else { panic!("{attempt:?}") };
        (fence, spare_fences)
    };
    let (first, spares) = taken().await;
    assert_eq!((spares, stored(&mut admin)), (SPARES, Some(first + i64::from(SPARES))));
    let (second, _) = taken().await;
    assert!(second > first + i64::from(SPARES));
    let ahead = second + 1_000_000_000;
    admin.set(COUNTER, &ahead.to_string(), &[]);
    assert_eq!((taken().await, stored(&mut admin)), ((ahead + 1, 0), Some(ahead + 1)));
    let last = (1 << 53) - 1;
    admin.set(COUNTER, &(last - 1).to_string(), &[]);
    assert_eq!(taken().await, (last, 0));
}

/// Promise: a claim of several keys has one token, and takes all or nothing with it.
///
/// Turned red by: taking the counter for one of the keys.
#[tokio::test]
async fn several_keys_have_one_token() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let store = RedisStore::open(&server.url()).expect("a good URL");
    let claim = || {
        let mut claim = Claim::new("a".into(), TTL, "".into()).fenced_by(COUNTER.into());
        claim.keys = Arc::new(["a".into(), "b".into()]);
        claim
    };
    let first = claim();
    let Ok(Attempt::Acquired { fence: Some(fence), .. }) = store.acquire(&first).await else { panic!("free") };
    assert_eq!(stored(&mut admin), Some(fence));
    assert_eq!((admin.get("a"), admin.get("b")), (Some(first.value()), Some(first.value())));
    assert!(store.release(&first).await.expect("an answer"));

    admin.set("b", "somebody else's", &["PX", "60000"]);
    let second = store.acquire(&claim()).await.expect("an answer");
    assert!(matches!(second, Attempt::Busy { .. }), "{second:?}");
    assert_eq!((admin.get("a"), stored(&mut admin)), (None, Some(fence)), "nobody got a token for nothing");
    admin.delete("b");
    admin.set(COUNTER, "many", &[]);
    assert!(store.acquire(&claim()).await.is_err());
    assert!(!admin.exists("a") && !admin.exists("b"));
}
