//! Connections that hang, die, belong to another runtime or are waited for by nobody.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use lock_runtime::store::Store;
use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, LostCause};
use lock_tests::{Conduct, Proxy, RedisServer, eventually};

const TTL: Duration = Duration::from_secs(60);

/// What anything may take here that does not wait for a lease: above every timeout of the store, on a busy machine.
const DEADLINE: Duration = Duration::from_millis(2500);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn open(url: &str) -> RedisStore {
    RedisStore::open(url).expect("a good address")
}

fn manager(store: &RedisStore) -> LockManager {
    LockManager::builder(store.clone()).build()
}

/// Awaits `future`, and fails if it takes longer than `limit`.
async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("{what} takes longer than {limit:?}"))
}

/// Polls `future` once, on behalf of nobody, as a future that a `select!` has turned away from.
fn poll_once(future: impl Future) {
    let polled = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

/// Makes a connection, and the server know the scripts that a guard needs.
async fn warm_up(locks: &LockManager) {
    let guard = locks.lock("warm-up").ttl(TTL).acquire().await.expect("the lock");
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
}

/// Promise: a `set_ttl` that was not answered may be executed at any later time, also after one that was, if they went down
/// two connections; so its holder never believes in the lock beyond it, and there are never two holders.
///
/// Turned red by: a later, confirmed `set_ttl` that makes the lease forget an unconfirmed one.
#[tokio::test]
async fn an_unanswered_set_ttl_never_makes_two_holders() {
    const SHORT: Duration = Duration::from_secs(2);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = manager(&open(&proxy.url()).operation_timeout(ms(300)));
    warm_up(&locks).await;
    let first = locks.lock("shortened").ttl(TTL).acquire().await.expect("the lock");
    proxy.conduct(0, Conduct::Hold);
    let error = first.set_ttl(SHORT).await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    first.set_ttl(TTL).await.expect("on a new connection");
    assert_eq!(proxy.connections(), 2);
    assert!(admin.remaining("shortened") > Some(TTL / 2));

    proxy.conduct(0, Conduct::Pass);
    eventually("the first one is executed", DEADLINE, || admin.remaining("shortened") <= Some(SHORT)).await;
    let others = LockManager::connect(&server.url()).await.expect("connect");
    let second = others.lock("shortened").ttl(TTL).wait(2 * SHORT).acquire().await.expect("after the short lease");
    assert_eq!(first.remaining(), Duration::ZERO);
    assert!(second.remaining() > TTL / 2);
}

/// Promise: a `set_ttl` whose connection died under it counts as unanswered, also where it was confirmed on the next one: the first
/// request may still be carried out, after whatever is confirmed later.
///
/// Turned red by: believing the answer to the second request.
#[tokio::test]
async fn a_set_ttl_that_was_sent_twice_is_not_believed() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let locks = manager(&open(&proxy.url()));
    warm_up(&locks).await;
    let guard = locks.lock("twice").ttl(TTL).acquire().await.expect("the lock");
    proxy.conduct_replies(0, Conduct::CutAfter(0));
    let error = guard.set_ttl(TTL / 2).await.expect_err("its answer was lost");
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(proxy.connections(), 2, "it was sent again");
    assert_eq!(server.admin().remaining("twice").map(|left| left <= TTL / 2), Some(true));
    assert!(guard.remaining() <= TTL / 2, "{:?}", guard.remaining());
    // An extension commutes with itself.
    proxy.conduct_replies(1, Conduct::CutAfter(0));
    guard.extend(TTL).await.expect("extended, on another connection");
    guard.release().await.expect("released");
}

/// Promise: a caller that began to connect and is not polled any more keeps nobody else waiting.
///
/// Turned red by: dialling inside of the caller's own future, with the others in line behind it.
#[tokio::test]
async fn a_dial_that_nobody_polls_keeps_nobody_waiting() {
    let server = RedisServer::start();
    let locks = LockManager::connect_lazy(&server.url()).expect("a good address");
    let mut forgotten = Box::pin(locks.lock("forgotten").ttl(TTL).acquire());
    poll_once(forgotten.as_mut());
    for _ in 0..2 {
        let guard = within("the next caller", DEADLINE, locks.lock("next").ttl(TTL).acquire()).await;
        guard.expect("the lock").release().await.expect("released");
    }
    drop(forgotten);
}

/// Promise: what has to wait for an extension that nobody polls any more does not wait for longer than the lease lasts, and then
/// says that the lock is lost.
///
/// Turned red by: waiting for one's turn without an end.
#[tokio::test]
async fn an_extension_that_nobody_polls_costs_at_most_the_lease() {
    const LEASE: Duration = Duration::from_millis(500);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    warm_up(&locks).await;
    let started = Instant::now();
    let guard = locks.lock("extended").ttl(LEASE).acquire().await.expect("the lock");
    let mut forgotten = Box::pin(guard.extend(TTL));
    poll_once(forgotten.as_mut());
    let error = within("its turn", LEASE + DEADLINE, guard.set_ttl(TTL)).await.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, completed: false, .. }), "{error}");
    assert!(started.elapsed() > LEASE / 2, "it was its turn: {:?}", started.elapsed());
    assert_eq!(guard.remaining(), Duration::ZERO);

    // The forgotten one was executed all the same; giving back does not leave its minute behind.
    eventually("the forgotten one is executed", DEADLINE, || admin.exists("extended")).await;
    drop(forgotten);
    drop(guard);
    eventually("the dropped guard's key is gone", DEADLINE, || !admin.exists("extended")).await;
}

/// Promise: a timeout may be as long as one likes, `Duration::MAX` included.
///
/// Turned red by: arithmetic on timeouts that overflows; handing them to the operating system as they are.
#[tokio::test]
async fn a_timeout_may_be_for_ever() {
    let server = RedisServer::start();
    let day = Duration::from_secs(24 * 60 * 60);
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), 60 * day, Duration::from_secs(u64::from(u32::MAX))] {
        let locks = manager(&open(&server.url()).operation_timeout(timeout).connect_timeout(timeout));
        let guard = within("the call", DEADLINE, locks.lock("patient").ttl(TTL).acquire()).await;
        let guard = guard.unwrap_or_else(|error| panic!("{timeout:?}: {error}"));
        guard.extend(TTL).await.expect("extended");
        guard.release().await.expect("released");
    }
}

/// Promise: what was sent to a stopped server and given up by its caller leaves nothing behind, even if the server goes on
/// only when the lease would long be over, and does not know the script that cleans up.
///
/// Turned red by: a clean-up that ends with the TTL; one by `EVALSHA`, whose `NOSCRIPT` nobody is there to hear.
#[tokio::test]
async fn a_stopped_server_leaves_nothing_behind() {
    const LEASE: Duration = Duration::from_millis(1200);
    for knows_scripts in [false, true] {
        let mut server = RedisServer::start();
        let mut admin = server.admin();
        let store = open(&server.url()).operation_timeout(ms(200)).connect_timeout(ms(200));
        let locks = manager(&store);
        store.ping().await.expect("a connection");
        if knows_scripts {
            warm_up(&locks).await;
        }
        let sets = |admin: &mut lock_tests::Admin| admin.command_counts().get("set").copied().unwrap_or_default();
        let before = sets(&mut admin);
        server.pause();
        let attempt = locks.lock("late").ttl(LEASE).acquire();
        assert!(tokio::time::timeout(ms(50), attempt).await.is_err());
        // The fault itself: it lasts for longer than the lease.
        tokio::time::sleep(2 * LEASE).await;
        server.resume();
        eventually("the late SET is executed", DEADLINE, || sets(&mut admin) > before).await;
        // Well before the lease ends by itself.
        eventually("what it set is gone", LEASE / 2, || !admin.exists("late")).await;
        within("the clean-up", DEADLINE, store.drain()).await;
    }
}

/// Promise: a guard that is dropped inside of a runtime is cleaned up by that runtime, also if its connection is broken and
/// another runtime has one that works: that one may be idle, and never get to it.
///
/// Turned red by: taking any connection that works.
#[test]
fn a_dropped_guard_is_cleaned_up_by_its_own_runtime() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    let locks = manager(&open(&server.url()).operation_timeout(ms(200)));
    let idle = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    idle.block_on(warm_up(&locks));
    let live = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    live.block_on(async {
        let guard = locks.lock("dropped").ttl(TTL).acquire().await.expect("the lock");
        server.pause();
        let error = guard.extend(TTL).await.expect_err("no answer");
        assert!(error.is_unavailable(), "{error}");
        server.resume();
        drop(guard);
        eventually("the dropped guard's key is gone", DEADLINE, || !admin.exists("dropped")).await;
    });
    drop(idle);
}

/// How long a clean-up may take to be settled when its connection is dead: a few questions on other connections.
const SETTLEMENT: Duration = Duration::from_secs(10);

/// Promise: the clean-up behind a request whose connection died is settled when the server has denied the claim a few times,
/// and not only when the TTL is over: `drain` and `shutdown` return.
///
/// Turned red by: waiting for the answer of the dead connection; not counting what the other connections say.
#[tokio::test]
async fn a_clean_up_after_a_dead_connection_settles() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let store = open(&proxy.url()).operation_timeout(ms(100));
    let locks = LockManager::builder(store).shutdown_grace(TTL).build();
    warm_up(&locks).await;
    proxy.conduct(0, Conduct::Hold);
    let error = locks.lock("unsent").ttl(TTL).acquire().await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    proxy.conduct(0, Conduct::Cut);
    within("the shutdown", SETTLEMENT, locks.shutdown()).await;
    assert!(!server.admin().exists("unsent"));
}

/// Promise: the same when the connection dies only after the server has denied the claim on others: those answers proved
/// nothing while the request could still be on its way, and they do not stand in the way of those that do.
///
/// Turned red by: counting denials while the connection lives, and waiting for an exact number of them.
#[tokio::test]
async fn a_clean_up_after_a_connection_that_died_late_settles() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let store = open(&proxy.url()).operation_timeout(ms(100));
    let locks = manager(&store);
    warm_up(&locks).await;
    let mut asked = || admin.command_counts().get("evalsha").copied().unwrap_or_default();
    let before = asked();
    proxy.conduct(0, Conduct::Hold);
    let error = locks.lock("unsent").ttl(TTL).acquire().await.expect_err("no answer");
    assert!(error.is_unavailable(), "{error}");
    eventually("three denials", SETTLEMENT, || asked() >= before + 3).await;
    let unsettled = tokio::time::timeout(ms(50), store.drain()).await;
    assert!(unsettled.is_err(), "the request may still be on its way");
    proxy.conduct(0, Conduct::Cut);
    within("the clean-up", SETTLEMENT, store.drain()).await;
    assert!(!server.admin().exists("unsent"));
}

/// Promise: that the server closed an idle connection (its `timeout`, a gateway, `CLIENT KILL`) is not noticed by the next
/// call, and although it is tried once. But for `set_ttl`, which is not to be carried out twice, the first time perhaps late: it
/// says that it does not know.
///
/// Turned red by: reporting the first error of a connection that was fine when it was last used.
///
/// On one thread: on several, the client library now and then loses a request that is handed to its driver in the very moment in
/// which that ends, and only the operation's deadline ends the wait for it.
#[tokio::test]
async fn an_idle_connection_that_was_closed_is_not_noticed() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let locks = LockManager::connect(&server.url()).await.expect("connect");
    let mut close = || {
        let closed: i64 = admin.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert_eq!(closed, 1, "the one connection");
    };
    // Many times: the end of the connection is there before the next call, or after its request was sent.
    for _ in 0..20 {
        close();
        let guard = locks.lock("idle").ttl(TTL).acquire().await.expect("the lock");
        close();
        guard.extend(2 * TTL).await.expect("extended");
        close();
        assert!(guard.ttl().await.expect("an answer") > TTL);
        close();
        match guard.set_ttl(TTL).await {
            Ok(()) => {}
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
        close();
        guard.release().await.expect("released");
    }
}

/// Promise: a `SET` that something on the way has sent twice is ours, and its lease counts from the first time: `remaining`
/// is never more than what the server keeps.
///
/// Turned red by: counting from the script that finds our own value there, or from the answer.
#[tokio::test]
async fn a_repeated_set_does_not_lengthen_the_lease() {
    const LEASE: Duration = Duration::from_secs(10);
    let server = RedisServer::start();
    let mut admin = server.admin();
    let proxy = Proxy::start(server.port()).await;
    let locks = manager(&open(&proxy.url()).operation_timeout(2 * DEADLINE));
    warm_up(&locks).await;
    let before = admin.command_counts()["set"];
    proxy.conduct(0, Conduct::Repeat(ms(1000)));
    let guard = locks.lock("repeated").ttl(LEASE).acquire().await.expect("the lock");
    assert_eq!(admin.command_counts()["set"], before + 2, "it was sent twice");
    // In this order: both run down.
    let kept = admin.remaining("repeated").expect("held");
    let believed = guard.remaining();
    assert!(believed <= kept && believed > LEASE / 2, "{believed:?} of {kept:?}");
    guard.release().await.expect("released");
}
