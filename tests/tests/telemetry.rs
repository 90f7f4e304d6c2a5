//! What is told to `tracing`. One test, for one process has one subscriber.

use std::time::Duration;

use lock_runtime::test_util::{Operation, TestLocks};
use lock_runtime::{LockError, distributed_lock};
use lock_tests::Log;

#[distributed_lock(key = "order:{id}", ttl = "1s", manager = locks)]
async fn settle(locks: &TestLocks, id: &str, work: Duration) -> Result<(), LockError> {
    tokio::time::sleep(work).await;
    tracing::info!(target: "app", "the body's own");
    Ok(())
}

#[distributed_lock(key = "order:{id}", ttl = "1s", wait = "1m", name = "patient", manager = locks)]
async fn settle_patiently(locks: &TestLocks, id: &str) -> Result<(), LockError> {
    Ok(())
}

/// Promise: the documented spans and events appear, with the call's label; the key is a field of spans alone. Red when an
/// event names the key, or when one of the documented ones is not sent.
#[tokio::test(start_paused = true)]
async fn the_documented_spans_and_events_appear_and_only_spans_name_the_key() {
    let log = Log::capture();
    let locks = TestLocks::new();
    let told = |name: &str, field: &str| {
        log.lines().iter().any(|line| line.contains(&format!("\"{name}\"")) && line.contains(field))
    };

    settle(&locks, "canary", Duration::ZERO).await.expect("free");
    for (name, field) in [
        ("lock.acquire", "key=order:canary"),
        ("lock.hold", "key=order:canary"),
        ("lock.acquired", "waited=0ns"),
        ("lock.released", "outcome=\"released\""),
    ] {
        assert!(told(name, "lock=\"order:{id}\"") && told(name, field), "{name} {field}: {:#?}", log.lines());
    }

    locks.hold_elsewhere("order:canary", "box-office", Duration::from_secs(2));
    settle(&locks, "canary", Duration::ZERO).await.expect_err("busy");
    assert!(told("lock.busy", "lock=\"order:{id}\""));
    settle_patiently(&locks, "canary").await.expect("it expires");
    assert!(told("lock.waiting", "lock=\"patient\"") && told("lock.waiting", "holder=box-office"));

    locks.unavailable(true);
    settle(&locks, "canary", Duration::ZERO).await.expect_err("unavailable");
    locks.unavailable(false);
    assert!(told("lock.failed", "error=\"unavailable\""));

    settle(&locks, "canary", Duration::from_secs(9)).await.expect_err("too long");
    assert!(told("lock.lost", "cause=its lease ended before the work did"));
    assert!(told("lock.released", "outcome=\"background\""));

    locks.faults().fail(Operation::Release, 1);
    settle(&locks, "canary", Duration::ZERO).await.expect("done all the same");
    assert!(told("lock.released", "outcome=\"unanswered\""));

    let stolen = settle(&locks, "canary", Duration::from_millis(500));
    let (outcome, ()) = tokio::join!(stolen, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        locks.expire("order:canary");
    });
    outcome.expect("it was done before the lease was over");
    assert!(told("lock.released", "outcome=\"gone\""));

    let spans = ["\"lock.acquire\"", "\"lock.hold\"", "\"lock.cleanup\""];
    for line in log.lines() {
        let is_span = spans.iter().any(|span| line.contains(span));
        assert!(is_span || !line.contains("canary"), "an event names the key: {line}");
    }
}
