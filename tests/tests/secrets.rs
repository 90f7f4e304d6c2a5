//! No password, and no token, in anything that a person or a log gets to see.

use std::error::Error;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::{Attempt, Claim, Store, memory::MemoryStore};
use lock_runtime::{LockError, LockGuard, LockManager, SetupError, distributed_lock};
use lock_tests::{Log, RedisServer, eventually};

const PASSWORD: &str = "canary-in-the-coal-mine";
const TTL: Duration = Duration::from_secs(60);

/// Everything that was shown, and what must not be found in it.
#[derive(Default)]
struct Seen {
    texts: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
}

impl Seen {
    fn debug(&self, value: &impl Debug) {
        let mut texts = self.texts.lock().expect("no panic");
        texts.push(format!("{value:?}"));
        texts.push(format!("{value:#?}"));
    }

    fn error(&self, error: &impl Error) {
        self.debug(error);
        let mut texts = self.texts.lock().expect("no panic");
        texts.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            texts.push(format!("{error} {error:?}"));
            source = error.source();
        }
    }

    fn guard(&self, guard: &LockGuard) {
        self.debug(guard);
        self.debug(guard.token());
        self.debug(guard.key());
        self.tokens.lock().expect("no panic").push(guard.token().as_str().to_owned());
    }
}

/// Unwraps the error, keeps its texts, and checks its kind.
macro_rules! fails {
    ($seen:expr, $result:expr, $kind:pat) => {
        let error = $result.err().expect("it fails");
        assert!(matches!(error, $kind), "{error}");
        $seen.error(&error);
    };
}

/// Row 59 of the fault matrix.
///
/// Promise: a password and the full tokens are in no `Debug`, no `Display` and no log line, on any path.
///
/// Turned red by: a derived `Debug` of a type that holds the URL or a token; an error text that repeats the stored value.
#[tokio::test]
async fn row_59_nothing_secret_is_shown() {
    let log = Log::capture();
    let seen = Seen::default();
    let mut server = RedisServer::options().password(PASSWORD).start();
    let mut admin = server.admin();
    let store = RedisStore::open(&server.url()).expect("a good address");
    seen.debug(&store);
    let builder = LockManager::builder(store.operation_timeout(Duration::from_millis(200)));
    seen.debug(&builder);
    let locks = builder.shutdown_grace(Duration::from_millis(500)).build();
    let others = LockManager::connect(&server.url()).await.expect("connect");
    seen.debug(&locks);
    seen.debug(&locks.lock("key").ttl(TTL));

    addresses(&seen, &server).await;
    greetings(&seen).await;
    in_memory(&seen).await;
    held(&seen, &locks, &others, &mut admin).await;
    calls(&seen, &locks, &mut admin).await;
    forbidden(&seen, &server, &mut admin).await;
    silence(&seen, &locks, &mut server).await;

    locks.shutdown().await;
    fails!(seen, locks.lock("key").ttl(TTL).acquire().await, LockError::Unavailable { .. });

    let logged = log.lines();
    assert!(!logged.is_empty(), "the errors above were logged");
    let mut texts = seen.texts.into_inner().expect("no panic");
    texts.extend(logged);
    let tokens = seen.tokens.into_inner().expect("no panic");
    assert!(tokens.len() > 5 && tokens.iter().all(|token| token.len() == 32));
    for secret in tokens.iter().map(String::as_str).chain([PASSWORD]) {
        for text in &texts {
            assert!(!text.contains(secret), "{secret} is shown: {text}");
        }
    }
}

/// Addresses that cannot be used, servers that refuse.
async fn addresses(seen: &Seen, server: &RedisServer) {
    let port = server.port();
    for address in [
        format!("redis://:{PASSWORD}@127.0.0.1:port/"),
        format!("redis://{PASSWORD}@127.0.0.1:{port}/database"),
        format!("http://{PASSWORD}@127.0.0.1"),
        format!("{PASSWORD}@127.0.0.1:{port}"),
        format!("redis://:{PASSWORD}@[::1"),
        format!("rediss://:{PASSWORD}@127.0.0.1:99999/"),
    ] {
        fails!(seen, LockManager::connect_lazy(&address), SetupError::Address { .. });
        fails!(seen, LockManager::connect(&address).await, SetupError::Address { .. });
    }
    for address in [
        // A wrong password, no password, nobody there.
        format!("redis://:{PASSWORD}-and-more@127.0.0.1:{port}/"),
        format!("redis://{PASSWORD}:{PASSWORD}@127.0.0.1:{port}/"),
        format!("redis://127.0.0.1:{port}/"),
        format!("redis://:{PASSWORD}@127.0.0.1:1/"),
        format!("redis://:{PASSWORD}@127.0.0.1:{port}/999"),
        // Nobody who speaks TLS.
        format!("rediss://:{PASSWORD}@127.0.0.1:{port}/"),
    ] {
        let locks = LockManager::connect_lazy(&address).expect("a good address");
        seen.debug(&locks);
        fails!(seen, locks.lock("key").ttl(TTL).acquire().await, LockError::Unavailable { .. });
        fails!(seen, LockManager::connect(&address).await, SetupError::Unreachable { .. });
    }
}

/// Servers that repeat what they were greeted with, password included.
async fn greetings(seen: &Seen) {
    for words in ["unknown command `HELLO`, with args beginning with:", "no such thing here:", "HELLO or AUTH?"] {
        let port = echo(words);
        for address in [
            format!("redis://:{PASSWORD}@127.0.0.1:{port}/"),
            format!("redis://bob:{PASSWORD}@127.0.0.1:{port}/"),
            format!("redis://:{PASSWORD}@127.0.0.1:{port}/?protocol=resp3"),
            format!("redis://bob:{PASSWORD}@127.0.0.1:{port}/?protocol=resp3"),
        ] {
            let locks = LockManager::connect_lazy(&address).expect("a good address");
            fails!(seen, locks.lock("key").ttl(TTL).acquire().await, LockError::Unavailable { .. });
            fails!(seen, LockManager::connect(&address).await, SetupError::Unreachable { .. });
        }
    }
}

/// Starts a server that understands nothing, and answers every command with an error: `words`, then the command as it came.
fn echo(words: &'static str) -> u16 {
    fn answer(mut stream: TcpStream, words: &str) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            // `*2`, `$4`, `AUTH`, `$8`, `password`, and the next command.
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            for command in request.split('*').skip(1) {
                let said = command.lines().skip(1).filter(|line| !line.starts_with('$'));
                let said: Vec<_> = said.map(|word| format!("`{word}`")).collect();
                write!(stream, "-ERR {words} {}\r\n", said.join(", "))?;
            }
        }
    }

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // One after the other is not enough: clients keep their connections.
            std::thread::spawn(move || answer(stream, words));
        }
    });
    port
}

/// A store in memory has the tokens itself.
async fn in_memory(seen: &Seen) {
    let store = MemoryStore::new();
    let locks = LockManager::builder(store.clone()).build();
    let request = locks.lock("key").ttl(TTL);
    let guard = request.clone().acquire().await.expect("the lock");
    seen.guard(&guard);
    seen.debug(&store);
    seen.debug(&locks);
    seen.debug(&LockManager::builder(store.clone()));
    seen.debug(&locks.lock("other"));
    seen.debug(&request);
    let claim = Claim::new("key".into(), TTL, "metadata".into());
    seen.tokens.lock().expect("no panic").push(claim.token.as_str().to_owned());
    seen.debug(&claim);
    let attempt = store.acquire(&claim).await.expect("memory answers");
    assert!(matches!(&attempt, Attempt::Busy { value: Some(value), .. } if value.contains(guard.token().as_str())));
    seen.debug(&attempt);
    fails!(seen, request.acquire().await, LockError::Busy(_));
}

/// Busy, lost, foreign.
async fn held(seen: &Seen, locks: &LockManager, others: &LockManager, admin: &mut lock_tests::Admin) {
    let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the lock");
    seen.guard(&guard);
    for manager in [locks, others] {
        fails!(seen, manager.lock("key").ttl(TTL).acquire().await, LockError::Busy(_));
        let wait = Duration::from_millis(30);
        fails!(seen, manager.lock("key").ttl(TTL).wait(wait).acquire().await, LockError::Busy(_));
    }
    // Without metadata, the value is the token alone.
    let bare = locks.lock("bare").ttl(TTL).metadata("").acquire().await.expect("the lock");
    seen.guard(&bare);
    fails!(seen, others.lock("bare").ttl(TTL).acquire().await, LockError::Busy(_));
    bare.release().await.expect("released");

    admin.delete("key");
    fails!(seen, guard.extend(TTL).await, LockError::Lost { .. });
    fails!(seen, guard.release().await, LockError::Lost { .. });

    let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the lock");
    seen.guard(&guard);
    admin.set("key", &format!("{} stolen", guard.token().as_str()), &["PX", "60000"]);
    fails!(seen, guard.set_ttl(TTL).await, LockError::Lost { .. });
    drop(guard);
    admin.delete("key");

    // A foreign key with a token in it.
    admin.set("key", seen.tokens.lock().expect("no panic")[0].as_str(), &[]);
    fails!(seen, locks.lock("key").ttl(TTL).acquire().await, LockError::ForeignKey { .. });
    admin.delete("key");
}

/// The attribute's own errors.
async fn calls(seen: &Seen, locks: &LockManager, admin: &mut lock_tests::Admin) {
    #[distributed_lock(key = "key", ttl = TTL)]
    async fn without_manager() -> Result<(), LockError> {
        Ok(())
    }

    #[distributed_lock(key = "key", ttl = TTL, manager = locks, guard = lock)]
    async fn outer(locks: &LockManager, seen: &Seen) -> Result<(), LockError> {
        seen.guard(lock);
        inner(locks).await
    }

    #[distributed_lock(key = "key", ttl = TTL, manager = locks)]
    async fn inner(locks: &LockManager) -> Result<(), LockError> {
        Ok(())
    }

    #[distributed_lock(key = "key", ttl = "100ms", manager = locks, guard = lock)]
    async fn endless(locks: &LockManager, seen: &Seen) -> Result<(), LockError> {
        seen.guard(lock);
        std::future::pending().await
    }

    #[distributed_lock(key = "key", ttl = TTL, manager = locks, guard = lock)]
    async fn robbed(locks: &LockManager, seen: &Seen, admin: &mut lock_tests::Admin) -> Result<(), LockError> {
        seen.guard(lock);
        admin.set("key", lock.token().as_str(), &["PX", "60000"]);
        lock.extend(TTL).await
    }

    fails!(seen, without_manager().await, LockError::NoManager { .. });
    fails!(seen, outer(locks, seen).await, LockError::AlreadyHeld { .. });
    fails!(seen, endless(locks, seen).await, LockError::Lost { .. });
    fails!(seen, robbed(locks, seen, admin).await, LockError::Lost { .. });
    admin.delete("key");
    fails!(seen, locks.lock("").ttl(TTL).acquire().await, LockError::Invalid { .. });
    fails!(seen, locks.lock("key").ttl(Duration::ZERO).acquire().await, LockError::Invalid { .. });
}

/// A user who may connect, and little else: in front of a script and inside of one.
async fn forbidden(seen: &Seen, server: &RedisServer, admin: &mut lock_tests::Admin) {
    for rights in ["+ping", "+ping +set", "+ping +set +eval +evalsha +get"] {
        let password = format!(">{PASSWORD}");
        let words = ["ACL", "SETUSER", PASSWORD, "reset", "on", &password, "~*", "-@all"];
        let words: Vec<&str> = words.into_iter().chain(rights.split(' ')).collect();
        admin.command::<()>(&words);
        let address = format!("redis://{PASSWORD}:{PASSWORD}@127.0.0.1:{}/", server.port());
        let locks = LockManager::connect_lazy(&address).expect("a good address");
        match locks.lock("forbidden").ttl(TTL).acquire().await {
            Ok(guard) => {
                seen.guard(&guard);
                fails!(
                    seen,
                    locks.lock("forbidden").ttl(TTL).acquire().await,
                    LockError::Busy(_) | LockError::Unavailable { .. }
                );
                fails!(seen, guard.extend(TTL).await, LockError::Unavailable { .. });
                fails!(seen, guard.release().await, LockError::Unavailable { .. });
            }
            Err(error) => seen.error(&error),
        }
        admin.delete("forbidden");
    }
}

/// A server that hangs, while a lock is held and while one is asked for; and one that is gone.
async fn silence(seen: &Seen, locks: &LockManager, server: &mut RedisServer) {
    let mut admin = server.admin();
    let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the lock");
    seen.guard(&guard);
    server.pause();
    fails!(seen, guard.extend(TTL).await, LockError::Unavailable { .. });
    fails!(seen, locks.lock("other").ttl(TTL).acquire().await, LockError::Unavailable { .. });
    fails!(seen, guard.release().await, LockError::Unavailable { .. });
    server.resume();
    eventually("all is cleaned up", Duration::from_secs(5), || !admin.exists("key") && !admin.exists("other")).await;
    let guard = locks.lock("key").ttl(TTL).acquire().await.expect("the server is back");
    seen.guard(&guard);
    server.kill();
    fails!(seen, guard.ttl().await, LockError::Unavailable { .. });
    fails!(seen, guard.release().await, LockError::Unavailable { .. });
    fails!(seen, locks.lock("other").ttl(TTL).acquire().await, LockError::Unavailable { .. });
}
