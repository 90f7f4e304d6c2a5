//! Networks that fall apart: each server with a sentinel in a network namespace of its own, and the test in another.

use std::time::Instant;

use lock_tests::{Network, RedisServer, eventually};

use super::*;

/// Promise: a client that is cut off from the master keeps a lock for as long as its lease lasts and no longer; calls are unavailable
/// within the bounds of an operation. There is no failover, and when the way is there again, so are the locks.
///
/// Turned red by: an operation without a deadline; a body that is polled past its lease; `lost` for what nobody knows.
#[tokio::test]
#[ignore = "takes long; tests/run.sh --all runs it"]
async fn a_client_is_cut_off_from_the_master() {
    const LEASE: Duration = Duration::from_secs(6);
    let Some(network) = Network::with(3) else { return };
    let sentinels = Sentinels::across(&network).await;
    let locks = connect(&sentinels).await;
    let renewed =
        locks.lock("renewed").ttl(LEASE).renew_every(Duration::from_millis(300)).acquire().await.expect("free");
    network.cut_from_here(0);
    let begun = Instant::now();
    let error = locks.lock("work").ttl(TTL).acquire().await.expect_err("cut off");
    assert!(error.is_unavailable() && begun.elapsed() < AT_ONCE, "{error}, after {:?}", begun.elapsed());
    assert!(renewed.is_held(), "unknown, and not lost");
    network.heal_from_here(0);
    locked(&locks, "work", async {}).await.expect("the way is there again");
    eventually("it is renewed again", LEASE, || renewed.remaining() + Duration::from_secs(1) > LEASE).await;

    let lost_after =
        locks.lock("body").ttl(LEASE).renew_every(Duration::from_millis(300)).acquire().await.expect("free");
    network.cut_from_here(0);
    let begun = Instant::now();
    lost_after.lost().await;
    assert!(begun.elapsed() <= LEASE + Duration::from_millis(500), "{:?}", begun.elapsed());
    network.heal_from_here(0);
    assert_eq!(sentinels.master().await, 0, "the sentinels had no reason");
    locked(&locks, "body", async {}).await.expect("after its expiry at the latest");
}

/// Row 31. What is not promised: a master that is cut off from its replicas and their sentinels, and not from its clients, goes on
/// granting locks that are forgotten. Promise: its clients hear of the new one and follow; the old one's grants end with their leases,
/// and the fencing tokens of the new are higher. When the old one is back, what it granted alone is gone.
///
/// Turned red by: believing the sentinel that is cut off, too; a connection that is kept as long as it works.
#[tokio::test]
#[ignore = "takes long; tests/run.sh --all runs it"]
async fn row_31_a_master_is_cut_off_from_its_replicas() {
    const LEASE: Duration = Duration::from_secs(20);
    let Some(network) = Network::with(3) else { return };
    let sentinels = Sentinels::across(&network).await;
    let (locks, others) = (connect(&sentinels).await, LockManager::builder(store(&sentinels)).build());
    let kept = locks.lock("kept").ttl(TTL).acquire().await.expect("free");
    let mut replica = sentinels.servers()[1].admin();
    eventually("a replica has it", AT_ONCE, || replica.exists("kept")).await;
    network.cut(0, 1);
    network.cut(0, 2);
    let begun = Instant::now();
    let isolated = locks.lock("isolated").ttl(LEASE).fence().acquire().await.expect("the old master grants it");
    let granted_by_the_old = || sentinels.servers()[0].admin().exists("probe");
    let (mut last, mut grants) = (Duration::ZERO, 0);
    loop {
        assert!(begun.elapsed() < FAILOVER, "the old master is asked still");
        match locks.lock("probe").ttl(TTL).acquire().await {
            Ok(guard) => {
                let by_the_old = granted_by_the_old();
                guard.release().await.expect("ours");
                if !by_the_old {
                    break;
                }
                (last, grants) = (begun.elapsed(), grants + 1);
            }
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    println!(
        "{grants} grants of the old master that were forgotten, the last {last:?} after it was cut off (masters count as lost after 1.5 s)"
    );
    let second = others.lock("isolated").ttl(LEASE).wait(FAILOVER).fence().acquire().await.expect("forgotten");
    println!("two holders, for {:?} of a lease of {LEASE:?}", isolated.remaining());
    assert!(second.fence() > isolated.fence() && isolated.fence().is_some());
    kept.extend(TTL).await.expect("a replica had heard of it");
    let error = isolated.release().await.expect_err("it is the other's");
    assert!(error.is_lost(), "{error}");

    network.heal(0, 1);
    network.heal(0, 2);
    let exists = |server: &RedisServer, key: &str| {
        let admin = server.try_admin();
        admin.and_then(|mut admin| admin.try_command::<bool>(&["EXISTS", key]).ok())
    };
    second.release().await.expect("ours");
    eventually("the old one has forgotten what it granted", FAILOVER, || {
        exists(&sentinels.servers()[0], "isolated") == Some(false)
            && exists(&sentinels.servers()[0], "kept") == Some(true)
    })
    .await;
    kept.release().await.expect("ours");
}
