//! Locks that were not written by this crate. (What is no lock: `row_45` of the fault matrix.)

use std::time::Duration;

use lock_runtime::LockManager;
use lock_tests::RedisServer;

const TTL: Duration = Duration::from_secs(60);

async fn connect(server: &RedisServer) -> LockManager {
    LockManager::connect(&server.url()).await.expect("connect")
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
