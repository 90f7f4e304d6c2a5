//! The Redis store under the conformance suite, each case on a server of its own. (The memory store: in `lock-runtime`.)

use std::sync::Mutex;
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::test_util::conformance::Fixture;
use lock_tests::{Admin, RedisServer};

struct Redis {
    server: RedisServer,
    admin: Mutex<Admin>,
}

impl Redis {
    fn ask<T>(&self, question: impl FnOnce(&mut Admin) -> T) -> T {
        question(&mut self.admin.lock().expect("no case has panicked"))
    }
}

impl Fixture for Redis {
    type Store = RedisStore;

    async fn new() -> Self {
        let server = RedisServer::start();
        let admin = Mutex::new(server.admin());
        Self { server, admin }
    }

    fn store(&self) -> RedisStore {
        RedisStore::open(&self.server.url()).expect("a good URL")
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
    Redis
);

/// Row 14 of the edge cases: answers that say nothing look different under RESP3, and mean the same.
mod resp3 {
    use super::{Duration, Fixture, Redis, RedisStore};

    struct Resp3(Redis);

    impl Fixture for Resp3 {
        type Store = RedisStore;

        async fn new() -> Self {
            Self(Redis::new().await)
        }

        fn store(&self) -> RedisStore {
            RedisStore::open(&format!("{}?protocol=resp3", self.0.server.url())).expect("a good URL")
        }

        async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
            self.0.put(key, value, ttl).await;
        }

        async fn get(&self, key: &str) -> Option<String> {
            self.0.get(key).await
        }

        async fn time_left(&self, key: &str) -> Option<Duration> {
            self.0.time_left(key).await
        }

        async fn forget(&self) {
            self.0.forget().await;
        }
    }

    lock_runtime::conformance_tests!(
        #[tokio::test]
        Resp3
    );
}
