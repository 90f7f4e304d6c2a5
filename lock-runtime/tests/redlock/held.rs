//! What Redlock does beyond redsync for a lock that is held: nodes are given it again, its times are exact or unknown, its fencing
//! tokens rise, it is renewed.

use lock_runtime::LockManager;
use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::store::{Attempt, Claim, Extension, Store};
use lock_runtime::test_util::Operation;
use tokio::time::{Instant, sleep};

use crate::nodes::{HOUR, Nodes, SECOND, TTL, hang, ms};

/// Promise: a node that has lost a lock which a majority keeps is given it again, with what is left of its time; it does not count
/// for the extension that has found this out.
///
/// Turned red by: leaving such nodes alone; counting them.
#[tokio::test(start_paused = true)]
async fn a_node_that_forgets_is_given_the_lock_again() {
    let nodes = Nodes::new(3);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    let value = nodes.value("k");
    nodes.memories[0].remove("k");
    sleep(SECOND).await;
    guard.extend(TTL).await.expect("extended by the other two");
    sleep(ms(1)).await;
    assert_eq!(nodes.values("k"), vec![value; 3]);

    nodes.memories[0].remove("k");
    nodes.memories[1].remove("k");
    let error = guard.extend(TTL).await.expect_err("one is no majority");
    assert!(error.is_lost(), "{error}");
    drop(guard);
    sleep(SECOND).await;
    assert_eq!(nodes.held("k"), 0, "not taken again, and given back by who has lost it");
}

/// Promise: a lock that is given back while a node is taking it again stays on no node.
///
/// Turned red by: a release that does not know what is under way; taking it again for a lock that was given back.
#[tokio::test(start_paused = true)]
async fn given_back_while_a_node_takes_it_again() {
    for by_drop in [false, true] {
        let nodes = Nodes::new(3);
        let locks = nodes.locks();
        let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
        nodes.memories[0].remove("k");
        nodes.doors[0].delay(Operation::Acquire, ms(300));
        guard.extend(TTL).await.expect("extended");
        sleep(ms(100)).await;
        if by_drop {
            drop(guard);
        } else {
            guard.release().await.expect("released");
        }
        sleep(SECOND).await;
        assert_eq!(nodes.held("k"), 0, "dropped: {by_drop}");
    }
}

/// Promise: the same, where the extension was still under way when the guard was dropped.
///
/// Turned red by: beginning to take it again after it was given back.
#[tokio::test(start_paused = true)]
async fn given_back_while_an_extension_finds_that_a_node_forgot() {
    let nodes = Nodes::new(3);
    let redlock = nodes.redlock();
    let claim = Claim::new("k".into(), TTL, "".into());
    assert!(matches!(redlock.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
    nodes.memories[0].remove("k");
    nodes.doors[1].delay(Operation::Extend, ms(100));
    let (extending, of_extension) = (redlock.clone(), claim.clone());
    let extending = tokio::spawn(async move { extending.extend(&of_extension, TTL, Extension::AtLeast).await });
    sleep(ms(50)).await;
    redlock.abandon(claim, lock_runtime::store::Done::nothing());
    assert!(!extending.await.expect("no panic").expect("an answer"), "given back before");
    sleep(SECOND).await;
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: an exact time counts only when every node that was asked has said so: one whose answer is missing may shorten the lock
/// at any later time.
///
/// Turned red by: a majority that agrees on an exact time.
#[tokio::test(start_paused = true)]
async fn an_exact_time_is_known_of_all_or_unknown() {
    let nodes = Nodes::new(3);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    guard.set_ttl(2 * TTL).await.expect("all have answered");
    assert_eq!(nodes.time_left("k"), Some(2 * TTL));
    nodes.doors[2].delay(Operation::Extend, HOUR);
    let error = guard.set_ttl(TTL).await.expect_err("one has not");
    assert!(error.is_unavailable() && error.to_string().contains("node 3 of 3"), "{error}");
    assert!(guard.remaining() < TTL);
    guard.extend(2 * TTL).await.expect("the others have it for longer");
    assert!(guard.remaining() < TTL, "it may still be carried out: {:?}", guard.remaining());
}

/// Promise: fencing tokens rise with every holder, whichever majority gave them, also where the counters of the nodes are far apart.
///
/// Turned red by: the highest of the answers, without writing it back; writing it back to less than a majority.
#[tokio::test(start_paused = true)]
async fn fencing_tokens_rise_across_majorities() {
    let nodes = Nodes::new(3);
    // One counter is ahead of all clocks.
    let ahead = Claim::new("other".into(), TTL, "".into()).fenced_by("counter".into());
    let far = 9_000_000_000_000_000;
    assert!(matches!(nodes.memories[0].acquire(&ahead).await, Ok(Attempt::Acquired { .. })));
    assert!(nodes.memories[0].raise_fence(&ahead, far).await.expect("an answer"));
    let mut last = far;
    for down in [2, 0, 1, 0, 2, 1, 1, 0] {
        for (n, door) in nodes.doors.iter().enumerate() {
            door.unavailable(n == down);
        }
        // Nobody remembers who was down.
        let guard = nodes.locks().lock("k").ttl(TTL).fence().acquire().await.expect("the lock");
        let fence = guard.fence().expect("asked for");
        assert!(fence > last, "{fence} after {last}");
        last = fence;
        guard.release().await.expect("released");
    }
}

/// Promise: a lock whose fencing token cannot be written to a majority is not given, and stays on no node.
///
/// Turned red by: giving it all the same; giving back on those nodes only that had been waited for.
#[tokio::test(start_paused = true)]
async fn no_lock_without_its_fencing_token() {
    let nodes = Nodes::new(5);
    for door in &nodes.doors[..3] {
        door.delay(Operation::RaiseFence, HOUR);
    }
    for door in &nodes.doors[3..] {
        // Not waited for, but there when the token is written.
        door.delay(Operation::Acquire, ms(50));
    }
    let locks = nodes.locks();
    let error = locks.lock("k").ttl(TTL).fence().acquire().await.expect_err("no majority has the token");
    assert!(error.to_string().contains("the fencing token could not be written"), "{error}");
    locks.shutdown().await;
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: a lock that a majority does not have any more when the token is to be written is not given, and is no error: whoever
/// waits gets it a little later.
///
/// Turned red by: an error that says nothing of a node, since none has failed.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_gone_before_its_token_is_written() {
    let nodes = Nodes::new(3);
    for door in &nodes.doors {
        door.delay(Operation::RaiseFence, ms(100));
    }
    for waits in [false, true] {
        let locks = nodes.locks();
        let asked = locks.lock("k").ttl(TTL).fence();
        let acquiring = if waits { asked.wait(TTL) } else { asked };
        let acquiring = tokio::spawn(async move { acquiring.acquire().await });
        sleep(ms(50)).await;
        assert_eq!(nodes.held("k"), 3);
        nodes.memories[0].remove("k");
        nodes.memories[1].remove("k");
        match acquiring.await.expect("no panic") {
            Ok(guard) => {
                assert!(waits && guard.fence().is_some());
                guard.release().await.expect("ours");
            }
            Err(error) => assert!(!waits && error.is_busy(), "{error}"),
        }
        locks.shutdown().await;
        assert_eq!(nodes.held("k"), 0);
    }
}

/// Promise: a renewed lock is held for as long as a majority keeps it, while one node hangs and another forgets again and again;
/// and is lost when a majority has forgotten it.
///
/// Turned red by: renewals without a majority; a renewal that waits for everybody.
#[tokio::test(start_paused = true)]
async fn renewed_beside_nodes_in_trouble() {
    let nodes = Nodes::new(5);
    let locks = nodes.locks();
    let guard = locks.lock("k").ttl(TTL).renew().acquire().await.expect("the lock");
    hang(&nodes.doors[0]);
    for _ in 0..20 {
        nodes.memories[1].remove("k");
        sleep(TTL / 2).await;
        assert!(guard.is_held() && nodes.value("k").is_some());
    }
    for memory in &nodes.memories[1..4] {
        memory.remove("k");
    }
    let begun = Instant::now();
    guard.lost().await;
    assert!(begun.elapsed() <= TTL, "{:?}", begun.elapsed());
}

/// Promise: a lock is shown as its majority has it, with one node down, and no more when the majority is gone.
///
/// Turned red by: what the first node says.
#[tokio::test(start_paused = true)]
async fn who_has_it_is_shown() {
    let nodes = Nodes::new(3);
    let locks = nodes.locks();
    let guard = locks.lock("k").ttl(TTL).metadata("me").acquire().await.expect("the lock");
    nodes.doors[0].unavailable(true);
    let info = nodes.locks().inspect("k").await.expect("an answer").expect("somebody has it");
    assert_eq!((info.holder.metadata.as_deref(), info.in_line), (Some("me"), None));
    assert!(info.remaining.is_some_and(|left| left <= TTL), "{info:?}");
    nodes.doors[0].unavailable(false);
    nodes.memories[1].remove("k");
    nodes.memories[2].remove("k");
    sleep(SECOND).await;
    assert_eq!(locks.inspect("k").await.expect("an answer"), None);
    drop(guard);
}

/// Promise: a shortest hold is kept on every node, by the clock of each.
///
/// Turned red by: a moment of one clock that is shown to another.
#[tokio::test(start_paused = true)]
async fn the_shortest_hold_is_kept_on_every_node() {
    let mut memories = Vec::new();
    for _ in 0..3 {
        sleep(100 * SECOND).await;
        memories.push(MemoryStore::new());
    }
    let locks = LockManager::builder(Redlock::new(memories.clone()).expect("there are nodes")).build();
    for by_drop in [false, true] {
        let guard = locks.lock("k").ttl(TTL).min_hold(TTL / 2).acquire().await.expect("the lock");
        if by_drop {
            drop(guard);
        } else {
            guard.release().await.expect("released");
        }
        for memory in &memories {
            let left = memory.time_left("k").expect("kept");
            assert!(left <= TTL / 2 && left + ms(200) > TTL / 2, "{left:?}");
        }
        sleep(TTL / 2).await;
        assert!(memories.iter().all(|memory| memory.get("k").is_none()));
    }
}

/// Promise: of several keys, all are had on a majority, or none is.
///
/// Turned red by: a majority for each key by itself.
#[tokio::test(start_paused = true)]
async fn several_keys_are_one_lock() {
    let nodes = Nodes::new(3);
    nodes.memories[0].put("a", "theirs", Some(TTL));
    nodes.memories[1].put("b", "theirs", Some(TTL));
    let locks = nodes.locks();
    let error = locks.lock_many(["a", "b"]).ttl(TTL).acquire().await.expect_err("one node has both");
    assert!(error.is_busy(), "{error}");
    assert_eq!((nodes.held("a"), nodes.held("b")), (1, 1));
    nodes.memories[1].remove("b");
    let guard = locks.lock_many(["a", "b"]).ttl(TTL).acquire().await.expect("two nodes have both");
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
    assert_eq!((nodes.held("a"), nodes.held("b")), (1, 0));
}
