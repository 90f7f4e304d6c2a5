//! Clusters that lose nodes, and their minds: CLUSTERDOWN, failover, a master that becomes a replica.

use std::time::Instant;

use lock_tests::eventually;

use super::*;

/// Promise: a cluster that is down is unavailable within the bounds of an operation, and whoever waits gets the lock when it
/// works again.
///
/// Turned red by: CLUSTERDOWN taken for a refusal for good; an endless repetition.
#[tokio::test]
async fn a_cluster_that_is_down_is_waited_for() {
    let cluster = RedisCluster::start().await;
    let locks = connect(&cluster).await;
    let (slot, node) = (cluster.slot("elsewhere").to_string(), cluster.owner("elsewhere"));
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("free");
    for node in cluster.nodes() {
        node.admin().command::<()>(&["CLUSTER", "DELSLOTS", &slot]);
    }
    let is_down = |node: &lock_tests::RedisServer| {
        node.admin().command::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:fail")
    };
    eventually("the cluster is down", AT_ONCE, || cluster.nodes().iter().all(is_down)).await;
    let begun = Instant::now();
    let error = locks.lock("work").ttl(TTL).acquire().await.expect_err("it is down");
    assert!(error.is_unavailable() && error.to_string().contains("the cluster is down"), "{error}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(guard.extend(TTL).await.is_err() && guard.is_held(), "unknown, and not lost");

    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locked(&locks, "work", async {}).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    cluster.nodes()[node].admin().command::<()>(&["CLUSTER", "ADDSLOTS", &slot]);
    tokio::time::timeout(FAILOVER, waiting).await.expect("it works again").expect("no panic").expect("the lock");
    guard.release().await.expect("ours");
}

/// Promise: locks of a node that is lost are unavailable and not lost, in time, until its replica has taken over; then they are
/// extended and given back there, and whoever waits gets his.
///
/// Turned red by: a map that is not asked for again after a lost connection (`Hint::Lost`).
#[tokio::test]
async fn a_replica_takes_over() {
    let mut cluster = RedisCluster::with_replicas().await;
    let locks = connect(&cluster).await;
    let master = cluster.owner("work");
    let guard = locks.lock("work").ttl(TTL).acquire().await.expect("free");
    let renewed = locks.lock("{work}:renewed").ttl(TTL).renew_every(Duration::from_millis(200)).acquire().await;
    let renewed = renewed.expect("free");
    let mut admin = cluster.nodes()[master + 3].admin();
    admin.command::<()>(&["READONLY"]);
    eventually("the replica has the locks", AT_ONCE, || admin.exists("work") && admin.exists("{work}:renewed")).await;

    cluster.node(master).kill();
    let begun = Instant::now();
    let error = guard.extend(2 * TTL).await.expect_err("nobody has the slot");
    assert!(error.is_unavailable() && begun.elapsed() < AT_ONCE, "{error}, after {:?}", begun.elapsed());
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locked(&locks, "{work}:new", async {}).await }
    });
    tokio::time::timeout(FAILOVER, waiting).await.expect("the replica took over").expect("no panic").expect("the lock");
    println!("a lock was had {:?} after its master was killed (nodes count as lost after 1 s)", begun.elapsed());
    eventually("everybody has heard of it", FAILOVER, || cluster.owner("work") == master + 3).await;
    guard.extend(2 * TTL).await.expect("ours, at the replica");
    assert!(admin.remaining("work") > Some(TTL));
    let error = locks.lock("work").ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
    guard.release().await.expect("ours");
    assert!(renewed.is_held());
    renewed.release().await.expect("ours");
}

/// Promise: after a planned failover nothing is lost, and the master that became a replica sends us to the new one.
///
/// Turned red by: MOVED that is not followed.
#[tokio::test]
async fn a_master_steps_down() {
    let cluster = RedisCluster::with_replicas().await;
    let locks = connect(&cluster).await;
    let master = cluster.owner("work");
    let guard = locks.lock("work").ttl(TTL).renew().acquire().await.expect("free");
    let slot = cluster.slot("work");
    cluster.nodes()[master + 3].admin().command::<()>(&["CLUSTER", "FAILOVER"]);
    eventually("the replica took over", FAILOVER, || cluster.owner_as_seen_by(master, slot) == Some(master + 3)).await;
    guard.extend(2 * TTL).await.expect("ours, at the new master");
    guard.release().await.expect("ours");
    locked(&locks, "work", async {}).await.expect("free");
}

/// Promise: where a cluster serves what it has, the loss of a node is the loss of its slots, and of no others: an error in time.
///
/// Turned red by: a question for the map that every request waits for.
#[tokio::test]
async fn the_other_slots_stay() {
    let mut cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        node.admin().configure("cluster-require-full-coverage", "no");
    }
    let locks = connect(&cluster).await;
    let keys: Vec<String> = (0..20).map(|n| format!("work:{n}")).collect();
    let lost: Vec<bool> = keys.iter().map(|key| cluster.owner(key) == 0).collect();
    assert!(lost.contains(&true) && lost.contains(&false));
    cluster.node(0).kill();
    for (key, lost) in keys.iter().zip(lost) {
        let begun = Instant::now();
        let outcome = locks.lock(&**key).ttl(TTL).acquire().await;
        assert!(begun.elapsed() < AT_ONCE, "{key}: {:?}", begun.elapsed());
        match outcome {
            Ok(guard) => guard.release().await.expect("ours"),
            Err(error) => assert!(lost && error.is_unavailable(), "{key}: {error}"),
        }
    }
}
