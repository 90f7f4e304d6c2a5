//! Redis Cluster: answers that send us elsewhere, and requests that are sent twice. More of it in `tests/cluster`.

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{Conduct, Proxy, RedisCluster, RedisServer, Way, command, eventually};

use crate::{AT_ONCE, PROCESS, TTL, in_time, ms};

#[distributed_lock(key = "work", ttl = TTL, wait = PROCESS, manager = locks)]
async fn waited_for<T>(locks: &LockManager, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

/// How often the nodes have answered with `error`.
fn answered(cluster: &RedisCluster, error: &str) -> usize {
    let count = |node: &RedisServer| {
        let info: String = node.admin().command(&["INFO", "errorstats"]);
        let line =
            info.lines().find_map(|line| line.strip_prefix(&*format!("errorstat_{error}:count=")).map(str::to_owned));
        line.map_or(0, |count| count.trim().parse::<usize>().expect("a number"))
    };
    cluster.nodes().iter().map(count).sum()
}

/// Row 37. Promise: MOVED and ASK are followed, TRYAGAIN and CLUSTERDOWN are ridden out by whoever waits, and keys of several
/// slots are refused before a server could say CROSSSLOT.
///
/// Turned red by: `Wander::follows` that says no; `Refusal` rows that refuse for good; `Cluster::flaw` that finds none.
#[tokio::test]
async fn row_37_sent_elsewhere_by_a_cluster() {
    let cluster = RedisCluster::start().await;
    let locks = LockManager::connect(&cluster.url()).await.expect("connect");
    let fenced = locks.lock("work").ttl(TTL).fence().acquire().await.expect("free");
    let first = fenced.fence();
    fenced.release().await.expect("ours");
    let (slot, from) = (cluster.slot("work"), cluster.owner("work"));
    let to = (from + 1) % 3;

    // ASK: the key is new, and its slot on the way.
    cluster.begin_to_move(slot, from, to);
    in_time("a lock in a slot on its way", waited_for(&locks, async {})).await.expect("the lock");
    assert!(answered(&cluster, "ASK") > 0);
    // TRYAGAIN: the counter is there, and the key is not.
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locks.lock("work").ttl(TTL).wait(PROCESS).fence().acquire().await }
    });
    eventually("it is told to try again", AT_ONCE, || answered(&cluster, "TRYAGAIN") > 0).await;
    cluster.end_move(slot, from, to);
    let guard = waiting.await.expect("no panic").expect("the slot has arrived");
    assert!(guard.fence() > first);
    guard.release().await.expect("ours");
    // MOVED: the slot goes back.
    let before = answered(&cluster, "MOVED");
    cluster.move_slot(slot, to, from);
    in_time("a lock that has moved", waited_for(&locks, async {})).await.expect("the lock");
    assert!(answered(&cluster, "MOVED") > before);
    // CLUSTERDOWN: nobody has the slot of another key.
    let other = cluster.slot("other").to_string();
    let owner = cluster.owner("other");
    for node in cluster.nodes() {
        node.admin().command::<()>(&["CLUSTER", "DELSLOTS", &other]);
    }
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { waited_for(&locks, async {}).await }
    });
    eventually("it is told that the cluster is down", AT_ONCE, || answered(&cluster, "CLUSTERDOWN") > 0).await;
    cluster.nodes()[owner].admin().command::<()>(&["CLUSTER", "ADDSLOTS", &other]);
    waiting.await.expect("no panic").expect("it works again");
    // CROSSSLOT: never said.
    let error = locks.lock_many(["work", "other"]).ttl(TTL).acquire().await.expect_err("in two slots");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert_eq!(answered(&cluster, "CROSSSLOT"), 0);
}

/// Row 38. Promise: a request that was sent twice on its way, or whose answer was lost, and that finds the key taken by itself,
/// has not found it taken by somebody else.
///
/// Turned red by: a plain `SET` whose "no" is believed; the same token for the next try, without a look.
#[tokio::test]
async fn row_38_a_request_that_is_sent_twice() {
    let cluster = RedisCluster::start().await;
    let node = cluster.owner("work");
    let proxy = Proxy::start(cluster.nodes()[node].port()).await;
    let (announced, slot) = (proxy.port().to_string(), cluster.slot("work"));
    cluster.nodes()[node].admin().configure("cluster-announce-port", &announced);
    let hears = |other: &RedisServer| {
        let slots: Vec<Vec<redis::Value>> = other.admin().command(&["CLUSTER", "SLOTS"]);
        format!("{slots:?}").contains(&announced)
    };
    eventually("everybody has heard where the node is", PROCESS, || cluster.nodes().iter().all(hears)).await;
    let locks = LockManager::connect(&cluster.url()).await.expect("connect");
    waited_for(&locks, async {}).await.expect("through the proxy");

    for _ in 0..3 {
        let caught = proxy.next(Way::Requests, command("SET"), Conduct::Repeat(ms(20)));
        let guard = in_time("a SET that is sent twice", locks.lock("work").ttl(TTL).acquire()).await;
        guard.expect("ours, by the first of the two").release().await.expect("ours");
        caught.happened().await;
    }
    let caught = proxy.next(Way::Replies, command("SET"), Conduct::Cut);
    waited_for(&locks, async {}).await.expect("after the answer was lost");
    caught.happened().await;
    assert!(!cluster.nodes()[node].admin().exists("work"), "left in slot {slot}");
}
