//! What redsync does not test (RX): nodes that are down, silent, slow or forgetful, and callers who go away.

use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::store::{Claim, Store};
use lock_runtime::test_util::{Faults, Operation};
use lock_runtime::{LockError, LockManager, Retry};
use tokio::time::{Instant, sleep, timeout};

use crate::nodes::{Deaf, HOUR, LIMIT, Nodes, OPERATIONS, SECOND, TTL, hang, ms};

/// Promise: with one node of three down, locks work; with two down the error names both, and what the third gave is given back.
///
/// Turned red by: asking all to agree; an error that says which kind of trouble it is, and not where.
#[tokio::test(start_paused = true)]
async fn rx_01_nodes_that_are_down() {
    let nodes = Nodes::new(3);
    nodes.doors[1].unavailable(true);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
    nodes.doors[2].unavailable(true);
    let error = nodes.locks().lock("k").ttl(TTL).acquire().await.expect_err("one is no majority");
    assert!(error.is_unavailable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("node 2 of 3: ") && text.contains("; node 3 of 3: ") && !text.contains("node 1"), "{text}");
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: a node that says nothing costs nothing while a majority answers, in no operation; and where none does, its time-out, and
/// no more.
///
/// Turned red by: waiting for everybody; an operation without a deadline.
#[tokio::test(start_paused = true)]
async fn rx_02_nodes_that_say_nothing() {
    let nodes = Nodes::new(3);
    hang(&nodes.doors[0]);
    let begun = Instant::now();
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    guard.extend(TTL).await.expect("extended");
    guard.ttl().await.expect("an answer");
    guard.release().await.expect("released");
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    hang(&nodes.doors[1]);
    let in_time = |begun: Instant| assert!(begun.elapsed() <= LIMIT + ms(2), "{:?}", begun.elapsed());
    for _ in 0..3 {
        let begun = Instant::now();
        let error = nodes.locks().lock("other").ttl(TTL).acquire().await.expect_err("no majority");
        assert!(error.is_unavailable(), "{error}");
        in_time(begun);
    }
    let begun = Instant::now();
    let error = guard.extend(TTL).await.expect_err("no majority");
    assert!(error.is_unavailable(), "{error}");
    in_time(begun);
    let begun = Instant::now();
    let error = guard.ttl().await.expect_err("no majority");
    assert!(error.is_unavailable(), "{error}");
    in_time(begun);
    let begun = Instant::now();
    let error = guard.release().await.expect_err("no majority");
    assert!(error.is_unavailable(), "{error}");
    in_time(begun);
    assert_eq!(nodes.memories[2].get("k"), None, "given back where it could be");
}

/// Promise: a majority that comes when the time is over is none, and what was taken is given back on all nodes.
///
/// Turned red by: looking at the clock before the answers only.
#[tokio::test(start_paused = true)]
async fn rx_03_a_majority_that_comes_too_late() {
    let nodes = Nodes::new(3);
    for door in &nodes.doors {
        door.delay(Operation::Acquire, ms(995));
    }
    let redlock = nodes.redlock().node_timeout(HOUR);
    let claim = Claim::new("k".into(), SECOND, "".into());
    let error = redlock.acquire(&claim).await.expect_err("its time is over");
    assert!(error.to_string().contains("after its time was over"), "{error}");
    assert_eq!(nodes.held("k"), 0);
}

/// Promise: a holder believes in the lock for no longer than a majority keeps it, counted from before the first byte was sent.
///
/// Turned red by: counting from the answers; the longest of the nodes' times.
#[tokio::test(start_paused = true)]
async fn rx_04_the_lease_of_a_majority() {
    let nodes = Nodes::new(5);
    for (door, delay) in nodes.doors.iter().zip([10, 20, 30, 40, 50]) {
        door.delay(Operation::Acquire, ms(delay));
    }
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    assert_eq!(guard.remaining() + ms(30), lock_runtime::__model::validity(TTL));
    let kept = nodes.time_left("k").expect("held");
    assert!(guard.remaining() < kept, "{kept:?}");
    assert_eq!(guard.ttl().await.expect("an answer"), kept);
    // Those who still were on their way have kept it since then.
    sleep(SECOND).await;
    assert_eq!(nodes.held("k"), 5);
    assert!(guard.remaining() < nodes.time_left("k").expect("held"));
}

/// Promise: a caller who goes away at any moment leaves no lock behind, on no node.
///
/// Turned red by: giving back on those nodes only that had answered; on none, where the majority had not.
#[tokio::test(start_paused = true)]
async fn rx_05_callers_who_go_away() {
    for fenced in [false, true] {
        for after in 0..14 {
            let nodes = Nodes::new(5);
            for (n, door) in (1..).zip(&nodes.doors) {
                door.delay(Operation::Acquire, ms(n));
                door.delay(Operation::RaiseFence, ms(2 * n));
            }
            let locks = nodes.locks();
            let request = locks.lock("k").ttl(TTL);
            let request = if fenced { request.fence() } else { request };
            match timeout(ms(after), request.acquire()).await {
                Err(_) => {}
                Ok(outcome) => drop(outcome.expect("the lock")),
            }
            locks.shutdown().await;
            sleep(ms(100)).await;
            assert_eq!(nodes.values("k"), vec![None; 5], "after {after} ms, fenced: {fenced}");
        }
    }
    let nodes = Nodes::new(5);
    let _held = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    let locks = nodes.locks();
    let waiting = timeout(SECOND, locks.lock("k").ttl(TTL).wait(HOUR).acquire());
    assert!(waiting.await.is_err(), "it is held");
    let theirs = nodes.value("k");
    sleep(SECOND).await;
    assert_eq!(nodes.values("k"), vec![theirs; 5]);
}

/// Promise: a lock that is given back before slow nodes have taken it stays on none of them: the release follows there.
///
/// Turned red by: forgetting the acquisitions that were not waited for; a release that overtakes them.
#[tokio::test(start_paused = true)]
async fn rx_06_given_back_before_all_have_taken_it() {
    for by_drop in [false, true] {
        let nodes = Nodes::new(5);
        for door in &nodes.doors[3..] {
            door.delay(Operation::Acquire, ms(300));
        }
        let locks = nodes.locks();
        let begun = Instant::now();
        let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
        sleep(ms(100)).await;
        if by_drop {
            drop(guard);
        } else {
            guard.release().await.expect("released");
            assert_eq!(begun.elapsed(), ms(100), "nobody waited for them");
        }
        let other = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("it is free");
        let theirs = nodes.value("k");
        sleep(SECOND).await;
        assert!(nodes.values("k").iter().all(|value| *value == theirs || value.is_none()), "{:?}", nodes.values("k"));
        other.release().await.expect("released");
        locks.shutdown().await;
        assert_eq!(nodes.held("k"), 0);
    }
}

/// Two callers, each of whom is first at half of four nodes, and hears of the other half when both have been everywhere.
fn split(nodes: &Nodes) -> [LockManager; 2] {
    [0..2, 2..4].map(|near| {
        let doors: Vec<_> =
            nodes.memories.iter().map(|memory| Faults::new(Deaf::late(memory.clone(), ms(5)))).collect();
        for (n, door) in doors.iter().enumerate() {
            door.delay(Operation::Acquire, if near.contains(&n) { ms(1) } else { ms(2) });
        }
        LockManager::builder(Redlock::new(doors).expect("there are nodes")).build()
    })
}

/// Promise: when two callers split the nodes, neither has the lock, both give back what they have, and after a random pause one of
/// them has it, and then the other.
///
/// Turned red by: keeping half; asking again after the same pause.
#[tokio::test(start_paused = true)]
async fn rx_07_a_split_vote() {
    let nodes = Nodes::new(4);
    let once = split(&nodes).map(|locks| tokio::spawn(locks.lock("k").ttl(TTL).acquire()));
    for call in once {
        let error = call.await.expect("no panic").expect_err("half is no majority");
        let LockError::Busy(busy) = error else { panic!("{error}") };
        assert_eq!((busy.holder, busy.retry_after), (None, None), "nobody has it");
    }
    sleep(ms(10)).await;
    assert_eq!(nodes.held("k"), 0);

    for _ in 0..20 {
        let begun = Instant::now();
        let calls = split(&nodes).map(|locks| {
            tokio::spawn(async move {
                let guard = locks.lock("k").ttl(TTL).wait(60 * SECOND).acquire().await.expect("the lock in the end");
                sleep(ms(10)).await;
                guard.release().await.expect("released");
            })
        });
        for call in calls {
            call.await.expect("no panic");
        }
        assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
    }
}

/// Promise: a second acquisition does not take the place of the first.
///
/// Turned red by: one token for all acquisitions of a process.
#[tokio::test(start_paused = true)]
async fn rx_08_twice_is_busy() {
    let nodes = Nodes::new(3);
    let locks = nodes.locks();
    let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
    let first = nodes.value("k");
    assert!(locks.lock("k").ttl(TTL).acquire().await.expect_err("held").is_busy());
    assert_eq!(nodes.value("k"), first);
    guard.release().await.expect("released");
}

/// Promise: giving back what one never had is told, and gives nothing back.
///
/// Turned red by: deleting without comparing.
#[tokio::test(start_paused = true)]
async fn rx_09_nothing_to_give_back() {
    let nodes = Nodes::new(3);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    let never = Claim::new("k".into(), TTL, "".into());
    assert!(!nodes.redlock().release(&never).await.expect("an answer"));
    assert!(!nodes.redlock().release(&Claim::new("free".into(), TTL, "".into())).await.expect("an answer"));
    guard.release().await.expect("still ours");
}

/// Promise: an extension that fails changes nothing: the lock is not given back, and is believed in until the time that it had.
///
/// Turned red by: rolling back a failed extension, as rslock does.
#[tokio::test(start_paused = true)]
async fn rx_10_a_failed_extension_gives_nothing_back() {
    let nodes = Nodes::new(3);
    let guard = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
    sleep(SECOND).await;
    let before = guard.remaining();
    nodes.doors[0].unavailable(true);
    nodes.doors[1].unavailable(true);
    let error = guard.extend(TTL).await.expect_err("no majority");
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(guard.remaining(), before);
    assert_eq!(nodes.held("k"), 3);
    nodes.doors.iter().for_each(|door| door.unavailable(false));
    sleep(2 * SECOND).await;
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
}

/// Promise: what is taken back is also taken back on a node that had taken it and never said so.
///
/// Turned red by: giving back on those nodes that said yes.
#[tokio::test(start_paused = true)]
async fn rx_12_taken_back_where_nobody_knows() {
    let memories = [(); 3].map(|()| MemoryStore::new());
    let nodes: Vec<_> = memories.iter().cloned().map(Deaf::new).collect();
    let redlock = Redlock::new(nodes.clone()).expect("there are nodes");
    let locks = LockManager::builder(redlock).build();
    memories[0].put("k", "theirs", Some(TTL));
    nodes[1].hear(false);
    nodes[2].hear(false);
    let error = locks.lock("k").ttl(TTL).acquire().await.expect_err("one is taken, two say nothing");
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(memories.each_ref().map(|memory| memory.get("k")), [Some("theirs".to_owned()), None, None]);
}

/// Promise: however many race for a lock, on nodes of whatever speed, at most one has it at a time.
///
/// Turned red by: a quorum of the nodes that answer; a token that two acquisitions share.
#[tokio::test(start_paused = true)]
async fn rx_13_a_race_has_one_winner() {
    let mut won = 0;
    for round in 0..300_u64 {
        let nodes = Nodes::new(3 + usize::try_from(round % 3).expect("small"));
        let clients = 2 + round % 4;
        let calls = (0..clients).map(|client| {
            let doors: Vec<_> = nodes.memories.iter().cloned().map(Faults::new).collect();
            for (node, door) in (0..).zip(&doors) {
                // Numbers without a pattern that the rounds would share.
                let delay = (round * 31 + client * 17 + node * 13).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
                door.delay(Operation::Acquire, ms(delay));
                door.unavailable((round + client) % 7 == 0 && node == 0);
            }
            let locks = LockManager::builder(Redlock::new(doors).expect("there are nodes")).build();
            tokio::spawn(locks.lock("k").ttl(TTL).acquire())
        });
        let mut winners = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            winners.extend(call.await.expect("no panic"));
        }
        assert!(winners.len() <= 1, "round {round}: {} winners", winners.len());
        won += winners.len();
    }
    assert!(won > 100, "somebody wins now and then: {won}");
}

/// Promise: who waits asks as the strategy says, no more often.
///
/// Turned red by: a strategy of the store's own.
#[tokio::test(start_paused = true)]
async fn rx_14_waiting_by_a_strategy() {
    let nodes = Nodes::new(3);
    let _held = nodes.locks().lock("k").ttl(HOUR).acquire().await.expect("the lock");
    let before = nodes.doors[0].count(Operation::Acquire);
    let begun = Instant::now();
    let strategy = Retry::linear(SECOND).limit(5);
    let error = nodes.locks().lock("k").ttl(TTL).wait(HOUR).retry(strategy).acquire().await.expect_err("held");
    assert!(error.is_busy(), "{error}");
    assert_eq!((nodes.doors[0].count(Operation::Acquire) - before, begun.elapsed()), (6, 5 * SECOND));
}

/// Promise: a node that hangs is asked a few times, and then once a second, however many locks are taken.
///
/// Turned red by: leaving a question behind for every lock.
#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_left_alone() {
    let nodes = Nodes::new(5);
    hang(&nodes.doors[4]);
    let locks = nodes.locks();
    let begun = Instant::now();
    for _ in 0..500 {
        locks.lock("k").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let asked = || OPERATIONS.map(|operation| nodes.doors[4].count(operation)).iter().sum::<u64>();
    assert!(asked() < 150, "{:?}", OPERATIONS.map(|operation| nodes.doors[4].count(operation)));
    for _ in 0..5 {
        let before = asked();
        sleep(ms(1001)).await;
        for _ in 0..20 {
            locks.lock("k").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
        }
        assert!(asked() - before <= 2, "{}", asked() - before);
    }
    for operation in OPERATIONS {
        nodes.doors[4].delay(operation, Duration::ZERO);
    }
    sleep(ms(1001)).await;
    for _ in 0..3 {
        locks.lock("k").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    }
    let guard = locks.lock("k").ttl(TTL).acquire().await.expect("the lock");
    assert_eq!(nodes.held("k"), 5, "it takes part again");
    drop(guard);
}
