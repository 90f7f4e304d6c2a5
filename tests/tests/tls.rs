//! Encrypted connections, and users whose passwords change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lock_runtime::store::redis::{Credentials, RedisStore, Tls};
use lock_runtime::{LockError, LockManager, SetupError, distributed_lock};
use lock_tests::{Authority, Certificates, Identity, RedisCluster, RedisServer, ServerOptions, eventually};

const TTL: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(10);

fn trusted(authority: &Authority) -> Tls {
    Tls::new().root_certificates(authority.pem().as_bytes()).expect("good certificates")
}

fn server(server: &Identity, clients: Option<&Authority>) -> ServerOptions {
    let clients = clients.map(Authority::pem);
    RedisServer::options().tls(Certificates { clients, server: server.certificate.clone(), key: server.key.clone() })
}

fn manager(url: &str, tls: Tls) -> LockManager {
    LockManager::builder(RedisStore::open(url).expect("a good address").tls(tls).expect("good certificates")).build()
}

#[distributed_lock(key = "tls:{name}", ttl = "30s", wait = "10s", manager = locks)]
async fn add_one(locks: &LockManager, name: &str, sum: &AtomicUsize) -> Result<(), LockError> {
    // Read, wait, write: whoever comes in between is lost.
    let before = sum.load(Ordering::Relaxed);
    tokio::task::yield_now().await;
    sum.store(before + 1, Ordering::Relaxed);
    Ok(())
}

/// Promise: with TLS everything is as without it, waiting in line and the attribute included; all of it goes through the
/// encrypted port.
///
/// Turned red by: a connection that is made without TLS; a stream that keeps back what is flushed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_over_tls() {
    let authority = Authority::new("ours");
    let server = server(&authority.signs(&["localhost"]), None).start();
    let locks = [(); 2].map(|()| manager(&server.tls_url(), trusted(&authority)));
    locks[0].self_test().await.expect("a server for locks");
    let held = locks[0].lock("tls:handed").ttl(TTL).acquire().await.expect("the lock");
    let other = locks[1].clone();
    let waiting = tokio::spawn(async move { other.lock("tls:handed").ttl(TTL).wait(WAIT).acquire().await });
    let mut admin = server.admin();
    let stands_in_line = || admin.command::<u64>(&["LLEN", "tls:handed:lock_runtime:q1"]) == 1;
    eventually("somebody stands in line", WAIT, stands_in_line).await;
    // The admin's is the only one that is not encrypted: a third would be somebody's who should be.
    let clients: String = admin.command(&["CLIENT", "LIST"]);
    assert!(clients.lines().count() >= 3, "{clients}");
    let port = format!("laddr=127.0.0.1:{}", server.port());
    assert_eq!(clients.lines().filter(|client| client.contains(&port)).count(), 1, "{clients}");
    held.release().await.expect("released");
    waiting.await.expect("no panic").expect("the lock").release().await.expect("released");

    let sum = Arc::new(AtomicUsize::new(0));
    let adding = (0..20).map(|n| {
        let (locks, sum) = (locks[n % 2].clone(), sum.clone());
        tokio::spawn(async move { add_one(&locks, "sum", &sum).await })
    });
    for adding in adding.collect::<Vec<_>>() {
        adding.await.expect("no panic").expect("the lock");
    }
    assert_eq!(sum.load(Ordering::Relaxed), 20);
}

/// Promise: a server that wants to know who we are is shown the certificate, and refuses whoever has none, or one of
/// somebody else.
///
/// Turned red by: a client certificate that is not shown.
#[tokio::test]
async fn a_client_proves_who_it_is() {
    let (authority, others) = (Authority::new("ours"), Authority::new("theirs"));
    let server = server(&authority.signs(&["localhost"]), Some(&authority)).start();
    let identified = |by: &Authority| {
        let Identity { certificate, key } = by.signs(&["client"]);
        trusted(&authority).client_certificate(certificate.as_bytes(), key.as_bytes()).expect("a good certificate")
    };
    let locks = manager(&server.tls_url(), identified(&authority));
    locks.lock("a").ttl(TTL).acquire().await.expect("the lock").release().await.expect("released");
    for tls in [trusted(&authority), identified(&others)] {
        let error = manager(&server.tls_url(), tls).lock("a").ttl(TTL).acquire().await.expect_err("refused");
        assert!(matches!(error, LockError::Unavailable { .. }), "{error:?}");
    }
}

/// Promise: a server is believed only with a certificate for its name from somebody whom we trust; otherwise the error comes
/// within the time for connecting, and says what is wrong with it.
///
/// Turned red by: certificates that are not looked at; names that are not compared; a default that trusts everybody.
#[tokio::test]
async fn a_server_proves_who_it_is() {
    let (authority, others) = (Authority::new("ours"), Authority::new("theirs"));
    let of_this_name = server(&authority.signs(&["localhost"]), None).start();
    let of_another_name = server(&authority.signs(&["elsewhere.example"]), None).start();
    let plain = format!("rediss://localhost:{}/", of_this_name.port());
    let encrypted = of_this_name.tls_url().replacen("rediss://", "redis://", 1);
    for (what, url, tls, why) in [
        ("another authority", of_this_name.tls_url(), Some(trusted(&others)), "UnknownIssuer"),
        ("those of the system", of_this_name.tls_url(), None, "UnknownIssuer"),
        ("another name", of_another_name.tls_url(), Some(trusted(&authority)), "not valid for name"),
        ("no TLS there", plain, Some(trusted(&authority)), ""),
        ("no TLS here", encrypted, None, ""),
    ] {
        let store = RedisStore::open(&url).expect("a good address");
        let store = match tls {
            Some(tls) => store.tls(tls).expect("good certificates"),
            None => store,
        };
        let begun = Instant::now();
        let error = store.ping().await.expect_err("refused");
        assert!(begun.elapsed() < Duration::from_millis(2500), "{what}: {:?}", begun.elapsed());
        assert!(matches!(error, SetupError::Unreachable { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(why), "{what}: {error}");
    }
}

/// Promise: certificates and keys that cannot be used are refused when they are given, and the error says which; it never
/// contains the key.
///
/// Turned red by: a mistake that shows when the first lock is taken.
#[test]
fn unusable_certificates_are_refused_at_once() {
    let authority = Authority::new("ours");
    let [one, other] = ["one", "other"].map(|name| authority.signs(&[name]));
    let refused = |result: Result<Tls, SetupError>, what: &str| {
        let error = result.expect_err(what);
        assert!(matches!(error, SetupError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    };
    let empty = "there is no certificate in PEM form";
    refused(Tls::new().root_certificates(b"no certificate"), empty);
    refused(Tls::new().root_certificates(one.key.as_bytes()), empty);
    refused(Tls::new().client_certificate(one.certificate.as_bytes(), b"no key"), "the client's private key");
    refused(Tls::new().client_certificate(b"", one.key.as_bytes()), empty);
    let mixed = trusted(&authority).client_certificate(one.certificate.as_bytes(), other.key.as_bytes());
    let store = RedisStore::open("rediss://localhost").expect("a good address");
    let error = store.tls(mixed.expect("both are good")).expect_err("they do not belong together");
    assert!(error.to_string().contains("the client's certificate and key"), "{error}");
    assert!(!format!("{:?}", trusted(&authority)).contains("PRIVATE"));
}

/// Promise: whoever is provided is asked for at each new connection, so that a password may change while the program runs: what
/// is held stays held, and goes on with the new one.
///
/// Turned red by: a provider that is asked once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_change() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let mut password_is = |password: &str| {
        let rule = format!(">{password}");
        admin.command::<()>(&["ACL", "SETUSER", "locks", "on", "resetpass", &rule, "~*", "&*", "+@all"]);
    };
    password_is("first");
    let password = Arc::new(Mutex::new("first"));
    let provided = password.clone();
    let store = RedisStore::open(&server.url()).expect("a good address");
    let store = store.credentials(move || Credentials::new("locks", *provided.lock().expect("no panic")));
    let locks = LockManager::builder(store).build();
    let guard = locks.lock("rotated").ttl(TTL).acquire().await.expect("the lock");

    password_is("second");
    // The connection has not noticed.
    guard.extend(TTL).await.expect("extended");
    server.admin().command::<u64>(&["CLIENT", "KILL", "USER", "locks"]);
    let error = eventually_refused(&locks).await;
    assert!(error.to_string().contains("wrong user name or password"), "{error}");
    *password.lock().expect("no panic") = "second";
    guard.extend(TTL).await.expect("extended");
    guard.release().await.expect("released");
}

/// What a lock is refused with, once the connection is gone.
async fn eventually_refused(locks: &LockManager) -> LockError {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match locks.lock("other").ttl(TTL).acquire().await {
            Err(error) if error.to_string().contains("password") => return error,
            outcome => assert!(Instant::now() < deadline, "{outcome:?}"),
        }
    }
}

/// Promise: a cluster is spoken to in TLS at every node, also at those of which another one has told; locks are taken, waited for and
/// handed on; and one whose authority we do not trust is refused, in words.
///
/// Turned red by: TLS at the nodes of the URL alone; nodes that are looked for at their other port.
#[tokio::test]
async fn a_cluster_over_tls() {
    let authority = Authority::new("ours");
    let Identity { certificate, key } = authority.signs(&["127.0.0.1"]);
    let certificates = Certificates { clients: Some(authority.pem()), server: certificate, key };
    let cluster = RedisCluster::with(0, RedisServer::options().tls(certificates)).await;
    let trusting = |authority: &Authority, identity: &Identity| {
        let shown = trusted(authority).client_certificate(identity.certificate.as_bytes(), identity.key.as_bytes());
        manager(&cluster.tls_url(), shown.expect("a good certificate"))
    };
    let client = authority.signs(&["client"]);
    let (locks, others) = (trusting(&authority, &client), trusting(&authority, &client));
    let stranger = trusting(&Authority::new("theirs"), &client);
    locks.self_test().await.expect("on every node");
    // On all three, and whoever waits is called.
    for key in ["a", "b", "c", "d", "e", "f"] {
        let guard = locks.lock(key).ttl(TTL).acquire().await.expect("free");
        let others = others.clone();
        let waiting = tokio::spawn(async move { others.lock(key).ttl(TTL).wait(WAIT).acquire().await });
        guard.extend(2 * TTL).await.expect("ours");
        guard.release().await.expect("ours");
        waiting.await.expect("no panic").expect("given back").release().await.expect("ours");
    }
    let clients = |node: &RedisServer| {
        let clients: String = node.admin().command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
        let plain = format!("laddr=127.0.0.1:{} ", node.port());
        clients.lines().filter(|client| client.contains(&plain)).count()
    };
    // The one who asks.
    assert!(cluster.nodes().iter().all(|node| clients(node) == 1), "nobody else speaks in the clear");

    let error = stranger.lock("b").ttl(TTL).acquire().await.expect_err("nobody that we trust");
    assert!(error.is_unavailable() && error.to_string().contains("certificate"), "{error}");
}
