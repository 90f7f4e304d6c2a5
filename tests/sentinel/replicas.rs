//! Locks that count only when replicas have them.

use std::time::Instant;

use lock_tests::eventually;

use super::*;

/// Row 27. Promise: with `wait_replicas`, a lock that no replica has heard of does not count: it is given back, the call is
/// unavailable, and nobody is kept from renewing meanwhile. When a replica is there again, whoever waits gets the lock.
///
/// Turned red by: `WAIT` on another connection than the lock's, which proves nothing; on the connection of the renewals, which wait
/// behind it; an answer that is not looked at.
#[tokio::test]
async fn row_27_locks_that_replicas_do_not_have() {
    const PATIENCE: Duration = Duration::from_millis(400);
    let mut sentinels = Sentinels::start().await;
    let waits = store(&sentinels).wait_replicas(1, PATIENCE).expect("one node");
    let locks = LockManager::builder(waits).build();
    let renewed = locks.lock("renewed").ttl(PATIENCE).renew().acquire().await.expect("replicas have it");
    locked(&locks, "work", async {}).await.expect("replicas have it");

    for replica in &mut sentinels.servers_mut()[1..] {
        replica.pause();
    }
    let begun = Instant::now();
    let error = locks.lock("work").ttl(TTL).acquire().await.expect_err("nobody has heard of it");
    assert!(error.is_unavailable() && error.to_string().contains("on 0 replicas after 400ms"), "{error}");
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let mut admin = sentinels.servers()[0].admin();
    eventually("it is given back", AT_ONCE, || !admin.exists("work")).await;
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locked(&locks, "work", async {}).await }
    });
    // Some of its tries, each of which waits for replicas.
    tokio::time::sleep(3 * PATIENCE).await;
    assert!(!waiting.is_finished() && renewed.is_held(), "renewed beside them");
    sentinels.servers_mut()[1].resume();
    tokio::time::timeout(AT_ONCE, waiting).await.expect("soon").expect("no panic").expect("a replica has it");
    sentinels.servers_mut()[2].resume();
    renewed.release().await.expect("ours");
    eventually("nothing is left", AT_ONCE, || admin.keys().is_empty()).await;

    let refused = |store: RedisStore, replicas, within| store.wait_replicas(replicas, within).is_err();
    assert!(refused(store(&sentinels), 0, PATIENCE) && refused(store(&sentinels), 1, Duration::ZERO));
}
