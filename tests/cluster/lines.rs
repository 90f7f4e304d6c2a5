//! Waiting in line in a cluster: hand-off by the channels of shards, and what moves away from under it.

use std::sync::Arc;

use lock_runtime::LockKey;
use lock_runtime::store::waiter::{Place, Waiter};
use lock_runtime::store::{Attempt, Claim, Store};
use lock_tests::{ServerOptions, eventually, info};

use super::*;

fn claim_of(key: &str) -> Claim {
    Claim::new(LockKey::from(key), TTL, Arc::from("host:1 with words"))
}

/// Takes a free lock.
async fn hold(store: &RedisStore, key: &str) -> Claim {
    let claim = claim_of(key);
    let taken = store.acquire(&claim).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{key}: {taken:?}");
    claim
}

/// Takes a place in line.
async fn line_up(store: &RedisStore, key: &str) -> Box<dyn Waiter> {
    let mut waiter = store.waiter(claim_of(key)).expect("there are lines");
    let place = waiter.ask().await.expect("an answer");
    assert!(matches!(place, Place::Waiting { .. }), "{key}: {place:?}");
    waiter
}

/// Waits until the lock is ours, by a call and nothing else.
async fn called_and_confirmed(waiter: &mut Box<dyn Waiter>, what: &str) {
    tokio::time::timeout(AT_ONCE, waiter.called()).await.unwrap_or_else(|_| panic!("{what}: nobody called"));
    let confirmed = waiter.confirm(TTL, None, 0).await.expect("an answer");
    assert!(confirmed.is_some(), "{what}: called for nothing");
}

/// Promise: a lock of any key goes from one process to the next without polling, in the order in which they asked.
///
/// Turned red by: a channel that is not in the slot, `PUBLISH` in the place of `SPUBLISH`, a line that is not beside its key.
#[tokio::test]
async fn locks_are_handed_on_in_every_slot() {
    let cluster = RedisCluster::start().await;
    let (holder, first, second) = (store(&cluster), store(&cluster), store(&cluster));
    for key in keys::KEYS {
        let claim = hold(&holder, key).await;
        let (mut next, mut last) = (line_up(&first, key).await, line_up(&second, key).await);
        assert!(holder.release(&claim).await.expect("an answer"), "{key}");
        called_and_confirmed(&mut next, key).await;
        let claim = next.settle();
        assert!(first.release(&claim).await.expect("an answer"), "{key}");
        called_and_confirmed(&mut last, key).await;
        let claim = last.settle();
        assert!(second.release(&claim).await.expect("an answer"), "{key}");
    }
    for node in cluster.nodes() {
        assert_eq!(node.admin().keys(), Vec::<String>::new());
    }
}

/// Promise: who waits in line when the slot moves hears of it, and has its place in line at the new node.
///
/// Turned red by: `SUnsubscribe` that nobody reads; a channel of the node's own, in `Slot::new`.
#[tokio::test]
async fn places_in_line_move_with_the_slot() {
    let cluster = RedisCluster::start().await;
    let (holder, first, second) = (store(&cluster), store(&cluster), store(&cluster));
    let (slot, from) = (cluster.slot("work"), cluster.owner("work"));
    let claim = hold(&holder, "work").await;
    let (mut next, mut last) = (line_up(&first, "work").await, line_up(&second, "work").await);
    cluster.move_slot(slot, from, another(from));
    // The last one is the first who hears, and asks.
    for waiter in [&mut last, &mut next] {
        tokio::time::timeout(AT_ONCE, waiter.called()).await.expect("the slot is gone");
        let place = waiter.ask().await.expect("an answer");
        assert!(matches!(place, Place::Waiting { .. }), "{place:?}");
    }
    assert!(holder.release(&claim).await.expect("an answer"));
    called_and_confirmed(&mut next, "first in line").await;
    assert!(first.release(&next.settle()).await.expect("an answer"));
    called_and_confirmed(&mut last, "last in line").await;
    assert!(second.release(&last.settle()).await.expect("an answer"));
}

/// Promise: when a node gives up a slot in which we wait, no request is taken for answered by the answer to another. The node
/// says so unasked, and the client library takes that for an answer.
///
/// Turned red by: `check_order` that sees nothing: a lock that somebody else holds is had.
#[tokio::test]
async fn answers_stay_with_their_requests() {
    let cluster = RedisCluster::start().await;
    let (holder, ours) = (store(&cluster), store(&cluster));
    let (slot, from) = (cluster.slot("work"), cluster.owner("work"));
    let keys: Vec<String> = (0..100).map(|n| format!("other:{n}")).filter(|key| cluster.owner(key) == from).collect();
    let (free, held) = (&*keys[0], &*keys[1]);
    let (_work, _held) = (hold(&holder, "work").await, hold(&holder, held).await);
    let _waiter = line_up(&ours, "work").await;

    for node in cluster.nodes() {
        node.admin().configure("cluster-require-full-coverage", "no");
    }
    // What is written waits, and the slot leaves meanwhile.
    cluster.nodes()[from].admin().command::<()>(&["CLIENT", "PAUSE", "700", "WRITE"]);
    let ask = |key: &str| {
        let (ours, claim) = (ours.clone(), claim_of(key));
        tokio::spawn(async move { ours.acquire(&claim).await })
    };
    let (first, second) = (ask(free), ask(held));
    let mut admin = cluster.nodes()[from].admin();
    let blocked = || info(&mut admin, "clients", "blocked_clients").is_some_and(|count| count.trim() != "0");
    eventually("requests wait at the server", AT_ONCE, blocked).await;
    admin.command::<()>(&["CLUSTER", "DELSLOTS", &slot.to_string()]);
    let first = first.await.expect("no panic");
    let second = second.await.expect("no panic");
    assert!(first.is_err(), "the connection was to be given up: {first:?}");
    assert!(!matches!(second, Ok(Attempt::Acquired { .. })), "{second:?} of a lock that is held");
}

/// Promise: under the attribute, whoever waits for a lock in a cluster has it as soon as it is given back, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_several_processes_take_turns() {
    const TURNS: usize = 30;
    let cluster = RedisCluster::start().await;
    let mut callers = Vec::new();
    for _ in 0..4 {
        let locks = connect(&cluster).await;
        callers.push(tokio::spawn(async move {
            for _ in 0..TURNS {
                locked(&locks, "work", tokio::task::yield_now()).await.expect("a turn");
            }
        }));
    }
    let all = async {
        for caller in callers {
            caller.await.expect("no panic");
        }
    };
    tokio::time::timeout(FAILOVER, all).await.expect("everybody gets his turns");
    let handed_on: u64 = cluster.nodes().iter().map(|node| calls(node, "spublish")).sum();
    assert!(handed_on > 10, "locks were handed on {handed_on} times");
}

fn calls(node: &lock_tests::RedisServer, command: &str) -> u64 {
    node.admin().command_counts().get(command).copied().unwrap_or_default()
}

/// Promise: where shards have no channels (before 7.0), or the user may not listen, whoever waits polls.
///
/// Turned red by: an unknown command that is taken for trouble of the store.
#[tokio::test]
async fn without_channels_locks_are_polled_for() {
    let old = ServerOptions::default().arguments(["--rename-command", "SSUBSCRIBE", ""]);
    let cluster = RedisCluster::with(0, old).await;
    wait_for_a_turn(&cluster).await;
    let cluster = RedisCluster::start().await;
    for node in cluster.nodes() {
        node.admin().command::<()>(&["ACL", "SETUSER", "default", "-ssubscribe"]);
    }
    wait_for_a_turn(&cluster).await;
}

async fn wait_for_a_turn(cluster: &RedisCluster) {
    let (locks, others) = (connect(cluster).await, connect(cluster).await);
    let guard = locks.lock("work").ttl(TTL).acquire().await.expect("free");
    let waiting = tokio::spawn(async move { locked(&others, "work", async {}).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    guard.release().await.expect("ours");
    tokio::time::timeout(AT_ONCE, waiting).await.expect("by polling").expect("no panic").expect("the lock");
}
