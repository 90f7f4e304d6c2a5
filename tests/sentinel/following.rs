//! Locks follow the master: planned and forced failover while they are held, renewed and waited for.

use std::time::Instant;

use lock_tests::{RedisServer, eventually};

use super::*;

const RENEWED: Duration = Duration::from_secs(6);

/// Row 28. Promise: a planned failover loses no lock: they are held, renewed, extended and given back on the new master, and whoever
/// waits gets his there; nothing panics, and nothing waits for ever.
///
/// Turned red by: a connection that is kept when the server says that it is a replica; sentinels that are asked once.
#[tokio::test]
async fn row_28_a_planned_failover() {
    let sentinels = Sentinels::start().await;
    let (locks, others) = (connect(&sentinels).await, LockManager::builder(store(&sentinels)).build());
    let held = locks.lock("held").ttl(TTL).acquire().await.expect("free");
    let renewed = locks.lock("renewed").ttl(RENEWED).renew().acquire().await.expect("free");
    for replica in &sentinels.servers()[1..] {
        let mut admin = replica.admin();
        eventually("the replicas have the locks", AT_ONCE, || admin.exists("held") && admin.exists("renewed")).await;
    }
    let waiting = tokio::spawn({
        let others = others.clone();
        async move { locked(&others, "held", async {}).await }
    });
    let mut first = sentinels.servers()[0].admin();
    eventually("it stands in line", AT_ONCE, || first.command::<u64>(&["LLEN", "held:lock_runtime:q1"]) > 0).await;

    let begun = Instant::now();
    let mut tries = 0;
    let mut failing_over = std::pin::pin!(sentinels.fail_over(0));
    let now = loop {
        if let Ok(now) = tokio::time::timeout(Duration::from_millis(20), &mut failing_over).await {
            break now;
        }
        // Others go on with their work, as well as they can.
        tries += 1;
        match locks.lock("work").ttl(TTL).acquire().await {
            Ok(guard) => drop(guard),
            Err(error) => assert!(error.is_unavailable() || error.is_busy(), "{error}"),
        }
    };
    locked(&locks, "work", async {}).await.expect("on the new master");
    println!("a planned failover: {:?} until locks could be had again, {tries} tries meanwhile", begun.elapsed());

    let mut admin = sentinels.servers()[now].admin();
    assert!(held.is_held() && renewed.is_held());
    // The old one is not told at once.
    let mut extended = 0;
    while admin.remaining("held") <= Some(TTL) {
        assert!(begun.elapsed() < FAILOVER, "the old master is extended at");
        held.extend(2 * TTL).await.expect("ours, on the new master");
        extended += 1;
    }
    println!("a planned failover: {extended} extensions until the new master had one, {:?}", begun.elapsed());
    let before = admin.remaining("renewed").expect("it is there");
    eventually("it is renewed there", RENEWED, || admin.remaining("renewed").is_some_and(|left| left > before)).await;
    assert!(!waiting.is_finished(), "it is held");
    held.release().await.expect("ours");
    tokio::time::timeout(AT_ONCE, waiting).await.expect("soon").expect("no panic").expect("the lock");
    renewed.release().await.expect("ours");
    let mut admin = sentinels.servers()[now].admin();
    eventually("nothing is left", AT_ONCE, || admin.keys().is_empty()).await;
}

/// Promise: a master that dies is replaced: within the bounds of an operation calls are unavailable, and not for longer than the
/// sentinels take; who waits gets the lock, and a lock that the replicas had heard of is kept. When the old master is there again,
/// nobody takes it for the master.
///
/// Turned red by: a connection that is dialled to where the master was; a call that waits for the failover without being asked to.
#[tokio::test]
#[ignore = "takes long; tests/run.sh --all runs it"]
async fn a_master_that_dies() {
    let mut sentinels = Sentinels::start().await;
    replaced(&mut sentinels, RedisServer::kill, RedisServer::restart_empty).await;
}

/// The same of one that is silent: its connections stay open.
#[tokio::test]
#[ignore = "takes long; tests/run.sh --all runs it"]
async fn a_master_that_hangs() {
    let mut sentinels = Sentinels::start().await;
    replaced(&mut sentinels, RedisServer::pause, RedisServer::resume).await;
    // In the end it is told.
    eventually("it follows", FAILOVER, || {
        let admin = sentinels.servers()[0].try_admin();
        let info = admin.and_then(|mut admin| admin.try_command::<String>(&["INFO", "replication"]).ok());
        info.is_some_and(|info| info.contains("role:slave"))
    })
    .await;
}

async fn replaced(sentinels: &mut Sentinels, fail: fn(&mut RedisServer), come_back: fn(&mut RedisServer)) {
    let locks = connect(sentinels).await;
    let held = locks.lock("held").ttl(TTL).renew_every(Duration::from_millis(500)).acquire().await.expect("free");
    for replica in &sentinels.servers()[1..] {
        let mut admin = replica.admin();
        eventually("the replicas have the lock", FAILOVER, || admin.exists("held")).await;
    }
    fail(&mut sentinels.servers_mut()[0]);
    let begun = Instant::now();
    let error = locks.lock("work").ttl(TTL).acquire().await.expect_err("nobody is there");
    assert!(error.is_unavailable() && begun.elapsed() < AT_ONCE, "{error}, after {:?}", begun.elapsed());
    locked(&locks, "work", async {}).await.expect("whoever waits gets it");
    println!("{:?} until a lock was had (masters count as lost after 1.5 s)", begun.elapsed());
    let now = sentinels.failed_over(0).await;
    assert!(held.is_held(), "it was replicated");
    held.extend(TTL).await.expect("ours, on the new master");

    come_back(&mut sentinels.servers_mut()[0]);
    // For a while it believes that it is the master still.
    for _ in 0..20 {
        let guard = locks.lock("work").ttl(TTL).wait(AT_ONCE).acquire().await.expect("the new master has it");
        assert!(sentinels.servers()[now].admin().exists("work"));
        guard.release().await.expect("ours");
    }
    held.release().await.expect("ours");
}
