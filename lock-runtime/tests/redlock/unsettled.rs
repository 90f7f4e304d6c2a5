//! What is not settled yet: answers on which the outcome hangs, and what stores still do behind an acquisition that failed.

use std::time::Duration;

use lock_runtime::test_util::Operation;
use tokio::time::Instant;

use crate::nodes::Nodes;

const TTL: Duration = Duration::from_secs(8);
/// What a node may take: a twentieth of the TTL.
const LIMIT: Duration = Duration::from_millis(400);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

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
