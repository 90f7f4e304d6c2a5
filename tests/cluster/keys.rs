//! Which node a lock is at, and what goes together.

use lock_tests::Admin;

use super::*;

/// With a tag, with an empty one, with braces that are none, and without.
pub(crate) const KEYS: [&str; 8] = ["order:1", "{order:1}:a", "a}b", "{}x", "a{b", "a{}b{c}", "x{y}z{w}", "é"];

/// Promise: any key can be locked in a cluster, under the attribute too: taken, found held, extended, given back, with fencing
/// tokens that rise, and all that is kept of it is in its slot. Nothing is left but the counters.
///
/// Turned red by: a counter with a name of its own (`Nodes::placed`), another rule of tags (`slot::tag`).
#[tokio::test]
async fn every_key_is_locked_in_its_slot() {
    let cluster = RedisCluster::start().await;
    let (locks, others) = (connect(&cluster).await, connect(&cluster).await);
    for key in KEYS {
        let mut admin = cluster.admin_of(key);
        let guard = locks.lock(key).ttl(TTL).fence().acquire().await.expect(key);
        assert!(admin.exists(key), "{key}");
        let error = others.lock(key).ttl(TTL).acquire().await.expect_err("it is held");
        assert!(error.is_busy(), "{key}: {error}");
        guard.extend(2 * TTL).await.expect(key);
        assert!(guard.ttl().await.expect(key) > TTL, "{key}");
        let earlier = guard.fence().expect("a token");
        guard.release().await.expect(key);

        let guard = others.lock(key).ttl(TTL).fence().acquire().await.expect(key);
        assert!(guard.fence() > Some(earlier), "{key}");
        guard.release().await.expect(key);
        let inside = locked(&locks, key, async { admin.exists(key) }).await.expect(key);
        assert!(inside && !admin.exists(key), "{key}");
    }
    let left = cluster.nodes().iter().flat_map(|node| node.admin().keys());
    let left: Vec<String> = left.filter(|key| !key.ends_with("lock_runtime:fence")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Promise: keys of one slot are one lock, with a token above those of each of them alone; keys of several are `Invalid`, and no
/// node is asked.
///
/// Turned red by: `flaw` that says `None`; a counter for each key.
#[tokio::test]
async fn the_keys_of_a_lock_are_in_one_slot() {
    let cluster = RedisCluster::start().await;
    let locks = connect(&cluster).await;
    let keys = ["{order:1}:a", "{order:1}:b"];
    let mut highest = 0;
    for key in keys {
        let guard = locks.lock(key).ttl(TTL).fence().acquire().await.expect("free");
        highest = highest.max(guard.fence().expect("a token"));
        guard.release().await.expect("ours");
    }
    let guard = locks.lock_many(keys).ttl(TTL).fence().acquire().await.expect("in one slot");
    assert!(guard.fence() > Some(highest));
    let mut admin = cluster.admin_of(keys[0]);
    assert!(keys.iter().all(|key| admin.exists(key)));
    guard.extend(2 * TTL).await.expect("ours");
    guard.release().await.expect("ours");
    assert!(!keys.iter().any(|key| admin.exists(key)));

    let asked = || -> u64 {
        let executed = |mut admin: Admin| admin.command_counts();
        let counts = cluster.nodes().iter().map(|node| executed(node.admin()));
        counts.flatten().filter(|(name, _)| ["set", "eval", "evalsha"].contains(&&**name)).map(|(_, count)| count).sum()
    };
    let before = asked();
    let error = locks.lock_many(["foo", "bar"]).ttl(TTL).wait(TTL).acquire().await.expect_err("in two slots");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("`bar` in 5061") && text.contains("`foo` in 12182"), "{text}");
    assert_eq!(asked(), before);
}

/// Promise: whoever waits for a lock in a cluster gets it when it is given back.
#[tokio::test]
async fn a_lock_is_waited_for() {
    let cluster = RedisCluster::start().await;
    let (locks, others) = (connect(&cluster).await, connect(&cluster).await);
    for key in KEYS {
        let guard = locks.lock(key).ttl(TTL).acquire().await.expect(key);
        let waiting = tokio::spawn({
            let others = others.clone();
            async move { locked(&others, key, async {}).await }
        });
        tokio::task::yield_now().await;
        guard.release().await.expect(key);
        tokio::time::timeout(AT_ONCE, waiting).await.expect("at once").expect("no panic").expect(key);
    }
}

/// Promise: renewed locks in all slots stay held, each by a request to its own node.
///
/// Turned red by: one request for all of them; answers in the order of slots and not of locks.
#[tokio::test]
async fn locks_at_all_nodes_are_renewed() {
    const SHORT: Duration = Duration::from_millis(600);
    let cluster = RedisCluster::start().await;
    let locks = connect(&cluster).await;
    let mut guards = Vec::new();
    for n in 0..60 {
        let key = format!("job:{}", n % 40 + n / 40 * 1000);
        guards.push(locks.lock(&*key).ttl(SHORT).renew().acquire().await.expect("free"));
    }
    // One that is lost among them is the only one.
    let lost = guards.swap_remove(17);
    assert!(cluster.admin_of(lost.key().as_str()).delete(lost.key().as_str()));
    tokio::time::timeout(AT_ONCE, lost.lost()).await.expect("its loss is noticed");
    tokio::time::sleep(4 * SHORT).await;
    for guard in guards {
        assert!(guard.is_held(), "{}", guard.key());
        guard.release().await.expect("ours");
    }
}

/// Promise: the self-test looks at every node, and leaves nothing behind.
///
/// Turned red by: a probe at one node only.
#[tokio::test]
async fn every_node_is_tested() {
    let cluster = RedisCluster::start().await;
    let locks = connect(&cluster).await;
    locks.self_test().await.expect("a healthy cluster");
    for node in cluster.nodes() {
        assert_eq!(node.admin().keys(), Vec::<String>::new());
    }
    cluster.nodes()[2].admin().command::<()>(&["ACL", "SETUSER", "default", "-pexpire"]);
    let error = locks.self_test().await.expect_err("a node does less").to_string();
    let name = format!("127.0.0.1:{}", cluster.nodes()[2].port());
    assert!(error.contains("PEXPIRE") && error.contains(&name), "{error}");
}
