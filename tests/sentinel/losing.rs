//! What is not promised, as it is documented: locks that a failover forgets.

use std::time::Instant;

use lock_tests::eventually;

use super::*;

/// Row 27. What is not promised: a lock that no replica has heard of is forgotten by a failover, and somebody else gets it while its
/// holder believes in it. Promise: that ends with the lease at the latest, neither gives back what is the other's, and the later
/// one's fencing token is the higher.
///
/// Turned red by: a release by bare `DEL`; fencing tokens that are counted and not timed.
#[tokio::test]
async fn row_27_a_failover_forgets_a_lock() {
    const LEASE: Duration = Duration::from_secs(20);
    let mut sentinels = Sentinels::start().await;
    let (locks, others) = (connect(&sentinels).await, LockManager::builder(store(&sentinels)).build());
    locked(&locks, "warm", async {}).await.expect("free");
    // Stopped, and with what was under way to them lost.
    for replica in &mut sentinels.servers_mut()[1..] {
        replica.pause();
    }
    let mut admin = sentinels.servers()[0].admin();
    let killed: u64 = admin.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(killed, 2);
    let first = locks.lock("work").ttl(LEASE).fence().acquire().await.expect("free");
    sentinels.servers_mut()[0].kill();
    let begun = Instant::now();
    for replica in &mut sentinels.servers_mut()[1..] {
        replica.resume();
    }
    let second = others.lock("work").ttl(LEASE).wait(FAILOVER).fence().acquire().await.expect("forgotten");
    let window = first.remaining();
    println!("two holders {:?} after the master was killed, for {window:?} of a lease of {LEASE:?}", begun.elapsed());
    assert!(window > Duration::ZERO && window < LEASE, "until the first lease is over at the latest");
    assert!(second.fence() > first.fence() && first.fence().is_some());
    // Its own connection may have to find the new master first.
    while let Err(error) = first.extend(LEASE).await {
        if error.is_lost() {
            break;
        }
        assert!(error.is_unavailable() && begun.elapsed() < FAILOVER, "{error}");
    }
    assert!(!first.is_held() && first.release().await.is_err(), "it was lost");
    let now = sentinels.failed_over(0).await;
    assert!(sentinels.servers()[now].admin().exists("work") && second.is_held(), "the second one's");
    second.release().await.expect("ours");
    let keys = || sentinels.servers()[now].admin().keys();
    eventually("nothing but the counter is left", AT_ONCE, || keys() == ["lock_runtime:fence"]).await;
}
