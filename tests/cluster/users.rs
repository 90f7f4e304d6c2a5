//! Who may do what in a cluster.

use std::sync::Arc;

use lock_runtime::store::waiter::Place;
use lock_runtime::store::{Attempt, Claim, Store};
use lock_runtime::{LockKey, StoreErrorKind};

use super::*;

const README: &str = include_str!("../../README.md");

/// What a node of a cluster takes beyond what one server does, by the words of the readme.
const OF_CLUSTERS: [&str; 4] = ["+cluster|slots", "+asking", "+ssubscribe", "+spublish"];

/// Has every node know the user of the readme, with what clusters take, and without what is given.
fn permit(cluster: &RedisCluster, without: Option<&str>) {
    let lines = README.lines().filter(|line| line.starts_with("ACL SETUSER locks ")).take(2);
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split(' ').collect()).collect();
    for node in cluster.nodes() {
        let mut admin = node.admin();
        for line in &lines {
            admin.command::<()>(line);
        }
        admin.command::<()>(&[["ACL", "SETUSER", "locks"].as_slice(), &OF_CLUSTERS].concat());
        if let Some(permission) = without {
            admin.command::<()>(&["ACL", "SETUSER", "locks", &permission.replace('+', "-")]);
        }
        admin.command::<()>(&["CLIENT", "KILL", "USER", "locks"]);
    }
}

fn user_of(cluster: &RedisCluster) -> RedisStore {
    let url = cluster.url().replace("://", "://locks:password@");
    RedisStore::open(&url).expect("a good address")
}

/// Whether somebody who waits for a lock stands in its line.
async fn stands_in_line(store: &RedisStore) -> bool {
    let claim = || Claim::new(LockKey::from("handed"), TTL, Arc::from("host"));
    let holder = claim();
    let taken = store.acquire(&holder).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{taken:?}");
    let mut waiter = store.waiter(claim()).expect("nothing is known yet");
    let in_line = match waiter.ask().await.expect("an answer") {
        Place::Waiting { .. } => true,
        Place::None { .. } => false,
        other => panic!("{other:?}"),
    };
    assert!(store.release(&holder).await.expect("an answer"), "ours");
    if in_line {
        tokio::time::timeout(AT_ONCE, waiter.called()).await.expect("a call");
        waiter.confirm(TTL, None, 0).await.expect("an answer").expect("granted");
        assert!(store.release(&waiter.settle()).await.expect("an answer"));
    }
    in_line
}

/// Promise: with the permissions that the readme names, a user has everything in a cluster; and without each of those that clusters
/// take, is told what is missing, or polls.
///
/// Turned red by: a command that the readme does not name, or one that it names in vain.
#[tokio::test]
async fn what_the_user_of_a_cluster_needs() {
    assert!(README.contains("`+cluster|slots +asking`") && README.contains("`+ssubscribe +spublish`"));
    let cluster = RedisCluster::start().await;
    permit(&cluster, None);
    let store = user_of(&cluster);
    let locks = LockManager::builder(store.clone()).build();
    locks.self_test().await.expect("nothing is missing");
    let guard = locks.lock_many(["{work}:1", "{work}:2"]).ttl(TTL).fence().acquire().await.expect("free");
    guard.extend(2 * TTL).await.expect("ours");
    assert!(guard.ttl().await.expect("an answer") > TTL && guard.fence() > Some(0));
    assert!(locks.inspect("{work}:1").await.expect("an answer").is_some());
    guard.release().await.expect("ours");
    assert!(stands_in_line(&store).await);

    // A slot on its way: a new key is at the node that it goes to.
    let moving = "{moving}:1";
    let (slot, from) = (cluster.slot(moving), cluster.owner(moving));
    cluster.begin_to_move(slot, from, another(from));
    locked(&locks, moving, async {}).await.expect("asked for at the other node");

    permit(&cluster, Some("+cluster|slots"));
    let error = LockManager::builder(user_of(&cluster)).build().lock("a").ttl(TTL).acquire().await.expect_err("no map");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert!(source.kind() == StoreErrorKind::Denied && error.to_string().contains("permission"), "{error}");
    permit(&cluster, Some("+asking"));
    let locks = LockManager::builder(user_of(&cluster)).build();
    locks.lock("a").ttl(TTL).acquire().await.expect("its slot is at rest").release().await.expect("ours");
    let error = locks.lock(moving).ttl(TTL).acquire().await.expect_err("it may not ask there");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert!(source.kind() == StoreErrorKind::Denied && error.to_string().contains("permission"), "{error}");
    cluster.end_move(slot, from, another(from));
    for permission in ["+ssubscribe", "+spublish"] {
        permit(&cluster, Some(permission));
        let store = user_of(&cluster);
        LockManager::builder(store.clone()).build().self_test().await.expect("hand-off is no need");
        assert!(
            store.waiter(Claim::new(LockKey::from("a"), TTL, Arc::from("host"))).is_none(),
            "{permission} is missing"
        );
    }
}
