//! Locks of several keys: all or nothing, and beside those of one key; on the memory store under paused time. (Redis: in the
//! workspace's `tests`.)
#![cfg(feature = "test-util")]

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, StoreFuture};
use lock_runtime::test_util::{Faults, Operation, TestLocks};
use lock_runtime::{
    Busy, LockError, LockGuard, LockKey, LockManager, LostCause, Moment, Retry, Store, StoreError, StoreErrorKind,
};
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn all(manager: &LockManager, keys: &[&str]) -> Result<LockGuard, LockError> {
    manager.lock_many(keys.iter().copied()).ttl(MINUTE).acquire().await
}

async fn held(manager: &LockManager, keys: &[&str]) -> LockGuard {
    all(manager, keys).await.expect("all of them are free")
}

#[track_caller]
fn busy<T>(outcome: Result<T, LockError>) -> Busy {
    match outcome {
        Ok(_) => panic!("it was given twice"),
        Err(LockError::Busy(busy)) => busy,
        Err(error) => panic!("{error}"),
    }
}

fn texts(guard: &LockGuard) -> Vec<&str> {
    guard.keys().iter().map(LockKey::as_str).collect()
}

/// Promise: the keys of a lock are a set, behind the manager's prefix; what is one key for others is one for it.
///
/// Turned red by: keys that are taken as they are named; a prefix that is put before the first alone.
#[tokio::test(start_paused = true)]
async fn keys_are_sorted_once_each_and_prefixed() {
    let store = MemoryStore::new();
    let manager = LockManager::builder(store.clone()).key_prefix("app:").build();
    let guard = held(&manager, &["b", "a", "b", "c", "a"]).await;
    assert_eq!(texts(&guard), ["app:a", "app:b", "app:c"]);
    assert_eq!(guard.key().as_str(), "app:a");
    for key in ["app:a", "app:b", "app:c"] {
        let value = store.get(key).expect("it is taken");
        assert!(value.starts_with(guard.token().as_str()), "{value}");
        assert_eq!(store.time_left(key), Some(MINUTE));
    }
    assert!(store.get("a").is_none());
    let single = manager.lock("a").ttl(MINUTE).acquire().await;
    assert_eq!(busy(single).key.as_str(), "app:a");
    guard.release().await.expect("ours");
    assert!(["app:a", "app:b", "app:c"].iter().all(|key| store.get(*key).is_none()));
    assert_eq!(manager.lock("a").ttl(MINUTE).acquire().await.expect("free").keys().len(), 1);
}

/// Promise: all or nothing, and the error names the key that was in the way, and its holder; in this process and elsewhere.
///
/// Turned red by: an error that names the first key; keys that are taken one by one.
#[tokio::test(start_paused = true)]
async fn busy_names_the_key_that_is_held() {
    let store = MemoryStore::new();
    let (here, there) = (LockManager::builder(store.clone()).build(), LockManager::builder(store.clone()).build());
    let guard = here.lock("b").ttl(MINUTE).metadata("me").acquire().await.expect("free");
    for manager in [&here, &there] {
        let busy = busy(all(manager, &["a", "b", "c"]).await);
        assert_eq!(busy.key.as_str(), "b");
        let holder = busy.holder.expect("the store can tell");
        assert_eq!(holder.metadata.as_deref(), Some("me"));
        assert!(busy.retry_after > Some(Duration::ZERO));
        assert!(store.get("a").is_none() && store.get("c").is_none());
    }
    // The other way round: a lock of several keys stands in the way of each of them.
    guard.release().await.expect("ours");
    let guard = held(&here, &["a", "b"]).await;
    for manager in [&here, &there] {
        for keys in [&["a", "x"][..], &["b"], &["a", "b"]] {
            let busy = busy(all(manager, keys).await);
            assert_eq!(busy.key.as_str(), if keys == ["b"] { "b" } else { "a" });
        }
        assert_eq!(busy(manager.lock("b").ttl(MINUTE).acquire().await).key.as_str(), "b");
    }
    drop(guard);
}

/// Promise: a key that is no lock is named, and nothing is taken.
#[tokio::test(start_paused = true)]
async fn a_foreign_key_is_named() {
    let store = MemoryStore::new();
    store.put("b", "no lock", None);
    let manager = LockManager::builder(store.clone()).build();
    match manager.lock_many(["c", "b", "a"]).ttl(MINUTE).wait(MINUTE).acquire().await {
        Err(LockError::ForeignKey { key, .. }) => assert_eq!(key.as_str(), "b"),
        other => panic!("{other:?}"),
    }
    assert!(store.get("a").is_none() && store.get("c").is_none());
}

/// Promise: what cannot be asked for is said before the store is asked.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_locked_is_refused_before_the_store_is_asked() {
    let faults = Faults::new(MemoryStore::new());
    let manager = LockManager::builder(faults.clone()).build();
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    let cases: [(&[&str], &str); 4] = [
        (&[], "no keys"),
        (&many.iter().map(String::as_str).collect::<Vec<_>>(), "more than 1000"),
        (&["a", ""], "the key is empty"),
        (&["a", "lock_runtime:fence"], "counter of fencing tokens"),
    ];
    for (keys, reason) in cases {
        match all(&manager, keys).await {
            Err(LockError::Invalid { reason: found, .. }) => assert!(found.contains(reason), "{found}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(faults.count(Operation::Acquire), 0);
    let thousand = held(&manager, &many.iter().take(1000).map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(thousand.keys().len(), 1000);
    thousand.release().await.expect("ours");
}

/// Promise: an inner call on any of the keys that an enclosing one holds is refused, and does not wait for itself.
///
/// Turned red by: comparing the first key alone.
#[cfg(feature = "macros")]
#[tokio::test(start_paused = true)]
async fn a_nested_call_on_any_of_the_keys_is_refused() {
    use lock_runtime::distributed_lock;

    #[distributed_lock(keys = outer, ttl = "1m", wait = "10s", manager = locks)]
    async fn nested(locks: &LockManager, outer: [&str; 2], inner: &[&str]) -> Result<(), LockError> {
        // Not a name of the macro's: the inner lock is taken by hand.
        locks.lock_many(inner.iter().copied()).ttl(MINUTE).wait(MINUTE).acquire().await?.release().await
    }

    let locks = LockManager::in_memory();
    for inner in [&["b"][..], &["a"], &["x", "b"]] {
        match nested(&locks, ["b", "a"], inner).await {
            Err(LockError::AlreadyHeld { key, .. }) => assert!(["a", "b"].contains(&key.as_str()), "{key}"),
            other => panic!("{other:?}"),
        }
    }
    nested(&locks, ["b", "a"], &["c", "d"]).await.expect("other keys are other locks");
}

/// Promise: who waits for several keys is woken when the last of them is given back in this process: by a holder of one key, and
/// by one of several. No polling is needed for that.
///
/// Turned red by: a place in line that tells nobody else when it is given back.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_when_the_last_key_is_given_back() {
    let faults = Faults::new(MemoryStore::new());
    let manager = LockManager::builder(faults.clone()).build();
    let (one, two) = (held(&manager, &["a"]).await, held(&manager, &["b", "c"]).await);
    let asked = faults.count(Operation::Acquire);
    let started = Instant::now();
    // A strategy that would come too late.
    let request = manager.lock_many(["c", "a", "d"]).ttl(MINUTE).retry(Retry::linear(MINUTE)).wait(MINUTE);
    let waiting = tokio::spawn(request.acquire());
    sleep(ms(10)).await;
    one.release().await.expect("ours");
    sleep(ms(10)).await;
    assert_eq!(faults.count(Operation::Acquire), asked, "what is held here need not be asked for");
    two.release().await.expect("ours");
    let guard = waiting.await.expect("no panic").expect("free");
    assert_eq!(started.elapsed(), ms(20));
    assert_eq!(faults.count(Operation::Acquire), asked + 1);
    guard.release().await.expect("ours");
}

/// Promise: a key that is given back wakes one waiter, and the next only if nothing came of that: not everybody at once. A waiter
/// that is dropped passes on what it was told.
///
/// Turned red by: telling the first one alone; a `Watch` that forgets what it was told when it is dropped.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_wakes_one_waiter_after_the_other() {
    let faults = Faults::new(MemoryStore::new());
    let manager = LockManager::builder(faults.clone()).build();
    let (a, b) = (held(&manager, &["a"]).await, held(&manager, &["b"]).await);
    let waiting = |keys: [&'static str; 2]| {
        let request = manager.lock_many(keys).ttl(MINUTE).retry(Retry::linear(MINUTE)).wait(MINUTE);
        tokio::spawn(request.acquire())
    };
    let started = Instant::now();
    // The first cannot have both; the second is dropped with what it was told; the third can.
    let first = waiting(["a", "b"]);
    sleep(ms(1)).await;
    let second = waiting(["a", "x"]);
    sleep(ms(1)).await;
    let third: Vec<_> = (0..10).map(|_| waiting(["a", "y"])).collect();
    sleep(ms(1)).await;
    let asked = faults.count(Operation::Acquire);
    a.release().await.expect("ours");
    second.abort();
    tokio::task::yield_now().await;
    let mut asked_for_one = 0;
    for waiter in third {
        let guard = waiter.await.expect("no panic").expect("given back by the one before");
        asked_for_one += 1;
        assert!(started.elapsed() < ms(100), "{:?}", started.elapsed());
        guard.release().await.expect("ours");
    }
    // Each asks once, when it can win. (The second may have asked before it was dropped.)
    assert!(
        faults.count(Operation::Acquire) - asked <= asked_for_one + 1,
        "{}",
        faults.count(Operation::Acquire) - asked
    );
    b.release().await.expect("ours");
    first.await.expect("no panic").expect("both are free").release().await.expect("ours");
    assert!(started.elapsed() < ms(100), "{:?}", started.elapsed());
}

/// Promise: who waits for several keys does not hold up those who wait for one of them, and two who name their keys in opposite
/// orders get them both.
///
/// Turned red by: waiting in the lines of all keys; taking one key after the other.
#[tokio::test(start_paused = true)]
async fn waiters_for_several_keys_block_nobody() {
    let manager = LockManager::in_memory();
    let b = held(&manager, &["b"]).await;
    let both = tokio::spawn(manager.lock_many(["a", "b"]).ttl(MINUTE).wait(MINUTE).acquire());
    sleep(ms(1)).await;
    // `a` is free, and whoever wants it alone has it at once.
    for _ in 0..20 {
        let started = Instant::now();
        let guard = manager.lock("a").ttl(MINUTE).wait(SECOND).acquire().await.expect("free");
        assert!(started.elapsed() < ms(1), "{:?}", started.elapsed());
        guard.release().await.expect("ours");
    }
    let other_way_round = tokio::spawn(manager.lock_many(["b", "a"]).ttl(MINUTE).wait(MINUTE).acquire());
    sleep(ms(1)).await;
    b.release().await.expect("ours");
    both.await.expect("no panic").expect("free").release().await.expect("ours");
    other_way_round.await.expect("no panic").expect("free").release().await.expect("ours");
}

/// Promise: callers who wait in line for one key are served when a lock of several is given back, and its keys leave nothing
/// behind that keeps them from it.
#[tokio::test(start_paused = true)]
async fn those_in_line_are_served_when_several_keys_are_given_back() {
    let manager = LockManager::in_memory();
    let guard = held(&manager, &["a", "b", "c"]).await;
    let started = Instant::now();
    let slow = Retry::linear(MINUTE);
    let waiting = ["a", "b", "c", "c"].map(|key| {
        let request = manager.lock(key).ttl(MINUTE).retry(slow).wait(MINUTE);
        tokio::spawn(async move { request.acquire().await?.release().await })
    });
    sleep(ms(10)).await;
    drop(guard);
    for waiter in waiting {
        waiter.await.expect("no panic").expect("its turn");
    }
    assert_eq!(started.elapsed(), ms(10));
}

/// Promise: a wait for several keys ends when it should: in *busy* at its end, at once with a strategy that does not ask again,
/// and when the manager is shut down. A try alone does not wait.
#[tokio::test(start_paused = true)]
async fn a_wait_for_several_keys_ends() {
    let store = MemoryStore::new();
    let (here, there) = (LockManager::builder(store.clone()).build(), LockManager::builder(store).build());
    let _held = held(&here, &["b"]).await;
    // The holder's own is the last: closed, it gives back what it holds.
    for manager in [&there, &here] {
        let request = manager.lock_many(["a", "b"]).ttl(MINUTE);
        for (request, limit) in [
            (request.clone(), Duration::ZERO),
            (request.clone().retry(Retry::none()), ms(1)),
            (request.clone().retry(Retry::linear(ms(5)).limit(2)), ms(11)),
            (request.clone().wait(3 * SECOND), 3 * SECOND + ms(1)),
        ] {
            let started = Instant::now();
            let busy = busy(request.acquire().await);
            assert_eq!(busy.key.as_str(), "b");
            assert!(started.elapsed() <= limit, "{:?} of {limit:?}", started.elapsed());
        }
        let waiting = tokio::spawn(request.wait(Duration::MAX).acquire());
        sleep(ms(10)).await;
        manager.shutdown().await;
        let error = waiting.await.expect("no panic").expect_err("closed");
        assert!(error.is_unavailable(), "{error}");
    }
}

/// Promise: what passes is ridden out while waiting, and what does not ends it.
#[tokio::test(start_paused = true)]
async fn trouble_of_the_store_is_ridden_out() {
    let faults = Faults::new(MemoryStore::new());
    let manager = LockManager::builder(faults.clone()).build();
    let request = manager.lock_many(["a", "b"]).ttl(MINUTE).wait(MINUTE);
    faults.fail_with(Operation::Acquire, 2, StoreError::new(StoreErrorKind::Refused, "LOADING"));
    request.clone().acquire().await.expect("it passes").release().await.expect("ours");
    faults.fail_with(Operation::Acquire, 9, StoreError::new(StoreErrorKind::Denied, "NOPERM"));
    let before = faults.count(Operation::Acquire);
    assert!(request.acquire().await.expect_err("denied").is_unavailable());
    assert_eq!(faults.count(Operation::Acquire), before + 1);
}

/// Promise: a part of a lock is no lock: when one key is gone, it is lost, and the other keys are given back as soon as that is
/// known; by whatever it becomes known, and although the guard is still there. What others have written there stays.
///
/// Turned red by: a loss that is only noted; a release that deletes nothing when something is missing.
#[tokio::test(start_paused = true)]
async fn a_lock_that_lost_one_key_gives_the_others_back() {
    let store = MemoryStore::new();
    let manager = LockManager::builder(store.clone()).build();
    for way in 0..5 {
        let request = manager.lock_many(["a", "b", "c"]).ttl(MINUTE);
        let guard = if way == 3 { request.renew() } else { request }.acquire().await.expect("free");
        store.put("b", "somebody else", Some(MINUTE));
        match way {
            0 => drop(guard.extend(2 * MINUTE).await.expect_err("it is lost")),
            1 => assert_eq!(guard.ttl().await.expect("the store answers"), Duration::ZERO),
            2 => drop(guard.set_ttl(SECOND).await.expect_err("it is lost")),
            // The keeper finds out.
            3 => assert_eq!(guard.lost().await, LostCause::Gone),
            _ => {
                let error = guard.release().await.expect_err("it is lost");
                assert!(matches!(error, LockError::Lost { cause: LostCause::Gone, .. }), "{error}");
                assert!(store.get("a").is_none() && store.get("c").is_none());
                continue;
            }
        }
        assert!(store.get("a").is_none() && store.get("c").is_none(), "way {way}");
        assert_eq!(store.get("b").as_deref(), Some("somebody else"));
        assert!(!guard.is_held());
        assert!(guard.release().await.expect_err("it is lost").is_lost());
        store.remove("b");
    }
}

/// Promise: whatever a lock of one key can do, one of several can: extensions, an exact time, renewal, a fencing token, the
/// shortest hold, `TestLocks::lose`, shutdown. Of the times of the keys, the least counts.
#[tokio::test(start_paused = true)]
async fn several_keys_have_all_that_one_has() {
    let locks = TestLocks::new();
    let store = locks.store();
    let request = locks.lock_many(["b", "a"]).ttl(MINUTE).metadata("me");
    let guard = request.clone().fence().acquire().await.expect("free");
    let fence = guard.fence().expect("it was asked for");
    guard.extend(2 * MINUTE).await.expect("ours");
    assert_eq!((store.time_left("a"), store.time_left("b")), (Some(2 * MINUTE), Some(2 * MINUTE)));
    guard.set_ttl(SECOND).await.expect("ours");
    assert_eq!((store.time_left("a"), store.time_left("b")), (Some(SECOND), Some(SECOND)));
    let value = store.get("b").expect("it is there");
    store.put("b", value, Some(ms(500)));
    assert_eq!(guard.ttl().await.expect("the store answers"), ms(500));
    guard.release().await.expect("ours");
    // Greater than all before, for any of the keys.
    let single = locks.lock("b").ttl(MINUTE).fence().acquire().await.expect("free");
    assert!(single.fence() > Some(fence));
    single.release().await.expect("ours");

    let renewed = request.clone().renew().acquire().await.expect("free");
    advance(10 * MINUTE).await;
    sleep(ms(1)).await;
    drop(renewed);
    let renewed = request.clone().renew().acquire().await.expect("free");
    sleep(10 * MINUTE).await;
    assert!(renewed.is_held());
    locks.lose("b");
    assert!(!renewed.is_held());
    assert!(!locks.is_held("a"), "a part of a lock is no lock");
    drop(renewed);

    let early = request.clone().min_hold(SECOND).acquire().await.expect("free");
    early.release().await.expect("ours");
    assert_eq!((store.time_left("a"), store.time_left("b")), (Some(SECOND), Some(SECOND)));
    assert!(locks.lock("a").ttl(MINUTE).acquire().await.expect_err("kept").is_busy());
    sleep(SECOND).await;

    let last = request.acquire().await.expect("free");
    locks.shutdown().await;
    assert!(!last.is_held());
    assert!(!locks.is_held("a") && !locks.is_held("b"));
}

/// Promise: whatever keys callers ask for, alone and together, two who hold a key never do so at the same time, and every one of
/// them gets what it waits for.
///
/// Turned red by: a claim that is taken when one of its keys is free; a watcher that is not told, with the strategy below.
#[tokio::test(start_paused = true)]
async fn callers_with_overlapping_keys_take_turns() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    const CALLERS: u64 = 200;
    let store = MemoryStore::new();
    let managers = [(); 3].map(|()| LockManager::builder(store.clone()).build());
    let inside: Arc<Mutex<HashMap<&str, u64>>> = Arc::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            // In any order, but not at random: a failure must come again.
            let (mut seed, mut keys) = (caller.wrapping_mul(0x9e37_79b9_7f4a_7c15), Vec::new());
            for _ in 0..=(caller % 4) {
                seed = seed.rotate_left(13).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                keys.push(NAMES[usize::try_from(seed % 6).unwrap_or(0)]);
            }
            let manager = managers[usize::try_from(caller % 3).unwrap_or(0)].clone();
            let inside = inside.clone();
            tokio::spawn(async move {
                let (wait, ttl) = (60 * MINUTE, MINUTE);
                let guard = if let [key] = *keys {
                    manager.lock(key).ttl(ttl).wait(wait).acquire().await
                } else {
                    manager.lock_many(keys.clone()).ttl(ttl).wait(wait).acquire().await
                };
                let guard = guard.unwrap_or_else(|error| panic!("caller {caller} of {keys:?}: {error}"));
                keys.sort_unstable();
                keys.dedup();
                for key in &keys {
                    let other = inside.lock().expect("no panic").insert(key, caller);
                    assert_eq!(other, None, "two hold {key}: {caller}");
                }
                sleep(ms(seed % 20)).await;
                for key in &keys {
                    assert_eq!(inside.lock().expect("no panic").remove(key), Some(caller));
                }
                guard.release().await.expect("ours");
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("it had its turn");
    }
}

/// Promise: nothing is left of a wait, or of a hold, in the manager's memory: neither of one that was dropped at its worst moment.
///
/// Turned red by: a watcher that stays in the map of its keys.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let faults = Faults::new(MemoryStore::new());
    let manager = LockManager::builder(faults.clone()).build();
    let guard = held(&manager, &["a", "b"]).await;
    for pause in 0..5 {
        let waiting = manager.lock_many(["b", "c"]).ttl(MINUTE).wait(MINUTE).acquire();
        assert!(tokio::time::timeout(ms(pause), waiting).await.is_err());
    }
    guard.release().await.expect("ours");
    let asked = faults.count(Operation::Acquire);
    sleep(MINUTE).await;
    assert_eq!(faults.count(Operation::Acquire), asked, "somebody still asks");
    held(&manager, &["a", "b", "c"]).await.release().await.expect("ours");
}

/// A memory store that carries out the next request for a lock, and loses the answer with the connection.
#[derive(Debug)]
struct LosesAnAnswer {
    store: MemoryStore,
    loses: AtomicBool,
}

impl Store for LosesAnAnswer {
    fn now(&self) -> Moment {
        self.store.now()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let answer = self.store.acquire(claim).await?;
            if self.loses.swap(false, Ordering::Relaxed) {
                // Its clean-up is on its way, and has not come yet.
                return Err(StoreError::new(StoreErrorKind::Connection, "reset"));
            }
            Ok(answer)
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.store.extend(claim, ttl, extension)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.store.remaining(claim)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.store.release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }
}

/// Promise: a request whose answer was lost is no *busy* by oneself. Several keys under a fresh token are *unavailable*, until the
/// clean-up has come; under a token that was chosen, the second request takes over what the first has won, and has its own value.
///
/// Turned red by: comparing the token that was chosen, and not what was stored.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_not_busy() {
    let store = MemoryStore::new();
    let flaky = Arc::new(LosesAnAnswer { store: store.clone(), loses: AtomicBool::new(true) });
    let manager = LockManager::builder(flaky.clone()).build();
    let request = manager.lock_many(["a", "b"]).ttl(MINUTE);
    assert!(request.clone().acquire().await.expect_err("who knows").is_unavailable());
    for key in ["a", "b"] {
        store.remove(key);
    }
    flaky.loses.store(true, Ordering::Relaxed);
    let guard = request.token("0123456789abcdef0123456789abcdef").acquire().await.expect("its own");
    assert_eq!(guard.ttl().await.expect("memory answers"), MINUTE);
    guard.release().await.expect("ours");
    assert!(store.get("a").is_none() && store.get("b").is_none());
}
