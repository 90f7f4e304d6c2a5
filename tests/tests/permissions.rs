//! What the user of a server needs, by the readme's own words, and what the self-test says of one who lacks it.

use std::time::Duration;

use lock_runtime::{LockError, LockManager, SetupError, StoreErrorKind};
use lock_tests::{Admin, RedisServer, demote, eventually};

const TTL: Duration = Duration::from_secs(60);

/// How long a thing may take that happens at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// The line of the readme that sets up a user.
fn documented() -> Vec<&'static str> {
    let mut lines = include_str!("../../README.md").lines().filter(|line| line.starts_with("ACL SETUSER "));
    let line = lines.next().expect("the readme has the line");
    assert_eq!(lines.next(), None, "the readme has one such line");
    line.split(' ').collect()
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
            "+get" | "+eval" | "+evalsha" => &["contend", "extend", "renew", "remaining", "floor", "release"],
            "+pttl" => &["contend", "renew", "remaining"],
            "+pexpire" => &["extend", "renew"],
            "+del" => &["release"],
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
    let store = lock_runtime::store::redis::RedisStore::open(&url(&server)).expect("a good address");
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
    for name in ["the command `SET`", "the script `release`", "it is a replica"] {
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    assert!(!error.to_string().contains("`GET`"), "a replica can be read from: {error}");

    server.kill();
    let error = locks.self_test().await.expect_err("nobody is there");
    let SetupError::SelfTest { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Connection, "{error}");
}
