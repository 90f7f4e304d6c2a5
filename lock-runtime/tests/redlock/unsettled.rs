//! What is not settled yet: answers on which the outcome hangs, and what stores still do behind an acquisition that failed.

use std::time::Duration;

use lock_runtime::store::{Attempt, Claim, Done, Extension, Renewal, Store as _};
use lock_runtime::test_util::Operation;
use tokio::time::{Instant, sleep};

use crate::nodes::{Nodes, SECOND, TTL, ms};

/// What a node may take: a twentieth of the TTL.
const LIMIT: Duration = Duration::from_millis(400);

/// Promise: a lock that somebody else has is busy, also where a minority of the nodes is down and says so before the others have
/// answered; only where the rest does not answer either, nobody knows.
///
/// Turned red by: an error as soon as no majority can say yes any more.
#[tokio::test(start_paused = true)]
async fn busy_beside_nodes_that_are_down() {
    for (count, down) in [(3, 1), (4, 1), (5, 1), (5, 2)] {
        let nodes = Nodes::new(count);
        let _held = nodes.locks().lock("k").ttl(TTL).acquire().await.expect("the lock");
        let theirs = nodes.value("k");
        nodes.doors[..down].iter().for_each(|door| door.unavailable(true));
        nodes.doors[count - 1].delay(Operation::Acquire, ms(5));
        let locks = nodes.locks();
        // After the first, those that are down are not even asked.
        for _ in 0..3 {
            let begun = Instant::now();
            let error = locks.lock("k").ttl(TTL).acquire().await.expect_err("held");
            assert!(error.is_busy(), "{down} of {count} down: {error}");
            assert!(begun.elapsed() <= ms(5));
        }
        assert_eq!(nodes.values("k"), vec![theirs; count]);

        nodes.doors[count - 1].delay(Operation::Acquire, 2 * LIMIT);
        // Where those who still say that it is held are no more than a majority can do without.
        if count - down - 1 <= count - nodes.quorum() {
            let begun = Instant::now();
            let error = nodes.locks().lock("k").ttl(TTL).acquire().await.expect_err("held");
            assert!(error.is_unavailable(), "{down} of {count} down: {error}");
            assert!(begun.elapsed() <= LIMIT + ms(2), "{:?}", begun.elapsed());
        }
    }
}

/// Promise: a node on which an acquisition failed does not count for an extension, and is not taken again, for as long as its store
/// may clean up behind that: an extension that counted it would be believed for longer than a majority keeps the lock. After
/// that, it takes part again.
///
/// Turned red by: counting whoever has the lock; taking it again wherever it is not; leaving such a node out for ever.
#[tokio::test(start_paused = true)]
async fn a_clean_up_takes_nothing_that_was_counted() {
    // The node had taken it, and its answer was lost; or it had not.
    for had_taken in [true, false] {
        let nodes = Nodes::new(3);
        let redlock = nodes.redlock();
        let claim = Claim::new("k".into(), TTL, "".into());
        nodes.doors[2].fail(Operation::Acquire, 1);
        assert!(matches!(redlock.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
        if had_taken {
            nodes.memories[2].put("k", claim.value(), Some(TTL));
        }
        // It is asked again, by now.
        sleep(SECOND).await;
        assert!(redlock.extend(&claim, TTL, Extension::AtLeast).await.expect("two have it"));
        sleep(SECOND).await;
        nodes.doors[0].unavailable(true);
        let extended = redlock.extend(&claim, TTL, Extension::AtLeast).await;
        // Repeated after its connection has died, as stores do until the claim's time is over.
        nodes.memories[2].abandon(claim.clone(), Done::nothing());
        assert!(extended.is_err(), "{extended:?}, and a majority keeps it for {:?}", nodes.time_left("k"));

        nodes.doors[0].unavailable(false);
        for _ in 0..10 {
            sleep(SECOND).await;
            assert!(redlock.extend(&claim, TTL, Extension::AtLeast).await.expect("two have it"));
        }
        sleep(ms(10)).await;
        assert_eq!(nodes.held("k"), 3, "taken again");
        nodes.doors[0].unavailable(true);
        assert!(redlock.extend(&claim, TTL, Extension::AtLeast).await.expect("it counts again"));
        nodes.doors[0].unavailable(false);
        assert!(redlock.release(&claim).await.expect("an answer"));
        sleep(SECOND).await;
        assert_eq!(nodes.held("k"), 0);
    }
}

/// Promise: the same for a node on which it failed after the others had decided, whether the fencing token was being written then
/// or not, and for one that failed to take it again.
///
/// Turned red by: looking at those only that the acquisition has waited for.
#[tokio::test(start_paused = true)]
async fn nor_a_clean_up_of_what_went_on_behind() {
    for (fenced, by_rejoining) in [(false, true), (false, false), (true, false)] {
        let nodes = Nodes::new(3);
        let redlock = nodes.redlock();
        let mut claim = Claim::new("k".into(), TTL, "".into());
        if fenced {
            claim = claim.fenced_by("counter".into());
            nodes.doors.iter().for_each(|door| door.delay(Operation::RaiseFence, ms(20)));
        }
        if !by_rejoining {
            nodes.doors[2].delay(Operation::Acquire, ms(10));
            nodes.doors[2].fail(Operation::Acquire, 1);
        }
        assert!(matches!(redlock.acquire(&claim).await, Ok(Attempt::Acquired { .. })));
        if by_rejoining {
            nodes.memories[2].remove("k");
            nodes.doors[2].fail(Operation::Acquire, 1);
            assert!(redlock.extend(&claim, TTL, Extension::AtLeast).await.expect("two have it"));
        }
        sleep(2 * SECOND).await;
        // Carried out all the same.
        nodes.memories[2].put("k", claim.value(), Some(TTL));
        nodes.doors[0].unavailable(true);
        let extended = redlock.extend(&claim, TTL, Extension::AtLeast).await;
        assert!(extended.is_err(), "{extended:?}, fenced: {fenced}, by rejoining: {by_rejoining}");
        let renewed = redlock.renew(&[Renewal::new(&claim, TTL)], LIMIT).await.remove(0);
        assert!(renewed.is_err(), "{renewed:?}, fenced: {fenced}, by rejoining: {by_rejoining}");
    }
}

/// Promise: a node that takes the lock later is told of its fencing token.
///
/// Turned red by: taking it there, and no more.
#[tokio::test(start_paused = true)]
async fn whoever_takes_it_later_knows_its_token() {
    let nodes = Nodes::new(3);
    let counter = || Claim::new("other".into(), TTL, "".into()).fenced_by("counter".into());
    // The others' counters are ahead of all clocks.
    let far = 9_000_000_000_000_000;
    for memory in &nodes.memories[1..] {
        let ahead = counter();
        assert!(matches!(memory.acquire(&ahead).await, Ok(Attempt::Acquired { .. })));
        assert!(memory.raise_fence(&ahead, far).await.expect("an answer"));
    }
    // Left alone after this one, which nobody has taken yet.
    nodes.doors[0].unavailable(true);
    let locks = nodes.locks();
    locks.lock("before").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    let guard = locks.lock("k").ttl(TTL).fence().acquire().await.expect("the lock");
    let fence = guard.fence().expect("asked for");
    assert!(fence > far);
    nodes.doors[0].unavailable(false);
    sleep(2 * SECOND).await;
    guard.extend(TTL).await.expect("extended");
    sleep(ms(10)).await;
    assert_eq!(nodes.held("k"), 3, "taken there, too");
    let Ok(Attempt::Acquired { fence: Some(next), .. }) = nodes.memories[0].acquire(&counter()).await else {
        panic!("it is free")
    };
    assert!(next > fence, "{next} after {fence}");
}

/// Promise: a lock that is given back while a node takes it again stays on no node, also where its fencing token could not be
/// written there after that.
///
/// Turned red by: giving back once more only where all went well.
#[tokio::test(start_paused = true)]
async fn given_back_while_a_node_takes_it_again_without_its_token() {
    let nodes = Nodes::new(3);
    let guard = nodes.locks().lock("k").ttl(TTL).fence().acquire().await.expect("the lock");
    nodes.memories[0].remove("k");
    nodes.doors[0].delay(Operation::Acquire, ms(300));
    nodes.doors[0].fail(Operation::RaiseFence, 1);
    guard.extend(TTL).await.expect("extended");
    sleep(ms(100)).await;
    guard.release().await.expect("released");
    sleep(SECOND).await;
    assert_eq!(nodes.held("k"), 0);
}
