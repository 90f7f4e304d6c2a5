//! Nobody deletes or extends what is somebody else's by now, whatever library they are written with.

use std::time::Duration;

use lock_interop_tests::{Scene, with_each_library};
use lock_runtime::{LockError, LockGuard};

const TTL: Duration = Duration::from_secs(30);

with_each_library!(
    our_late_release_leaves_their_lock,
    our_late_release_leaves_their_lock_when_the_lease_ended_by_itself,
    a_guard_dropped_late_leaves_their_lock,
    our_late_extension_leaves_their_lock,
    their_late_release_leaves_our_lock,
);

/// Promise: whose lease has ended releases nothing of theirs, and is told.
///
/// Turned red by: a `release.lua` that does not compare.
async fn our_late_release_leaves_their_lock(mut scene: Scene) {
    let guard = acquire(&scene, TTL).await;
    scene.expire("key").await;
    let theirs = they_take_it(&mut scene);
    lost(&guard.release().await);
    untouched(&mut scene, &theirs);
}

/// The same, when nobody meddled with the expiry: our own clock knows as well that the lease is over.
///
/// Turned red by: a `release.lua` that does not compare.
async fn our_late_release_leaves_their_lock_when_the_lease_ended_by_itself(mut scene: Scene) {
    let guard = acquire(&scene, Duration::from_millis(500)).await;
    scene.gone("key").await;
    let theirs = they_take_it(&mut scene);
    lost(&guard.release().await);
    untouched(&mut scene, &theirs);
}

/// The same in the background: `shutdown` comes back when it is done.
///
/// Turned red by: a clean-up that does not compare.
async fn a_guard_dropped_late_leaves_their_lock(mut scene: Scene) {
    let guard = acquire(&scene, TTL).await;
    scene.expire("key").await;
    let theirs = they_take_it(&mut scene);
    let before = scene.requests();
    drop(guard);
    scene.locks.shutdown().await;
    assert!(scene.requests() > before, "nothing was sent");
    untouched(&mut scene, &theirs);
}

/// Promise: an extension that comes too late does not change their time to live, and is told.
///
/// Turned red by: an `extend.lua` that does not compare.
async fn our_late_extension_leaves_their_lock(mut scene: Scene) {
    let guard = acquire(&scene, TTL).await;
    scene.expire("key").await;
    let theirs = they_take_it(&mut scene);
    lost(&guard.extend(10 * TTL).await);
    assert!(scene.admin.remaining("key").is_some_and(|left| left <= TTL));
    lost(&guard.release().await);
    untouched(&mut scene, &theirs);
}

/// Promise: whose lease has ended cannot end or change ours; their scripts compare what they find with what they wrote.
///
/// Turned red by: a release of ours that leaves the key; above all by theirs, should they stop comparing.
async fn their_late_release_leaves_our_lock(mut scene: Scene) {
    assert!(scene.peer.acquire("key", Some(TTL)));
    scene.expire("key").await;
    let guard = acquire(&scene, TTL).await;
    let ours = scene.admin.get("key");
    assert!(!scene.peer.extend("key", 10 * TTL));
    assert!(!scene.peer.release("key"));
    assert_eq!(scene.admin.get("key"), ours);
    let left = guard.ttl().await.expect("the server answers");
    assert!(!left.is_zero() && left <= TTL, "{left:?}");
    guard.release().await.expect("still ours");
    assert!(!scene.admin.exists("key"));
}

async fn acquire(scene: &Scene, ttl: Duration) -> LockGuard {
    scene.locks.lock("key").ttl(ttl).acquire().await.expect("it is free")
}

/// They take the lock, which is free. Returns its value.
fn they_take_it(scene: &mut Scene) -> String {
    assert!(scene.peer.acquire("key", Some(TTL)));
    scene.admin.get("key").expect("their token")
}

fn lost(result: &Result<(), LockError>) {
    assert!(matches!(result, Err(LockError::Lost { .. })), "{result:?}");
}

/// Their lock is there, and they can release it.
fn untouched(scene: &mut Scene, value: &str) {
    assert_eq!(scene.admin.get("key").as_deref(), Some(value));
    assert!(scene.peer.release("key"));
    assert!(!scene.admin.exists("key"));
}
