//! Locks on servers on which nobody may run scripts.

use std::sync::Mutex;
use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_runtime::test_util::conformance::Fixture;
use lock_tests::{Admin, RedisServer};

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
