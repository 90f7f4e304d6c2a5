//! Looking at locks on a real server, with the permissions that there are.

use lock_runtime::{LocalState, LockError, LockKind, LockManager, StoreErrorKind};
use lock_tests::{Admin, RedisServer, eventually};

use crate::{AT_ONCE, TTL, connect, executed};

/// A user of the server who may do this and nothing else.
async fn connect_as(server: &RedisServer, admin: &mut Admin, name: &str, rights: &str) -> LockManager {
    let words = ["ACL", "SETUSER", name, "on", ">secret", "-@all", "+ping"];
    admin.command::<()>(&words.into_iter().chain(rights.split(' ')).collect::<Vec<_>>());
    let url = format!("redis://{name}:secret@127.0.0.1:{}/", server.port());
    LockManager::connect(&url).await.expect("connect")
}

/// Promise: one request that changes nothing tells the holder, its time and how many processes stand in line; who waits is found
/// in the list of the process that waits. What is no lock is told as that.
///
/// Turned red by: a line of another name, or of the callers and not of the processes; a script that writes; a request for the
/// holder and one for the line; an error for a key of another type.
#[tokio::test]
async fn a_look_tells_holder_and_line_in_one_request() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let (holder, watcher) = (connect(&server).await, connect(&server).await);
    let guard = holder.lock("looked at").ttl(TTL).metadata("web-1").acquire().await.expect("free");
    let waiting = [connect(&server).await, connect(&server).await];
    // In turn, as they come: each gives it back for the next.
    let turn = async |locks: LockManager| {
        let guard = locks.lock("looked at").name("waiter").ttl(TTL).wait(TTL).acquire().await.expect("its turn");
        guard.release().await
    };
    let calls: Vec<_> = waiting.iter().chain(&waiting).map(|locks| tokio::spawn(turn(locks.clone()))).collect();

    let look = async || watcher.inspect("looked at").await.expect("an answer").expect("held");
    let begun = std::time::Instant::now();
    let info = loop {
        let info = look().await;
        if info.in_line == Some(2) {
            break info;
        }
        assert!(begun.elapsed() < AT_ONCE, "{info:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!((info.kind, info.holder.to_string().as_str()), (LockKind::Held, "web-1"));
    assert!(info.remaining.is_some_and(|left| left > TTL / 2 && left <= TTL), "{info:?}");
    assert_eq!(info.waiting_here, 0, "nobody waits through this manager");
    let here = waiting[0].inspect("looked at").await.expect("an answer").expect("held");
    assert_eq!((here.in_line, here.waiting_here), (Some(2), 2));
    for locks in &waiting {
        let listed = locks.locks();
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert!(listed.iter().all(|lock| (lock.label, lock.state) == ("waiter", LocalState::Waiting)), "{listed:?}");
    }

    // Whoever waits asks as well, once a second: in one of a few tries, nobody but who looks has asked.
    let asked = |admin: &mut Admin| executed(admin, "evalsha") + executed(admin, "eval") + executed(admin, "llen");
    let mut counted = Vec::new();
    for _ in 0..5 {
        let before = asked(&mut admin);
        look().await;
        counted.push(asked(&mut admin) - before);
    }
    // The script, and the LLEN inside of it.
    assert!(counted.iter().all(|count| *count >= 2) && counted.contains(&2), "{counted:?}");
    let reader = connect_as(&server, &mut admin, "reader", "~looked* +get +pttl +llen +eval +evalsha").await;
    let read = reader.inspect("looked at").await.expect("reading is all that it takes").expect("held");
    assert_eq!((read.in_line, read.holder.to_string().as_str()), (Some(2), "web-1"));

    guard.release().await.expect("released");
    for call in calls {
        call.await.expect("no panic").expect("released");
    }
    assert_eq!(watcher.inspect("looked at").await.expect("an answer"), None);
    admin.command::<()>(&["RPUSH", "a list", "x"]);
    admin.command::<()>(&["SET", "for ever", "x"]);
    for key in ["a list", "for ever"] {
        let info = watcher.inspect(key).await.expect("an answer").expect("something");
        assert_eq!((info.kind, info.remaining), (LockKind::NoLock, None), "{key}");
    }
}

/// Promise: who may not see the line sees the holder all the same, and is told that the line is unknown; who may not see the
/// holder, and who asks a server that is a replica now, is told neither that nobody holds it nor what is out of date.
///
/// Turned red by: a line that is asked for by `redis.call`; no second try without it; an error of `GET` for a key of another type; on
/// servers before 7.0, the end of the script without the look whether it is a replica; a script that is refused out of memory.
#[tokio::test]
async fn a_look_with_less_than_all_permissions() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let holder = connect(&server).await;
    let _guard = holder.lock("held").ttl(TTL).metadata("web-1").acquire().await.expect("free");
    for (name, rights) in [
        // The list in the documentation, without what hand-off takes.
        ("minimal", "~* +set +get +del +pttl +pexpire +time +eval +evalsha"),
        ("narrow", "~held +get +pttl +llen +eval +evalsha"),
    ] {
        let locks = connect_as(&server, &mut admin, name, rights).await;
        let info = locks.inspect("held").await.expect("an answer").expect("held");
        assert_eq!((info.in_line, info.holder.to_string().as_str()), (None, "web-1"), "{name}");
        assert!(locks.inspect("free").await.is_ok_and(|info| info.is_none()) == (name == "minimal"), "{name}");
    }
    let blind = connect_as(&server, &mut admin, "blind", "~* +pttl +llen +eval +evalsha").await;
    let error = blind.inspect("held").await.expect_err("it may not read");
    let LockError::Unavailable { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), StoreErrorKind::Denied, "{error}");

    // Out of memory, people look more than ever.
    admin.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(holder.inspect("held").await.expect("an answer").is_some());
    admin.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    admin.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    for key in ["held", "free"] {
        let error = holder.inspect(key).await.expect_err("a replica may be behind");
        assert!(
            matches!(&error, LockError::Unavailable { source, .. } if source.kind() == StoreErrorKind::Refused),
            "{error}"
        );
    }
    admin.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    eventually("a master", AT_ONCE, || !admin.exists("free")).await;
    assert!(holder.inspect("held").await.expect("an answer").is_some());
}
