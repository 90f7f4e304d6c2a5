//! Keys that were not written by this crate.

use std::time::Duration;

use lock_runtime::{LockError, LockManager};
use lock_tests::RedisServer;

const TTL: Duration = Duration::from_secs(60);

/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
}

/// Promise: a key that is no lock (another type, or no expiry) is reported at once, however long the caller would wait, and
/// is not touched.
///
/// Turned red by: taking every refused `SET NX` for a busy lock.
#[tokio::test]
async fn a_foreign_key_is_reported_at_once() {
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

/// A lock that another program made, in the same format, is an ordinary busy lock.
///
/// Turned red by: taking every value that is not ours for a foreign key.
#[tokio::test]
async fn a_lock_of_another_program_is_busy() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = connect(&server).await;
    admin.set("theirs", "iVw3l2XjJmOq3bFv1u9t6A", &["NX", "PX", "400"]);
    let error = locks.lock("theirs").ttl(TTL).acquire().await.expect_err("they hold it");
    assert!(error.is_busy(), "{error}");
    let guard = locks.lock("theirs").ttl(TTL).wait(TTL).acquire().await.expect("after its expiry");
    let value = admin.get("theirs").expect("held");
    let (token, metadata) = value.split_once(' ').expect("a token and metadata");
    assert_eq!((token, metadata), (guard.token().as_str(), guard.metadata()));
    assert_eq!(admin.command::<Option<String>>(&["SET", "theirs", "x", "NX", "PX", "1000"]), None);
    guard.release().await.expect("ours");
}
