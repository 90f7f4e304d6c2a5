//! Who holds a lock, and what this process holds and waits for, over memory and on paused time.
#![cfg(feature = "test-util")]

use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::test_util::{Faults, Operation};
use lock_runtime::{LocalState, LockError, LockKind, LockManager};

const TTL: Duration = Duration::from_secs(10);

/// Lets tasks that were just spawned come to where they wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Promise: a look tells the holder from what it stored, whether it is this process, how long the store will keep the lock and
/// how many calls wait here, those for several keys included; and `None` where nobody holds it. It never shows the token.
///
/// Turned red by: the whole TTL told as what is left of it; a holder read without its local token; those who wait for several keys
/// not counted, or whoever has the turn; a prefix that is forgotten; `Debug` derived for what the store has read.
#[tokio::test(start_paused = true)]
async fn a_look_tells_who_holds_a_lock_and_who_waits() {
    let store = MemoryStore::new();
    let ours = LockManager::builder(store.clone()).key_prefix("app:").build();
    let theirs = LockManager::builder(store.clone()).build();
    assert_eq!(ours.inspect("a").await.expect("an answer"), None);

    let guard = ours.lock("a").ttl(TTL).metadata("web-1").acquire().await.expect("free");
    let waiters: Vec<_> = (0..2)
        .map(|_| tokio::spawn(ours.lock("a").ttl(TTL).wait(TTL).acquire()))
        .chain([tokio::spawn(ours.lock_many(["a", "b"]).ttl(TTL).wait(TTL).acquire())])
        .collect();
    settle().await;
    tokio::time::advance(TTL / 2).await;

    let here = ours.inspect("a").await.expect("an answer").expect("held");
    assert_eq!((here.key.as_str(), here.kind, here.remaining), ("app:a", LockKind::Held, Some(TTL / 2)));
    assert_eq!(here.holder.to_string(), "this process (web-1)");
    assert_eq!((here.in_line, here.waiting_here), (Some(0), 3));
    let there = theirs.inspect("app:a").await.expect("an answer").expect("held");
    assert_eq!((there.kind, there.holder.to_string().as_str(), there.waiting_here), (LockKind::Held, "web-1", 0));
    let reading = lock_runtime::Store::inspect(&store, guard.key()).await;
    for shown in [format!("{here:?}"), format!("{there:?}"), format!("{reading:?}"), format!("{:?}", ours.locks())] {
        assert!(!shown.contains(guard.token().as_str()), "{shown}");
    }

    for waiter in waiters {
        waiter.abort();
        assert!(waiter.await.is_err_and(|error| error.is_cancelled()));
    }
    assert_eq!(ours.inspect("a").await.expect("an answer").expect("held").waiting_here, 0);
    guard.release().await.expect("released");
    assert_eq!(ours.inspect("a").await.expect("an answer"), None);
}

/// Promise: what is no lock of ours is told from what is: another program's, one that was given back and is kept, one that never
/// ends. An expired one is nobody's.
///
/// Turned red by: a kind that is told by the token alone; a value of another program that is shown; an entry that is over told
/// as held.
#[tokio::test(start_paused = true)]
async fn a_look_tells_what_kind_of_lock_it_is() {
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).build();
    let kind = async |key: &str| locks.inspect(key).await.expect("an answer").map(|info| info.kind);

    store.put("other", "iVw3l2XjJmOq3bFv1u9t6A", Some(TTL));
    assert_eq!(kind("other").await, Some(LockKind::OtherClient));
    let shown = format!("{:?}", locks.inspect("other").await);
    assert!(!shown.contains("iVw3"), "{shown}");
    store.put("config", "for ever", None);
    let config = locks.inspect("config").await.expect("an answer").expect("something");
    assert_eq!((config.kind, config.remaining), (LockKind::NoLock, None));

    let guard = locks.lock("job").ttl(TTL).min_hold(TTL / 2).acquire().await.expect("free");
    assert_eq!(kind("job").await, Some(LockKind::Held));
    guard.release().await.expect("released");
    assert_eq!(kind("job").await, Some(LockKind::Kept));
    tokio::time::advance(TTL).await;
    assert_eq!(kind("job").await, None);
    assert_eq!(kind("other").await, None);

    let bare = locks.lock("bare").ttl(TTL).metadata("").acquire().await.expect("free");
    assert_eq!(kind("bare").await, Some(LockKind::Held), "our own is known by its token");
    bare.release().await.expect("released");
}

/// Promise: a store that cannot say is an error, and so is what cannot be a key; never "nobody holds it".
///
/// Turned red by: an error of the store taken for a free key; a flaw that is not looked for.
#[tokio::test(start_paused = true)]
async fn no_answer_is_not_free() {
    let store = Faults::new(MemoryStore::new());
    let locks = LockManager::builder(store.clone()).build();
    store.fail(Operation::Inspect, 1);
    let error = locks.inspect("a").await.expect_err("no answer");
    assert!(matches!(error, LockError::Unavailable { .. }), "{error}");
    let error = locks.inspect("").await.expect_err("no key");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert_eq!(store.count(Operation::Inspect), 1, "nothing is asked about it");
    assert_eq!(locks.inspect("a").await.expect("an answer"), None);
}

/// Promise: the list has what is held, lost and waited for, with label, time, lease and fencing token; what was given back is in
/// it no more, and neither is a call that gave up.
///
/// Turned red by: the turn without its caller; a caller that stays when the turn passes on; several keys listed at each; a lost
/// lock told as held.
#[tokio::test(start_paused = true)]
async fn the_list_has_what_is_held_and_waited_for() {
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).build();
    let pair = locks.lock_many(["b", "a"]).name("pair").ttl(TTL).fence().acquire().await.expect("free");
    tokio::time::advance(TTL / 10).await;
    let mut waiters = Vec::new();
    for name in ["first", "second"] {
        waiters.push(tokio::spawn(locks.lock("a").name(name).ttl(TTL).wait(TTL).acquire()));
        settle().await;
        tokio::time::advance(TTL / 10).await;
    }
    let both = tokio::spawn(locks.lock_many(["b", "c"]).name("both").ttl(TTL).wait(TTL).acquire());
    settle().await;

    let list = || -> Vec<_> {
        let show = |lock: lock_runtime::LocalLock| {
            let keys = lock.keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>().concat();
            (keys, lock.label, lock.state, lock.elapsed)
        };
        locks.locks().into_iter().map(show).collect()
    };
    let waiting = |keys: &str, label, elapsed| (keys.to_owned(), label, LocalState::Waiting, elapsed);
    assert_eq!(
        list(),
        [
            waiting("a", "first", TTL / 5),
            waiting("a", "second", TTL / 10),
            ("ab".to_owned(), "pair", LocalState::Holding, TTL * 3 / 10),
            waiting("bc", "both", Duration::ZERO),
        ]
    );
    let held = locks.locks().into_iter().find(|lock| lock.label == "pair").expect("held");
    assert_eq!((held.fence, held.remaining), (pair.fence(), Some(pair.remaining())));
    assert!(held.fence.is_some() && pair.remaining() > TTL / 2);

    both.abort();
    assert!(both.await.is_err_and(|error| error.is_cancelled()));
    waiters.remove(0).abort();
    settle().await;
    assert_eq!(list().len(), 2, "whoever gave up is gone: {:?}", list());
    assert_eq!(list()[0].1, "second");

    store.remove("a");
    assert!(pair.ttl().await.is_ok_and(|left| left.is_zero()));
    let gone = locks.locks().into_iter().find(|lock| lock.label == "pair").expect("its guard is there");
    assert_eq!((gone.state, gone.remaining), (LocalState::Lost, Some(Duration::ZERO)));
    drop(pair);
    let second = waiters.remove(0).await.expect("no panic").expect("free");
    settle().await;
    assert_eq!(list(), [("a".to_owned(), "second", LocalState::Holding, Duration::ZERO)]);
    second.release().await.expect("released");
    assert!(locks.locks().is_empty());
}
