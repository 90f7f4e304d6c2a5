//! The cases of redsync's own tests (RS), under their numbers.
//!
//! RS-07 and RS-08 are about an option to take a lock again when it is extended. There is none here: an extension never re-creates
//! a lock, and a node that has lost one is given it again only while a majority keeps it. RS-13 and RS-14 are about the wrapping of
//! Go's errors: here it is the error's kind, and the text that names the nodes. RS-15 and RS-16 are about scripts and drivers, and
//! tested in the store for Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lock_runtime::store::{Attempt, Claim, Store as _};
use lock_runtime::test_util::Operation;
use lock_runtime::{LockError, LockManager, LostCause, StoreErrorKind};
use tokio::time::sleep;

use crate::nodes::{Nodes, SECOND, TTL};

/// Promise: a lock that was got is on a majority of the nodes, and soon on all of them.
///
/// Turned red by: asking only so many as it takes.
#[tokio::test(start_paused = true)]
async fn rs_01_a_lock_is_on_all_nodes() {
    let nodes = Nodes::new(8);
    // The last three take longer than it takes to decide.
    for door in &nodes.doors[5..] {
        door.delay(Operation::Acquire, SECOND / 10);
    }
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    assert_eq!(nodes.held("k"), 5);
    sleep(SECOND / 5).await;
    assert_eq!(nodes.held("k"), 8);
    guard.release().await.expect("released");
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: of many who want the same lock, in processes of their own, one at a time has it; and those who want different ones do
/// not meet.
///
/// Turned red by: a quorum of half of the nodes.
#[tokio::test(start_paused = true)]
async fn rs_02_one_at_a_time() {
    let nodes = Nodes::new(8);
    for shared in [false, true] {
        let inside = Arc::new(AtomicUsize::new(0));
        let calls = (0..8).map(|n| {
            let (locks, inside) = (nodes.locks(), inside.clone());
            let key = if shared { "same".to_owned() } else { format!("own:{n}") };
            tokio::spawn(async move {
                let wait = Duration::from_secs(60);
                let guard = locks.lock(key).ttl(TTL).wait(wait).acquire().await.expect("the lock");
                let before = inside.fetch_add(1, Ordering::SeqCst);
                sleep(SECOND / 20).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                guard.release().await.expect("released");
                before
            })
        });
        let mut most = 0;
        for call in calls.collect::<Vec<_>>() {
            most = most.max(call.await.expect("no panic"));
        }
        assert_eq!(most, if shared { 0 } else { 7 });
    }
}

/// Promise: a lock that was tried for once is a lock.
///
/// Turned red by: an extension that does not reach a majority.
#[tokio::test(start_paused = true)]
async fn rs_03_try_once() {
    let nodes = Nodes::new(8);
    for n in 0..8 {
        let key = format!("own:{n}");
        let guard = nodes.locks().lock(key.clone()).ttl(TTL).acquire().await.expect("the lock");
        guard.extend(TTL).await.expect("extended");
        assert!(nodes.value(&key).is_some());
        guard.release().await.expect("released");
    }
}

/// Promise: a lock that somebody else has is busy at once.
///
/// Turned red by: asking again without being told to.
#[tokio::test(start_paused = true)]
async fn rs_04_busy_at_once() {
    let nodes = Nodes::new(4);
    let _held = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    let error = nodes.locks().lock("k").ttl(TTL).acquire().await.expect_err("busy");
    assert!(error.is_busy(), "{error}");
    assert_eq!(nodes.doors[0].count(Operation::Acquire), 2);
    let LockError::Busy(busy) = error else { unreachable!() };
    assert_eq!(busy.retry_after, Some(TTL));
}

/// Promise: an extension reaches every node.
///
/// Turned red by: leaving those alone that were not needed.
#[tokio::test(start_paused = true)]
async fn rs_05_an_extension_reaches_all() {
    let nodes = Nodes::new(8);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    sleep(SECOND).await;
    assert!(nodes.memories.iter().all(|node| node.time_left("k") < Some(TTL)));
    guard.extend(TTL).await.expect("extended");
    assert!(nodes.memories.iter().all(|node| node.time_left("k") == Some(TTL)));
    assert_eq!(guard.ttl().await.expect("an answer"), TTL);
}

/// Promise: a lock whose time is over cannot be extended, and nothing is taken again on any node. (RS-07 and RS-08 in redsync take
/// it, when told to; here nobody can tell it to, and who has the lock since then is not touched.)
///
/// Turned red by: an extension that takes what is free.
#[tokio::test(start_paused = true)]
async fn rs_06_07_08_what_is_over_is_over() {
    let nodes = Nodes::new(8);
    let redlock = nodes.redlock();
    let claim = Claim::new("k".into(), SECOND / 2, "".into());
    assert!(matches!(redlock.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
    sleep(SECOND).await;
    let extension = lock_runtime::store::Extension::AtLeast;
    assert!(!redlock.extend(&claim, TTL, extension).await.expect("an answer"));
    assert_eq!(nodes.held("k"), 0);

    let _other = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    let theirs = nodes.value("k");
    assert!(!redlock.extend(&claim, 2 * TTL, extension).await.expect("an answer"));
    assert_eq!((nodes.value("k"), nodes.time_left("k"), nodes.held("k")), (theirs, Some(TTL), 8));
}

/// Promise: giving back a lock whose time is over says so.
///
/// Turned red by: taking a release that found nothing for one that did.
#[tokio::test(start_paused = true)]
async fn rs_09_released_too_late() {
    let nodes = Nodes::new(8);
    let guard = nodes.locks().lock("k").ttl(SECOND / 2).acquire().await.expect("the lock");
    sleep(SECOND).await;
    let error = guard.release().await.expect_err("it was over");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, .. }), "{error}");
}

/// Promise: whichever nodes somebody else has, with a majority of the others the lock is ours, and without it is not; then
/// nothing of ours stays anywhere, and nothing of theirs is touched.
///
/// Turned red by: a quorum of two in four; leaving behind what was taken in vain.
#[tokio::test(start_paused = true)]
async fn rs_10_every_subset() {
    for subset in 0..16_u32 {
        let nodes = Nodes::new(4);
        let is_taken = |n: usize| subset & (1 << n) != 0;
        for (n, node) in nodes.memories.iter().enumerate().filter(|(n, _)| is_taken(*n)) {
            node.put("k", format!("theirs:{n}"), Some(TTL));
        }
        let taken = subset.count_ones();
        let outcome = nodes.locks().lock("k").ttl(TTL).acquire().await;
        assert_eq!(outcome.is_ok(), taken <= 1, "{subset:04b}: {outcome:?}");
        if let Err(error) = &outcome {
            assert!(error.is_busy(), "{error}");
        }
        let ours = outcome.is_ok();
        for (n, value) in nodes.values("k").into_iter().enumerate() {
            match (is_taken(n), ours) {
                (true, _) => assert_eq!(value, Some(format!("theirs:{n}"))),
                (false, _) => assert_eq!(value.is_some(), ours, "{subset:04b}, node {n}"),
            }
        }
    }
}

/// Promise: the lock of an hour is ours for as long, and a second caller waits in vain.
///
/// Turned red by: a wait that ends before its time, or never.
#[tokio::test(start_paused = true)]
async fn rs_11_held_for_an_hour() {
    let hour = Duration::from_secs(3600);
    let nodes = Nodes::new(4);
    let guard = nodes.locks().lock("k").ttl(hour).acquire().await.expect("the lock");
    assert_eq!(guard.ttl().await.expect("an answer"), hour);
    assert!(guard.is_held());
    let begun = tokio::time::Instant::now();
    let error = nodes.locks().lock("k").ttl(hour).wait(5 * SECOND).acquire().await.expect_err("held");
    assert!(error.is_busy(), "{error}");
    assert!(begun.elapsed() >= 5 * SECOND && begun.elapsed() < 6 * SECOND, "{:?}", begun.elapsed());
}

/// Promise: whoever knows a claim can give it back, also in another process.
///
/// Turned red by: a release that needs to know how the claim was got.
#[tokio::test(start_paused = true)]
async fn rs_12_given_back_elsewhere() {
    let nodes = Nodes::new(4);
    let claim = Claim::new("k".into(), TTL, "".into());
    assert!(matches!(nodes.redlock().acquire(&claim).await, Ok(Attempt::Acquired { .. })));
    assert!(nodes.redlock().release(&claim).await.expect("an answer"));
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: the error of nodes that failed has their kind, and says which they are.
///
/// Turned red by: one error for all that can go wrong.
#[tokio::test(start_paused = true)]
async fn rs_13_14_errors_keep_what_they_are() {
    use lock_runtime::StoreError;

    let nodes = Nodes::new(3);
    for door in &nodes.doors[1..] {
        door.fail_with(Operation::Acquire, 1, StoreError::new(StoreErrorKind::Denied, "no permission"));
    }
    let error = nodes.locks().lock("k").ttl(TTL).acquire().await.expect_err("denied");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("node 2 of 3: no permission; node 3 of 3: no permission"), "{text}");
    assert_eq!(nodes.held("k"), 0, "the first was given back");
}

/// Promise: a Redlock takes nodes, and may have an even number of them, or one.
///
/// Turned red by: a quorum of none.
#[tokio::test(start_paused = true)]
async fn rx_11_no_node_is_no_lock() {
    use lock_runtime::store::memory::MemoryStore;
    use lock_runtime::store::redlock::Redlock;

    let error = Redlock::new(Vec::<MemoryStore>::new()).expect_err("no node");
    assert!(error.to_string().contains("at least one node"), "{error}");
    for (count, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)] {
        for down in 0..=count {
            let nodes = Nodes::new(count);
            nodes.doors[..down].iter().for_each(|door| door.unavailable(true));
            let locks: LockManager = nodes.locks();
            let outcome = locks.lock("k").ttl(TTL).acquire().await;
            assert_eq!(outcome.is_ok(), count - down >= majority, "{down} of {count}");
        }
    }
}
