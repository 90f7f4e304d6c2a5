//! What the user of a server needs, by the readme's own words, and what the self-test says of one who lacks it.

use std::sync::Arc;
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::waiter::Place;
use lock_runtime::store::{Attempt, Claim, Store};
use lock_runtime::{LockError, LockKey, LockManager, SetupError, StoreErrorKind};
use lock_tests::{Admin, RedisServer, demote, eventually};

const TTL: Duration = Duration::from_secs(60);

/// How long a thing may take that happens at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// The lines of the readme that set up a user: what locks need, and what they need to be handed from process to process.
fn documented_lines() -> [Vec<&'static str>; 2] {
    let lines = include_str!("../../README.md").lines().filter(|line| line.starts_with("ACL SETUSER "));
    // Those behind them are for servers that sentinels watch: tests/sentinel has them.
    let lines: Vec<Vec<_>> = lines.map(|line| line.split(' ').collect()).take(2).collect();
    lines.try_into().expect("the readme has two such lines")
}

fn documented() -> Vec<&'static str> {
    let [line, _] = documented_lines();
    line
}

fn documented_for_lines() -> Vec<&'static str> {
    let [_, line] = documented_lines();
    line
}

/// Where the user of the readme logs in.
fn url(server: &RedisServer) -> String {
    let words = documented();
    let password = words.iter().find_map(|word| word.strip_prefix('>')).expect("a password");
    format!("redis://{}:{password}@127.0.0.1:{}/", words[2], server.port())
}

fn sorted_keys(admin: &mut Admin) -> Vec<String> {
    let mut keys = admin.keys();
    keys.sort();
    keys
}

/// Promise: everything that locks can do is done by a user who has the permissions that the readme names, and no others.
///
/// Turned red by: a command that is missing in the readme.
#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    admin.command::<()>(&documented());
    let locks = LockManager::connect(&url(&server)).await.expect("connect");
    let others = LockManager::connect(&url(&server)).await.expect("connect");
    locks.self_test().await.expect("the self-test");

    let guard = locks.lock("work").ttl(TTL).acquire().await.expect("the lock");
    let error = others.lock("work").ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
    let waiter = tokio::spawn(others.lock("work").ttl(TTL).wait(TTL).fence().acquire());
    guard.extend(2 * TTL).await.expect("extended");
    assert!(guard.ttl().await.expect("an answer") > TTL);
    guard.set_ttl(TTL).await.expect("set");
    guard.release().await.expect("released");
    let guard = tokio::time::timeout(SOON, waiter).await.expect("soon").expect("no panic").expect("the lock");
    assert!(guard.fence() > Some(0));
    drop(guard);
    eventually("what was dropped is given back", SOON, || !admin.exists("work")).await;

    let kept = locks.lock("kept").ttl(TTL).min_hold(TTL).acquire().await.expect("the lock");
    kept.release().await.expect("released");
    assert!(admin.exists("kept"), "to be kept");

    let lease = Duration::from_secs(1);
    let guard = locks.lock("renewed").ttl(lease).renew().acquire().await.expect("the lock");
    let mut highest = admin.remaining("renewed");
    eventually("a renewal", SOON, || {
        let left = admin.remaining("renewed");
        let renewed = left > highest;
        highest = left;
        renewed
    })
    .await;
    guard.release().await.expect("still ours");

    admin.command::<()>(&["RPUSH", "list", "one"]);
    let error = locks.lock("list").ttl(TTL).acquire().await.expect_err("that is no lock");
    assert!(matches!(error, LockError::ForeignKey { .. }), "{error}");
}

/// Promise: a database other than 0 takes the one permission more that the readme names.
///
/// Turned red by: a readme that does not name it.
#[tokio::test]
async fn another_database_takes_one_permission_more() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    admin.command::<()>(&documented());
    let url = format!("{}1", url(&server));
    LockManager::connect(&url).await.expect_err("not yet");
    admin.command::<()>(&["ACL", "SETUSER", documented()[2], "+select"]);
    LockManager::connect(&url).await.expect("connect").self_test().await.expect("the self-test");
    assert!(include_str!("../../README.md").contains("`+select` for a database other\nthan 0"));
}

/// Promise: the self-test leaves nothing behind, whatever is there already.
///
/// Turned red by: a probe that is not deleted; a counter of fencing tokens that stays.
#[tokio::test]
async fn the_self_test_leaves_nothing_behind() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    locks.self_test().await.expect("nothing is wrong");
    assert_eq!(admin.keys(), [""; 0]);
    let guard = locks.lock("work").ttl(TTL).fence().acquire().await.expect("the lock");
    let before = sorted_keys(&mut admin);
    locks.self_test().await.expect("nothing is wrong");
    assert_eq!(sorted_keys(&mut admin), before);
    guard.release().await.expect("still ours");
}

/// Promise: when the user lacks one permission of those that the readme names, whichever it is, the self-test names it, and every
/// script that fails without; it shows no password, and at most leaves a key that ends soon. So none is named in vain.
///
/// Turned red by: a command or a script that is left out of the self-test; a permission that nothing needs in the readme.
#[tokio::test]
async fn the_self_test_names_what_is_missing() {
    let scripts = |permission: &str| -> &[&str] {
        match permission {
            "+set" => &["contend"],
            "+get" | "+eval" | "+evalsha" => &["contend", "extend", "renew", "remaining", "floor", "release_plain"],
            "+pttl" => &["contend", "renew", "remaining"],
            "+pexpire" => &["extend", "renew"],
            "+del" => &["release_plain"],
            "+time" | "+ping" => &[],
            other => panic!("which scripts need {other}?"),
        }
    };
    let server = RedisServer::start();
    let mut admin = server.admin();
    let words = documented();
    let permissions: Vec<_> = words.iter().filter(|word| word.starts_with('+')).collect();
    for permission in permissions {
        admin.command::<()>(&words);
        admin.command::<()>(&["ACL", "SETUSER", words[2], &permission.replace('+', "-")]);
        admin.forget_scripts();
        // A connection of its own: without a sign of life, which takes a permission too.
        let locks = LockManager::connect_lazy(&url(&server)).expect("a good address");
        let error = locks.self_test().await.expect_err(permission);
        let SetupError::SelfTest { source, .. } = &error else { panic!("{permission}: {error}") };
        assert_eq!(source.kind(), StoreErrorKind::Denied, "{permission}: {error}");
        let text = error.to_string();
        let named = text.contains(&format!("the command `{}`", permission[1..].to_uppercase()));
        assert!(named, "{permission}: {error}");
        assert_eq!(text.matches("the command `").count(), 1, "{permission}: {error}");
        for script in scripts(permission) {
            assert!(text.contains(&format!("the script `{script}`")), "{permission}, {script}: {error}");
        }
        assert!(!format!("{error} {error:?}").contains("password"), "{error:?}");
        for key in admin.keys() {
            assert!(admin.remaining(&key) <= Some(Duration::from_secs(5)), "{permission}: {key} stays");
            assert!(admin.remaining(&key).is_some() || !admin.exists(&key), "{permission}: {key} stays");
            admin.delete(&key);
        }
    }

    admin.command::<()>(&words);
    admin.command::<()>(&["ACL", "SETUSER", words[2], "resetkeys", "~app:*"]);
    let locks = LockManager::connect_lazy(&url(&server)).expect("a good address");
    let error = locks.self_test().await.expect_err("another pattern");
    assert!(error.to_string().contains("the user lacks the permission for the key"), "{error}");
    let store = RedisStore::open(&url(&server)).expect("a good address");
    let locks = LockManager::builder(store).key_prefix("app:").build();
    locks.self_test().await.expect("its keys have the prefix");
}

/// Promise: what is wrong with the server and not with its user is told too: a replica as one, and a silence as no more than that.
///
/// Turned red by: a self-test that only looks for permissions.
#[tokio::test]
async fn the_self_test_tells_of_a_replica_and_of_silence() {
    let (mut server, master) = (RedisServer::start(), RedisServer::start());
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    demote(&server, &master).await;
    let error = locks.self_test().await.expect_err("a replica");
    let SetupError::SelfTest { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Refused, "{error}");
    for name in ["the command `SET`", "the script `release_plain`", "it is a replica"] {
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    assert!(!error.to_string().contains("`GET`"), "a replica can be read from: {error}");

    server.kill();
    let error = locks.self_test().await.expect_err("nobody is there");
    let SetupError::SelfTest { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Connection, "{error}");
}

/// Whether those who wait for a lock stand in its line.
async fn is_handed_over(server: &RedisServer) -> bool {
    let mut admin = server.admin();
    let stores = [0; 2].map(|_| RedisStore::open(&url(server)).expect("a good address"));
    let holder = Claim::new(LockKey::from("handed"), TTL, Arc::from("host"));
    let taken = stores[0].acquire(&holder).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{taken:?}");
    let waiting = Claim::new(LockKey::from("handed"), TTL, Arc::from("host"));
    let mut waiter = stores[1].waiter(waiting).expect("nothing is known yet");
    let in_line = match waiter.ask().await.expect("an answer") {
        Place::Waiting { .. } => true,
        Place::None { .. } => false,
        other => panic!("{other:?}"),
    };
    assert!(stores[0].release(&holder).await.expect("an answer"), "ours");
    if in_line {
        tokio::time::timeout(SOON, waiter.called()).await.expect("a call");
        waiter.confirm(TTL, None, 0).await.expect("an answer").expect("granted");
        assert!(stores[1].release(&waiter.settle()).await.expect("an answer"));
    } else {
        assert!(stores[1].waiter(holder).is_none(), "it has been found out");
    }
    assert!(!admin.exists("handed"), "given back");
    in_line
}

/// Promise: with the permissions that the readme names for it, locks go from one process to the next without polling; and when one
/// of them is missing, whichever it is, those who wait poll, and the self-test passes. So none is named in vain.
///
/// Turned red by: a permission that is missing in the readme, or that nothing needs; a release that fails where it may call nobody.
#[tokio::test]
async fn hand_off_takes_what_is_documented_for_it() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (words, more) = (documented(), documented_for_lines());
    admin.command::<()>(&words);
    assert!(!is_handed_over(&server).await, "locks need less");
    admin.command::<()>(&more);
    assert!(is_handed_over(&server).await);
    let store = RedisStore::open(&url(&server)).expect("a good address");
    LockManager::builder(store.clone()).build().self_test().await.expect("nothing is missing");
    let claim = || Claim::new(LockKey::from("tested"), TTL, Arc::from("host"));
    assert!(store.waiter(claim()).is_some(), "found to have all it takes");
    assert_eq!(admin.keys(), [""; 0]);

    for permission in more.iter().filter(|word| word.starts_with(['&', '+'])) {
        admin.command::<()>(&more);
        if permission.starts_with('&') {
            admin.command::<()>(&["ACL", "SETUSER", more[2], "resetchannels"]);
        } else {
            admin.command::<()>(&["ACL", "SETUSER", more[2], &permission.replace('+', "-")]);
        }
        let store = RedisStore::open(&url(&server)).expect("a good address");
        LockManager::builder(store.clone()).build().self_test().await.expect(permission);
        assert!(store.waiter(claim()).is_none(), "{permission} is missing");
        // By those who have not tested it, too: they find it out when they wait, or when they give back what others wait for.
        let locks = LockManager::connect(&url(&server)).await.expect("connect");
        let others = LockManager::connect(&url(&server)).await.expect("connect");
        let guard = locks.lock("polled").ttl(TTL).acquire().await.expect("the lock");
        let waiter = tokio::spawn(others.lock("polled").ttl(TTL).wait(TTL).acquire());
        let asked = |admin: &mut Admin| admin.command_counts().get("set").copied().unwrap_or(0);
        let before = asked(&mut admin);
        eventually("it waits", SOON, || asked(&mut admin) > before).await;
        guard.release().await.expect("released");
        let guard = tokio::time::timeout(SOON, waiter).await.expect("soon").expect("no panic").expect("the lock");
        guard.release().await.expect("released");
        assert!(!admin.exists("polled"), "{permission} is missing");
        // What may stand in a line that cannot be cleared ends by itself.
        admin.command::<()>(&["FLUSHALL"]);
    }
    // Without a right to the line's name.
    admin.command::<()>(&more);
    admin.command::<()>(&["ACL", "SETUSER", more[2], "resetkeys", "~handed", "~polled"]);
    assert!(!is_handed_over(&server).await);
}
