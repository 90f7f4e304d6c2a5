//! Who hears of a new master: every connection of a store, on whatever runtime.

use std::time::Instant;

use lock_tests::Admin;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// Whether the lock that is taken now is granted by the server of `old`.
async fn asks(locks: &LockManager, old: &mut Admin) -> bool {
    let held = locks.lock("work").ttl(TTL).wait(FAILOVER).acquire().await.expect("somebody grants it");
    let by_the_old = old.exists("work");
    match held.release().await {
        // It was given back to the new one, which has never heard of it.
        Err(error) if by_the_old => {
            assert!(error.is_lost(), "{error}");
            old.delete("work");
        }
        released => released.expect("ours"),
    }
    by_the_old
}

/// Promise: a runtime that runs for the length of its calls only does not ask an old master which goes on granting: at once where
/// another connection of the store has heard of the new one, and within seconds where nobody has looked.
///
/// Turned red by: a connection of which nobody hears but its own watcher; one that is used although nobody has looked.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn runtimes_that_idle_leave_an_old_master() {
    /// In which somebody has to have looked: twice the time from one look to the next, with two sentinels that are silent.
    const LOOKS: Duration = Duration::from_secs(8);
    let busy = Runtime::new().expect("a runtime");
    let [idle, alone] = [(); 2].map(|()| Builder::new_current_thread().enable_all().build().expect("a runtime"));
    let sentinels = busy.block_on(Sentinels::start());
    let [locks, others] = [(); 2].map(|()| LockManager::builder(store(&sentinels)).build());
    let mut old = sentinels.servers()[0].admin();
    for (runtime, locks) in [(&busy, &locks), (&idle, &locks), (&alone, &others)] {
        assert!(runtime.block_on(asks(locks, &mut old)), "it is the master");
    }
    let last = Instant::now();
    sentinels.isolate(0);
    busy.block_on(async {
        sentinels.failed_over(0).await;
        let begun = Instant::now();
        while asks(&locks, &mut old).await {
            assert!(begun.elapsed() < AT_ONCE, "it hears of it");
        }
    });
    assert!(!idle.block_on(asks(&locks, &mut old)), "the busy one has heard of it");
    // Nothing happens but that time passes.
    std::thread::sleep((LOOKS + Duration::from_secs(1)).saturating_sub(last.elapsed()));
    assert!(!alone.block_on(asks(&others, &mut old)), "nobody has looked for {:?}", last.elapsed());
}

/// Promise: sentinels that were set up anew, and count failovers from the beginning, are believed after a while.
///
/// Turned red by: a number of failovers that only rises.
#[tokio::test]
#[ignore = "takes long; tests/run.sh --all runs it"]
async fn sentinels_that_are_set_up_anew_are_believed() {
    let sentinels = Sentinels::start().await;
    let locks = connect(&sentinels).await;
    let first = sentinels.fail_over(0).await;
    let mut old = sentinels.servers()[first].admin();
    assert!(asks(&locks, &mut old).await, "it is the master");
    // By hand, as somebody does who has lost what the sentinels had written down.
    let second = (1..3).find(|server| *server != first).expect("there are three");
    sentinels.set_up_anew(second);
    assert_eq!(sentinels.master().await, second);
    let begun = Instant::now();
    while asks(&locks, &mut old).await {
        assert!(begun.elapsed() < FAILOVER, "the old one is asked still");
    }
    println!("sentinels set up anew: believed after {:?}", begun.elapsed());
    let mut new = sentinels.servers()[second].admin();
    locked(&locks, "work", async { assert!(new.exists("work")) }).await.expect("free");
}
