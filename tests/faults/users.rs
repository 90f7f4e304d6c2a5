//! Servers that refuse because of who asks.

use std::time::{Duration, Instant};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, LostCause, SetupError, Store, StoreErrorKind, distributed_lock};
use lock_tests::{Admin, RedisServer, eventually};

use crate::servers::assert_unavailable;
use crate::{AT_ONCE, DEADLINE, TTL, executed, in_time, locked};

const WRONG: &str = "wrong user name or password";

/// What a call came to must be that the user may not do it: nothing was found out about the lock.
#[track_caller]
fn assert_denied<T>(what: &str, text: &str, result: Result<T, LockError>) {
    assert_unavailable(what, StoreErrorKind::Denied, text, result);
}

/// A user of the server who may do everything, with these changes.
fn set_user(admin: &mut Admin, changes: &[&str]) {
    let words: &[&str] = &["ACL", "SETUSER", "bob", "on", ">secret", "~*", "+@all"];
    admin.command::<()>(&[words, changes].concat());
}

fn url_of_user(server: &RedisServer) -> String {
    format!("redis://bob:secret@127.0.0.1:{}/", server.port())
}

/// Promise: a user who may not read keys learns that, and is told neither that the key is no lock nor that the lock was
/// lost; and since nobody could tell whose it is, the key stays as it is.
///
/// Turned red by: a script that takes every error of `GET` for "another type".
#[tokio::test]
async fn row_46_missing_permission_is_no_statement_about_the_lock() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    set_user(&mut admin, &["-get"]);
    let store = RedisStore::open(&url_of_user(&server)).expect("a good address");
    let locks = LockManager::builder(store.clone()).build();
    let others = LockManager::connect(&url_of_user(&server)).await.expect("bob may connect");
    let guard = locks.lock("denied").ttl(TTL).acquire().await.expect("a free lock needs no reading");
    let held = admin.get("denied");
    assert!(held.is_some());

    let text = "permission";
    assert_denied("a second holder", text, others.lock("denied").ttl(TTL).acquire().await);
    // It does not wait for something that only an administrator can change.
    let waiting = others.lock("denied").ttl(TTL).wait(TTL).acquire();
    let waiting = tokio::time::timeout(AT_ONCE, waiting).await;
    assert_denied("a waiting caller", text, waiting.expect("at once"));
    assert_denied("ttl", text, guard.ttl().await);
    assert_denied("extend", text, guard.extend(2 * TTL).await);
    assert!(guard.remaining() > TTL / 2, "it is still ours");
    assert_denied("set_ttl", text, guard.set_ttl(TTL).await);
    assert_denied("release", text, guard.release().await);
    // It is tried once more in the background, and given up.
    store.drain().await;
    assert_eq!(admin.get("denied"), held);

    // The same user, once the administrator has mended it.
    admin.command::<()>(&["ACL", "SETUSER", "bob", "+get"]);
    let error = others.lock("denied").ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
}

/// Promise: when the permission to extend is taken away in the middle of a renewed call, the body goes on until its lease ends,
/// and is dropped then, before the key can expire; the caller learns that the lock was lost, and it is given back.
///
/// Turned red by: a denied renewal that ends the lease at once, or lets it be believed in for longer.
#[tokio::test]
async fn row_46_permission_revoked_in_the_middle_of_a_call() {
    const LEASE: Duration = Duration::from_millis(1500);

    /// Looks at the key when the body is dropped.
    struct Dropped<'a> {
        admin: Admin,
        left: &'a mut Option<Duration>,
    }

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            *self.left = self.admin.remaining("revoked");
        }
    }

    #[distributed_lock(key = "revoked", ttl = LEASE, renew = "100ms", manager = locks)]
    async fn endless(locks: &LockManager, mut admin: Admin, left: &mut Option<Duration>) -> Result<(), LockError> {
        let before = executed(&mut admin, "pexpire");
        eventually("a renewal", DEADLINE, || executed(&mut admin, "pexpire") > before).await;
        admin.command::<()>(&["ACL", "SETUSER", "bob", "-pexpire"]);
        let _dropped = Dropped { admin, left };
        std::future::pending().await
    }

    let server = RedisServer::start();
    let mut admin = server.admin();
    set_user(&mut admin, &[]);
    let locks = LockManager::connect(&url_of_user(&server)).await.expect("connect");
    let (started, mut left) = (Instant::now(), None);
    let outcome = in_time("the loss", endless(&locks, server.admin(), &mut left)).await;
    let error = outcome.expect_err("the lease ended");
    assert!(matches!(error, LockError::Lost { cause: LostCause::Expired, completed: false, .. }), "{error}");
    assert!(started.elapsed() > LEASE / 2, "not at the first denied renewal: {:?}", started.elapsed());
    let took = started.elapsed();
    assert!(took < 3 * LEASE / 2, "not much later than at its end: {took:?}");
    // None: this machine was later than the drift that is allowed for.
    assert!(left.is_none_or(|left| left <= LEASE / 2), "at its end: {left:?}");
    eventually("it is given back", AT_ONCE, || !admin.exists("revoked")).await;
}

/// Promise: a user who is switched off, or whose password is changed, keeps what connections there are: what is held can be
/// extended and given back. On a new connection the server's refusal is told as what it is, and the password is not.
///
/// Turned red by: a refused greeting taken for a server that may come back; a text with the password.
#[tokio::test]
async fn row_46_user_off_or_password_rotated() {
    for (change, back) in [("off", "on"), ("resetpass", ">secret")] {
        let server = RedisServer::start();
        let mut admin = server.admin();
        set_user(&mut admin, &[]);
        let url = url_of_user(&server);
        let locks = LockManager::connect(&url).await.expect("connect");
        let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
        admin.command::<()>(&["ACL", "SETUSER", "bob", change]);

        guard.extend(2 * TTL).await.expect("extended");
        guard.release().await.expect("released");
        let error = LockManager::connect(&url).await.expect_err(change);
        let SetupError::Unreachable { source, .. } = &error else { panic!("{change}: {error}") };
        assert_eq!(source.kind(), StoreErrorKind::Denied, "{change}: {error}");
        assert!(error.to_string().contains(WRONG), "{change}: {error}");
        let fresh = LockManager::connect_lazy(&url).expect("a good address");
        let waiting = tokio::time::timeout(AT_ONCE, fresh.lock("work").ttl(TTL).wait(TTL).acquire()).await;
        let answer = waiting.expect("nobody waits for an administrator");
        assert!(!format!("{error} {error:?} {answer:?}").contains("secret"), "{change}: {error} {answer:?}");
        assert_denied(change, WRONG, answer);

        admin.command::<()>(&["ACL", "SETUSER", "bob", back]);
        locked(&fresh, async {}).await.expect("the user is back");
    }
}

/// Promise: when the user is deleted, and the connections with it, nothing is lost but the connection: the refusal is told, the
/// lock is believed in until its lease ends, and if the user comes back in time, so does everything else.
///
/// Turned red by: taking the end of a connection, or a refused greeting, for the loss of the lock.
#[tokio::test]
async fn row_46_user_deleted() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    set_user(&mut admin, &[]);
    let locks = LockManager::connect(&url_of_user(&server)).await.expect("connect");
    let guard = locks.lock("held").ttl(TTL).acquire().await.expect("the lock");
    let given_back = locks.lock("given back").ttl(TTL).acquire().await.expect("the lock");
    admin.command::<()>(&["ACL", "DELUSER", "bob"]);
    assert_denied("extend", WRONG, guard.extend(2 * TTL).await);
    assert_denied("ttl", WRONG, guard.ttl().await);
    assert_denied("another", WRONG, locks.lock("another").ttl(TTL).wait(TTL).acquire().await);
    let answer = given_back.release().await;
    assert!(!format!("{answer:?}").contains("secret"), "{answer:?}");
    assert_denied("release", WRONG, answer);
    assert!(guard.is_held());

    set_user(&mut admin, &[]);
    guard.extend(2 * TTL).await.expect("extended");
    guard.release().await.expect("still ours");
}

/// Promise: a server that wants a password and is not given one, or not the right one, says so when it is connected to; the text
/// has neither.
///
/// Turned red by: one text for both, or one with the password.
#[tokio::test]
async fn row_46_no_password_or_a_wrong_one() {
    let server = RedisServer::options().password("secret").start();
    for (credentials, told) in [("", "it wants a password; put it into the URL"), (":canary@", WRONG)] {
        let url = format!("redis://{credentials}127.0.0.1:{}/", server.port());
        let error = LockManager::connect(&url).await.expect_err("refused");
        let SetupError::Unreachable { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        let locks = LockManager::connect_lazy(&url).expect("a good address");
        assert_denied(told, told, locks.lock("work").ttl(TTL).wait(TTL).acquire().await);
    }
}
