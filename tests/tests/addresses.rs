//! Ways to say where a server is.

use std::time::Duration;

use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::RedisServer;

const TTL: Duration = Duration::from_secs(30);

#[distributed_lock(key = "address", ttl = "30s", manager = locks)]
async fn locked<T>(locks: &LockManager, body: impl Future<Output = T>) -> Result<T, LockError> {
    Ok(body.await)
}

/// Promise: a server is reached by name and port, and at a socket; with the password and in the database that the address
/// names, and locks in one database are none in another.
///
/// Turned red by: an address of which a part is dropped on the way to the greeting.
#[tokio::test]
async fn every_part_of_an_address_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("redis.sock");
    let socket = socket.to_str().expect("a path in UTF-8");
    let server = RedisServer::options().password("s3cret").arguments(["--unixsocket", socket]).start();
    let mut admin = server.admin();
    let port = server.port();
    let forms = [
        (format!("redis://:s3cret@127.0.0.1:{port}/1"), 1),
        (format!("valkey://default:s3cret@localhost:{port}/2"), 2),
        (format!("unix://{socket}?db=3&pass=s3cret"), 3),
        (format!("redis+unix://{socket}?db=4&user=default&pass=s3cret"), 4),
    ];
    let mut guards = Vec::new();
    for (url, database) in &forms {
        let locks = LockManager::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        // Held in all databases before this one.
        guards.push(locks.lock("same").ttl(TTL).acquire().await.unwrap_or_else(|error| panic!("{url}: {error}")));
        let busy = locks.lock("same").ttl(TTL).acquire().await.expect_err("it is held");
        assert!(busy.is_busy(), "{busy}");
        locked(&locks, async {
            admin.command::<()>(&["SELECT", &database.to_string()]);
            assert_eq!(admin.command::<u64>(&["EXISTS", "address", "same"]), 2, "in database {database}");
        })
        .await
        .expect("the lock");
    }
    for guard in guards {
        guard.release().await.expect("released");
    }
    for wrong in [format!("redis://127.0.0.1:{port}/1"), format!("unix://{socket}?pass=other")] {
        assert!(LockManager::connect(&wrong).await.is_err(), "{wrong}");
    }
}
