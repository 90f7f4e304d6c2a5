//! Where locks cannot be handed from process to process: whoever waits polls, and it is told once. One test, for one process has
//! one subscriber.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_tests::{Admin, Log, RedisServer, eventually};

const TTL: Duration = Duration::from_secs(60);
/// A poll, on a busy machine too; far below the lease.
const SOON: Duration = Duration::from_secs(5);

/// Has one manager wait for what another holds.
async fn wait_for_each_other(holder: &LockManager, waiter: &LockManager, admin: &mut Admin) {
    let guard = holder.lock("polled").ttl(TTL).acquire().await.expect("free");
    let asked = |admin: &mut Admin| admin.command_counts().get("set").copied().unwrap_or(0);
    let before = asked(admin);
    let waiting = tokio::spawn(waiter.lock("polled").ttl(TTL).wait(TTL).acquire());
    eventually("it is asked for again and again", SOON, || asked(admin) > before + 2).await;
    guard.release().await.expect("ours");
    let guard = tokio::time::timeout(SOON, waiting).await.expect("soon").expect("no panic").expect("the lock");
    guard.release().await.expect("ours");
}

/// Promise: a server that does not know RESP3 has locks that work, by polling. It is told once for a store, with the reason; and
/// not at all where there is nothing to be told.
///
/// Turned red by: an error in the place of an older greeting; a warning with every wait; a store that waits for calls all the same.
#[tokio::test]
async fn a_server_without_resp3_is_polled_and_told_of_once() {
    let log = Log::capture();
    let told = || log.lines().into_iter().filter(|line| line.contains("\"lock.polling\"")).collect::<Vec<_>>();
    let server = RedisServer::start();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    locks.self_test().await.expect("nothing is wrong");
    assert_eq!(told(), [""; 0]);

    for password in [None, Some("canary")] {
        let before = told().len();
        let mut server = RedisServer::options().arguments(["--rename-command", "HELLO", ""]);
        if let Some(password) = password {
            server = server.password(password);
        }
        let server = server.start();
        let mut admin = server.admin();
        let stores = [0; 2].map(|_| RedisStore::open(&server.url()).expect("a good address"));
        let [holder, waiter] = stores.map(|store| LockManager::builder(store).build());
        for _ in 0..2 {
            wait_for_each_other(&holder, &waiter, &mut admin).await;
            waiter.self_test().await.expect("locks work");
            // Connections are made anew, in the way that is known by now.
            let killed: u64 = admin.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            assert_eq!(killed, 2);
        }
        let told = told().split_off(before);
        assert_eq!(told.len(), 2, "once for each: {told:#?}");
        let server = format!("127.0.0.1:{}", server.port());
        for line in told {
            assert!(line.contains("RESP3") && line.contains(&server), "{line}");
            assert!(!line.contains("lock=") && !line.contains("polled") && !line.contains("canary"), "{line}");
        }
        assert_eq!(admin.keys(), [""; 0]);
    }
}
