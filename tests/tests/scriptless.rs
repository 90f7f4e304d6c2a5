//! Locks on servers on which nobody may run scripts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::test_util::conformance::Fixture;
use lock_runtime::{LockError, LockGuard, LockManager, SetupError, StoreErrorKind, distributed_lock};
use lock_tests::{Admin, Conduct, Proxy, RedisServer, Way, command, demote, eventually};

const TTL: Duration = Duration::from_secs(60);

/// How long a thing may take that happens at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// The permissions of the documentation, and no others.
const USER: [&str; 16] = [
    "ACL",
    "SETUSER",
    "locks",
    "on",
    ">password",
    "~*",
    "-@all",
    "+ping",
    "+set",
    "+getex",
    "+pttl",
    "+del",
    "+pexpire",
    "+watch",
    "+multi",
    "+exec",
];

/// A server whose user may not run scripts.
struct Forbidden {
    server: RedisServer,
    admin: Mutex<Admin>,
}

impl Forbidden {
    fn start() -> Self {
        let server = RedisServer::start();
        let mut admin = server.admin();
        admin.command::<()>(&USER);
        Self { admin: Mutex::new(admin), server }
    }

    fn url(&self) -> String {
        format!("redis://locks:password@127.0.0.1:{}/", self.server.port())
    }

    fn store(&self) -> RedisStore {
        RedisStore::open(&self.url()).expect("a good URL").without_scripts().expect("one node")
    }

    fn locks(&self) -> LockManager {
        LockManager::builder(self.store()).build()
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Admin) -> T) -> T {
        question(&mut self.admin.lock().expect("no case has panicked"))
    }
}

impl Fixture for Forbidden {
    type Store = RedisStore;

    async fn new() -> Self {
        Self::start()
    }

    fn store(&self) -> RedisStore {
        self.store()
    }

    async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
        let millis = ttl.map(|ttl| ttl.as_millis().to_string());
        let options: Vec<&str> = millis.iter().flat_map(|millis| ["PX", millis.as_str()]).collect();
        self.ask(|admin| admin.set(key, value, &options));
    }

    async fn get(&self, key: &str) -> Option<String> {
        self.ask(|admin| admin.get(key))
    }

    async fn time_left(&self, key: &str) -> Option<Duration> {
        self.ask(|admin| admin.remaining(key))
    }

    async fn forget(&self) {
        self.ask(Admin::forget_scripts);
    }
}

lock_runtime::conformance_tests!(
    #[tokio::test]
    Forbidden
);

#[distributed_lock(key = "work", ttl = "10s", wait = "30s", manager = locks)]
async fn enter(locks: &LockManager, is_taken: &AtomicBool) -> Result<(), LockError> {
    assert!(!is_taken.swap(true, Ordering::SeqCst), "two at once");
    tokio::task::yield_now().await;
    is_taken.store(false, Ordering::SeqCst);
    Ok(())
}

/// Promise: where scripts are forbidden, by a permission or by another name of the command, whoever does not know is told of the
/// mode that does without; and with it locks are taken, waited for, extended, renewed, kept, looked at and given back, under the
/// attribute as well.
///
/// Turned red by: a script that is still run; an error that names a permission alone.
#[tokio::test]
async fn where_scripts_are_forbidden() {
    let forbidden = Forbidden::start();
    let renamed = RedisServer::options().arguments(["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    let renamed = renamed.start();
    for (server, url) in [(&forbidden.server, forbidden.url()), (&renamed, renamed.url())] {
        let mut admin = server.admin();
        let ordinary = LockManager::connect(&url).await.expect("connect");
        let guard = ordinary.lock("work").ttl(TTL).acquire().await.expect("that is one command");
        let error = guard.release().await.expect_err("that takes a script");
        let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), StoreErrorKind::Denied);
        assert!(error.to_string().contains("`RedisStore::without_scripts`"), "{error}");
        admin.delete("work");

        let store = || RedisStore::open(&url).expect("a good URL").without_scripts().expect("one node");
        let [locks, others] = [(); 2].map(|()| LockManager::builder(store()).build());
        locks.self_test().await.expect("nothing is missing");
        let is_taken = AtomicBool::new(false);
        let held = locks.lock("work").ttl(TTL).metadata("me").acquire().await.expect("free");
        let info = others.inspect("work").await.expect("an answer").expect("held");
        assert_eq!((info.holder.metadata.as_deref(), info.in_line), (Some("me"), None));
        let LockError::Busy(busy) = enter_now(&others).await.expect_err("held") else { panic!("held") };
        assert!(busy.retry_after.is_some_and(|left| left > TTL / 2), "{busy}");
        let waiting = enter(&others, &is_taken);
        let giving = async {
            held.extend(2 * TTL).await.expect("ours");
            assert!(held.ttl().await.expect("an answer") > TTL);
            held.extend(TTL).await.expect("ours");
            assert!(held.ttl().await.expect("an answer") > TTL, "never shortened");
            held.set_ttl(TTL / 2).await.expect("ours");
            assert!(held.ttl().await.expect("an answer") <= TTL / 2);
            held.release().await.expect("ours");
        };
        let (entered, ()) = tokio::join!(waiting, giving);
        entered.expect("given back");

        let kept = locks.lock("kept").ttl(TTL).min_hold(TTL).acquire().await.expect("free");
        kept.release().await.expect("ours");
        assert!(admin.exists("kept"), "to be kept");
        let renewed = locks.lock("renewed").ttl(Duration::from_millis(500)).renew().acquire().await.expect("free");
        let mut highest = admin.remaining("renewed");
        eventually("a renewal", SOON, || {
            let left = admin.remaining("renewed");
            std::mem::replace(&mut highest, left) < left
        })
        .await;
        drop(renewed);
        eventually("what was dropped is given back", SOON, || !admin.exists("renewed")).await;

        let error = locks.lock_many(["a", "b"]).ttl(TTL).acquire().await.expect_err("two keys");
        assert!(
            matches!(error, LockError::Invalid { .. }) && error.to_string().contains("`RedisStore::without_scripts`")
        );
        let error = locks.lock("a").ttl(TTL).fence().acquire().await.expect_err("a fence");
        assert!(matches!(error, LockError::Invalid { .. }), "{error}");
        admin.delete("kept");
        assert_eq!(admin.keys(), [""; 0]);
    }
    let error =
        RedisStore::open("redis+cluster://127.0.0.1/").expect("a good URL").without_scripts().expect_err("a cluster");
    assert!(error.to_string().contains("in a cluster"), "{error}");
}

async fn enter_now(locks: &LockManager) -> Result<LockGuard, LockError> {
    locks.lock("work").ttl(TTL).acquire().await
}

/// Promise: the self-test names each permission that is missing. So none is documented in vain, and none is needed beside those.
///
/// Turned red by: a command that is left out of the self-test, or of the documentation.
#[tokio::test]
async fn each_missing_permission_is_named() {
    let forbidden = Forbidden::start();
    let documentation = include_str!("../../lock-runtime/src/store/redis/setup.rs");
    let permissions: Vec<_> = USER.iter().copied().filter(|word| word.starts_with('+')).collect();
    assert!(documentation.contains(&format!("`{}`", permissions.join(" "))), "documented");
    for permission in permissions {
        forbidden.ask(|admin| admin.command::<()>(&USER));
        forbidden.ask(|admin| admin.command::<()>(&["ACL", "SETUSER", "locks", &permission.replace('+', "-")]));
        let error = forbidden.locks().self_test().await.expect_err(permission);
        let SetupError::SelfTest { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), StoreErrorKind::Denied, "{error}");
        let name = permission[1..].to_uppercase();
        assert!(error.to_string().contains(&format!("`{name}`")), "{permission}: {error}");
        assert!(!error.to_string().contains("password"), "{error}");
    }
}

/// Promise: locks of this mode and those with scripts exclude each other, with waiters on both sides.
///
/// Turned red by: another value under the key than the one that scripts compare; an `EXEC` that was refused and counts as done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_exclude_each_other() {
    const ROUNDS: u32 = 40;
    let forbidden = Forbidden::start();
    let ordinary = LockManager::connect(&forbidden.server.url()).await.expect("connect");
    let scriptless = forbidden.locks();
    let (is_taken, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let callers = [&scriptless, &ordinary].into_iter().cycle().take(8).map(|locks| {
        let (locks, is_taken, count) = (locks.clone(), is_taken.clone(), count.clone());
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                enter(&locks, &is_taken).await.expect("its turn comes");
                count.fetch_add(1, Ordering::SeqCst);
                // And one that nobody else wants.
                let own = format!("own:{:?}:{round}", tokio::task::id());
                let guard = locks.lock(own).ttl(TTL).acquire().await.expect("free");
                guard.extend(2 * TTL).await.expect("ours");
                guard.release().await.expect("ours");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    assert_eq!(count.load(Ordering::SeqCst), 8 * ROUNDS);
    assert_eq!(forbidden.ask(Admin::keys), [""; 0]);
}

/// Promise: a lock that has become somebody else's between the look and the step is left alone, whatever the step is.
///
/// Turned red by: a key that is not watched; a watch that begins after the look.
#[tokio::test]
async fn what_changes_in_between_is_left_alone() {
    let forbidden = Forbidden::start();
    let proxy = Proxy::start(forbidden.server.port()).await;
    let url = format!("redis://locks:password@127.0.0.1:{}/", proxy.port());
    let store = RedisStore::open(&url).expect("a good URL").without_scripts().expect("one node");
    let locks = LockManager::builder(store.operation_timeout(SOON)).build();
    for step in ["release", "extend", "set", "keep"] {
        let floor = if step == "keep" { TTL } else { Duration::ZERO };
        let guard = locks.lock("work").ttl(TTL).min_hold(floor).acquire().await.expect("free");
        let caught = proxy.next(Way::Requests, command("MULTI"), Conduct::Hold);
        let acting = async {
            match step {
                "extend" => guard.extend(2 * TTL).await,
                "set" => guard.set_ttl(TTL / 2).await,
                _ => guard.release().await,
            }
        };
        let meanwhile = async {
            caught.happened().await;
            forbidden.ask(|admin| {
                assert!(admin.delete("work"));
                admin.set("work", "somebody else's", &["PX", "60000"]);
            });
            caught.let_go().await;
        };
        let (acted, ()) = tokio::join!(acting, meanwhile);
        assert!(acted.as_ref().is_err_and(LockError::is_lost), "{step}: {acted:?}");
        forbidden.ask(|admin| {
            assert_eq!(admin.get("work").as_deref(), Some("somebody else's"), "{step}");
            assert!(admin.remaining("work").is_some_and(|left| left > TTL * 3 / 4 && left <= TTL), "{step}");
            admin.delete("work");
        });
    }
}

/// Promise: transactions on one connection do not take each other's watches away.
///
/// Turned red by: transactions that do not take turns: the `EXEC` of the first, refused because the other's key has changed, ends the
/// watch of the second, which then deletes what is not ours.
#[tokio::test]
async fn transactions_take_turns() {
    let forbidden = Forbidden::start();
    let proxy = Proxy::start(forbidden.server.port()).await;
    let url = format!("redis://locks:password@127.0.0.1:{}/", proxy.port());
    let store = RedisStore::open(&url).expect("a good URL").without_scripts().expect("one node");
    let locks = LockManager::builder(store.operation_timeout(SOON)).build();
    let lock = async |key: &str| locks.lock(key).ttl(TTL).acquire().await.expect("free");
    lock("first").await.release().await.expect("ours");
    let (first, second) = (lock("first").await, lock("second").await);
    let caught = proxy.next(Way::Replies, command("WATCH"), Conduct::Hold);
    let meanwhile = async {
        caught.happened().await;
        // If transactions do not take turns, the second has begun by then.
        tokio::time::sleep(Duration::from_millis(100)).await;
        forbidden.ask(|admin| {
            assert!(admin.delete("second"));
            admin.set("second", "somebody else's", &["PX", "60000"]);
        });
        caught.let_go().await;
    };
    let (first, second, ()) = tokio::join!(first.release(), second.release(), meanwhile);
    first.expect("ours");
    assert!(second.as_ref().is_err_and(LockError::is_lost), "{second:?}");
    assert_eq!(forbidden.ask(|admin| admin.get("second")).as_deref(), Some("somebody else's"));
}

/// Promise: whatever is lost on the way, the lock does not stay: an acquisition whose caller has gone, a transaction whose request or
/// answer is lost in the middle; and the connection that follows works.
///
/// Turned red by: a clean-up on another connection than the request; one that gives up after the first message of two.
#[tokio::test]
async fn nothing_stays_behind() {
    let forbidden = Forbidden::start();
    let proxy = Proxy::start(forbidden.server.port()).await;
    let url = format!("redis://locks:password@127.0.0.1:{}/", proxy.port());
    let store = RedisStore::open(&url).expect("a good URL").without_scripts().expect("one node");
    let locks = LockManager::builder(store.operation_timeout(Duration::from_millis(300))).build();
    let lock = || locks.lock("work").ttl(TTL).wait(SOON).acquire();
    let is_gone = || eventually("the lock is given back", SOON, || !forbidden.ask(|admin| admin.exists("work")));

    let caught = proxy.next(Way::Requests, command("SET"), Conduct::Hold);
    let (taken, ()) = tokio::join!(tokio::time::timeout(Duration::from_millis(50), lock()), caught.happened());
    assert!(taken.is_err(), "its caller has gone");
    caught.let_go().await;
    drop(lock().await.expect("long before its ttl is over"));
    is_gone().await;

    for (way, word, conduct) in [
        (Way::Requests, "WATCH", Conduct::CutAfter(5)),
        (Way::Replies, "WATCH", Conduct::Drop),
        (Way::Requests, "EXEC", Conduct::CutAfter(5)),
        (Way::Replies, "EXEC", Conduct::Drop),
    ] {
        let guard = lock().await.expect("given back");
        let caught = proxy.next(way, command(word), conduct);
        let released = guard.release().await;
        caught.happened().await;
        // Asked again where the connection broke: then it is known.
        if let Err(error) = released {
            assert!(error.is_unavailable(), "{way:?} {word} {conduct:?}: {error}");
        }
        is_gone().await;
    }
}

/// Promise: a replica says nothing of a lock that it has not heard of.
///
/// Turned red by: `GET` in the place of `GETEX`.
#[tokio::test]
async fn a_replica_does_not_deny_a_lock() {
    let forbidden = Forbidden::start();
    let master = RedisServer::start();
    let locks = forbidden.locks();
    let guard = locks.lock("work").ttl(TTL).acquire().await.expect("free");
    demote(&forbidden.server, &master).await;
    for outcome in [guard.extend(2 * TTL).await, guard.ttl().await.map(drop), guard.release().await] {
        let error = outcome.expect_err("it is a replica");
        assert!(error.is_unavailable(), "{error}");
    }
}

/// Promise: where the server compares and deletes in one command, and the user may use it, a lock is given back by that.
///
/// Turned red by: a transaction for what needs none. (On servers without the command, all other tests here are of transactions.)
#[tokio::test]
async fn a_native_compare_and_delete_is_used() {
    let forbidden = Forbidden::start();
    let has_it = forbidden.ask(|admin| admin.try_command::<()>(&["ACL", "SETUSER", "locks", "+delifeq"]).is_ok());
    let proxy = Proxy::start(forbidden.server.port()).await;
    let url = format!("redis://locks:password@127.0.0.1:{}/", proxy.port());
    let store = RedisStore::open(&url).expect("a good URL").without_scripts().expect("one node");
    let locks = LockManager::builder(store).build();
    for _ in 0..2 {
        let guard = locks.lock("work").ttl(TTL).acquire().await.expect("free");
        guard.release().await.expect("ours");
    }
    let guard = locks.lock("work").ttl(TTL).acquire().await.expect("free");
    forbidden.ask(|admin| admin.set("work", "somebody else's", &["PX", "60000"]));
    assert!(guard.release().await.expect_err("not ours").is_lost());
    let asked = proxy.requests(0);
    let count = |name: &str| asked.iter().filter(|request| *request == name).count();
    if has_it {
        assert_eq!((count("DELIFEQ"), count("WATCH")), (3, 0), "{asked:?}");
    } else {
        assert_eq!((count("DELIFEQ"), count("WATCH")), (1, 3), "asked for once: {asked:?}");
    }
}
