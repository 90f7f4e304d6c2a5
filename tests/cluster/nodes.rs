//! Where the nodes are, and who we are to them.

use lock_runtime::SetupError;
use lock_runtime::store::redis::Credentials;
use lock_tests::RedisServer;

use super::*;

/// Promise: one node that answers is enough, by the builder and by the URL; without one, it says so in time.
///
/// Turned red by: asking the first node alone.
#[tokio::test]
async fn one_node_is_enough() {
    let mut cluster = RedisCluster::start().await;
    let mut gone = RedisServer::start();
    gone.kill();
    let (gone, node) = (gone.port(), cluster.nodes()[1].port());
    let store = RedisStore::cluster([format!("redis://127.0.0.1:{gone}"), format!("redis://127.0.0.1:{node}")]);
    let locks = LockManager::builder(store.expect("good addresses")).build();
    locked(&locks, "work", async {}).await.expect("one is there");
    let url = format!("redis+cluster://127.0.0.1:{gone},127.0.0.1:{node}/");
    let locks = LockManager::connect(&url).await.expect("one is there");
    locked(&locks, "work", async {}).await.expect("one is there");

    // One that is silent does not hold up those that are not.
    for node in cluster.nodes() {
        node.admin().configure("cluster-require-full-coverage", "no");
    }
    cluster.node(0).pause();
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{node}", cluster.nodes()[0].port());
    let locks = LockManager::connect_lazy(&url).expect("a good address");
    let key = (0..1000).map(|n| format!("k{n}")).find(|key| cluster_owner(&cluster, key) == 1).expect("a key");
    let guard = locks.lock(&*key).ttl(TTL).acquire().await.expect("the other one knows");
    guard.release().await.expect("ours");
    cluster.node(0).resume();

    let url = format!("redis+cluster://127.0.0.1:{gone}");
    let error = LockManager::connect(&url).await.expect_err("nobody is there");
    assert!(matches!(error, SetupError::Unreachable { .. }), "{error}");
}

/// Asked at a node that is not paused.
fn cluster_owner(cluster: &RedisCluster, key: &str) -> usize {
    let slot: u16 = cluster.nodes()[1].admin().command(&["CLUSTER", "KEYSLOT", key]);
    cluster.owner_as_seen_by(1, slot).expect("an owner")
}

/// Promise: the user of the URL, or of the provider, is the one at every node, and addresses that cannot be are refused.
#[tokio::test]
async fn every_node_is_told_who_we_are() {
    let cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        node.admin().command::<()>(&["ACL", "SETUSER", "locks", "on", ">s3cret", "~*", "&*", "+@all"]);
        node.admin().command::<()>(&["ACL", "SETUSER", "default", "-set", "-eval", "-evalsha"]);
    }
    let url = cluster.url().replace("://", "://locks:s3cret@");
    let named = LockManager::connect(&url).await.expect("connect");
    let provided = store(&cluster).credentials(|| Credentials::new("locks", "s3cret"));
    let provided = LockManager::builder(provided).build();
    for n in 0..20 {
        let key = format!("work:{n}");
        locked(&named, &key, async {}).await.expect("the user of the URL");
        locked(&provided, &key, async {}).await.expect("the user of the provider");
    }
    for bad in ["redis+cluster://", "redis+cluster://localhost:7000/3", "http+cluster://localhost"] {
        assert!(matches!(RedisStore::open(bad), Err(SetupError::Address { .. })), "{bad}");
    }
    let none: [&str; 0] = [];
    assert!(matches!(RedisStore::cluster(none), Err(SetupError::Address { .. })));
}
