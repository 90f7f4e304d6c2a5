//! Hand-off on real servers: how a lock goes from one process to the next, and everything that may get in its way. A test is
//! named by the hole that it looks into, of those which a study of such protocols has found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lock_runtime::LockKey;
use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::waiter::{Confirmed, Place, Waiter};
use lock_runtime::store::{Attempt, Claim, Store};
use lock_tests::RedisServer;

const KEY: &str = "work";
const LINE: &str = "work:lock_runtime:q1";
const TTL: Duration = Duration::from_secs(60);
/// Within this, *at once* is true, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A store with connections of its own, as another process has it.
fn store(server: &RedisServer) -> RedisStore {
    RedisStore::open(&server.url()).expect("a good address")
}

fn claim() -> Claim {
    Claim::new(LockKey::from(KEY), TTL, Arc::from("host:1 with words"))
}

/// Takes the free lock.
async fn hold(store: &RedisStore) -> Claim {
    let claim = claim();
    let taken = store.acquire(&claim).await.expect("an answer");
    assert!(matches!(taken, Attempt::Acquired { .. }), "{taken:?}");
    claim
}

/// Takes a place in line.
async fn line_up(store: &RedisStore) -> Box<dyn Waiter> {
    let mut waiter = store.waiter(claim()).expect("there are lines");
    let place = waiter.ask().await.expect("an answer");
    assert!(matches!(place, Place::Waiting { .. }), "{place:?}");
    waiter
}

/// Waits until `waiter` is called, and confirms.
async fn called(waiter: &mut Box<dyn Waiter>) -> Confirmed {
    tokio::time::timeout(AT_ONCE, waiter.called()).await.expect("a call");
    waiter.confirm(TTL, None).await.expect("an answer").expect("it was granted")
}

/// Promise: who is next has the lock at once, without asking.
///
/// Turned red by: a release that only deletes the key.
#[tokio::test]
async fn the_next_in_line_is_called() {
    let server = RedisServer::start();
    let (first, second) = (store(&server), store(&server));
    let held = hold(&first).await;
    let mut waiter = line_up(&second).await;
    let before = server.admin().command_counts();
    let released = Instant::now();
    assert!(first.release(&held).await.expect("an answer"));
    called(&mut waiter).await;
    let took = released.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let claim = waiter.settle();
    let mut admin = server.admin();
    assert_eq!(admin.get(KEY), Some(claim.value()));
    assert!(admin.remaining(KEY) > Some(TTL / 2), "confirmed");
    assert!(!admin.exists(LINE));
    let after = admin.command_counts();
    assert_eq!(before.get("set").map(|count| count + 1), after.get("set").copied(), "never free: {before:?} {after:?}");
    assert!(second.release(&claim).await.expect("an answer"));
    assert!(!admin.exists(KEY));
}
