//! What is refused for good: addresses that cannot be used, users who may not do what locks need.

use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, SetupError, Store, StoreErrorKind};
use lock_tests::RedisServer;

const TTL: Duration = Duration::from_secs(60);

/// Stands in every part of an address, and in no message.
const CANARY: &str = "canary";

/// Promise: an address that cannot be used is refused before anything is sent; the error says what is wrong with it and how
/// to write it, and never repeats it, since it may hold a password.
///
/// Turned red by: an error text with the address, or a part of it; one text for all mistakes.
#[tokio::test]
async fn a_bad_address_is_named_by_what_is_wrong() {
    const TLS: &str = "TLS";
    const SCHEME: &str = "its scheme is not";
    const NONE: &str = "it has no scheme";
    const PARTS: &str = "its host, port or database cannot be read";
    for (address, wrong) in [
        ("rediss://:canary@canary.example", TLS),
        ("rediss://canary:canary@canary.example:6380/1", TLS),
        ("http://canary:canary@canary.example", SCHEME),
        ("canary://canary.example", SCHEME),
        ("REDIS+canary://canary.example", SCHEME),
        ("", NONE),
        ("canary.example:6379", NONE),
        ("redis//:canary@canary.example", NONE),
        ("redis:/canary.example", NONE),
        ("redis://:canary@canary.example:99999/", PARTS),
        ("redis://:canary@canary.example:canary/", PARTS),
        ("redis://:canary@canary.example/canary", PARTS),
        ("redis://:canary@[::1", PARTS),
    ] {
        for result in [LockManager::connect_lazy(address), LockManager::connect(address).await] {
            let error = result.err().unwrap_or_else(|| panic!("{address:?} is accepted"));
            assert!(matches!(error, SetupError::Address { .. }), "{address:?}: {error}");
            for text in [error.to_string(), format!("{error:?}"), LockError::from(error.clone()).to_string()] {
                assert!(text.contains(wrong), "{address:?}: {text}");
                assert!(!text.contains(CANARY), "{address:?} is repeated: {text}");
            }
            assert!(error.to_string().ends_with("write it as `redis://[user:password@]host[:port][/database]`"));
        }
    }
}

/// What a call came to must be that the user may not do it: nothing was found out about the lock.
fn assert_denied<T>(what: &str, result: Result<T, LockError>) {
    match result {
        Ok(_) => panic!("{what}: it is allowed"),
        Err(LockError::Unavailable { source, .. }) => {
            assert_eq!(source.kind(), StoreErrorKind::Denied, "{what}: {source}");
            assert!(source.to_string().contains("permission"), "{what}: {source}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Promise: a user who may not read keys learns that, and is told neither that the key is no lock nor that the lock was
/// lost; and since nobody could tell whose it is, the key stays as it is.
///
/// Turned red by: a script that takes every error of `GET` for "another type".
#[tokio::test]
async fn a_missing_permission_is_no_statement_about_the_lock() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    admin.command::<()>(&["ACL", "SETUSER", "bob", "on", ">secret", "~*", "+@all", "-get"]);
    let address = format!("redis://bob:secret@127.0.0.1:{}/", server.port());
    let store = RedisStore::open(&address).expect("a good address");
    let locks = LockManager::builder(store.clone()).build();
    let others = LockManager::connect(&address).await.expect("bob may connect");
    let guard = locks.lock("denied").ttl(TTL).acquire().await.expect("a free lock needs no reading");
    let held = admin.get("denied");
    assert!(held.is_some());

    assert_denied("a second holder", others.lock("denied").ttl(TTL).acquire().await);
    // It does not wait for something that only an administrator can change.
    let waiting = others.lock("denied").ttl(TTL).wait(TTL).acquire();
    let waiting = tokio::time::timeout(TTL / 6, waiting).await;
    assert_denied("a waiting caller", waiting.expect("at once"));
    assert_denied("ttl", guard.ttl().await);
    assert_denied("extend", guard.extend(2 * TTL).await);
    assert!(guard.remaining() > TTL / 2, "it is still ours");
    assert_denied("set_ttl", guard.set_ttl(TTL).await);
    assert_denied("release", guard.release().await);
    // It is tried once more in the background, and given up.
    store.drain().await;
    assert_eq!(admin.get("denied"), held);

    // The same user, once the administrator has mended it.
    admin.command::<()>(&["ACL", "SETUSER", "bob", "+get"]);
    let error = others.lock("denied").ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
}
