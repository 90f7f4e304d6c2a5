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

/// In a cluster, each lock by itself: keys of several slots are no lock there, so all keys are given one part in braces.
mod cluster {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};

    use lock_runtime::store::waiter::Waiter;
    use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
    use lock_runtime::{Background, LockKey, Moment};
    use lock_tests::{Admin, RedisCluster};

    use super::{Duration, Fixture, RedisStore};

    /// In the slot of all keys.
    const TAG: &str = "{conformance}:";

    struct Cluster {
        cluster: RedisCluster,
        admin: Mutex<Admin>,
    }

    /// A store in which all keys have the same part in braces.
    #[derive(Debug)]
    struct Tagged(RedisStore);

    fn tagged(claim: &Claim) -> Claim {
        let mut claim = claim.clone();
        claim.keys = claim.keys.iter().map(|key| LockKey::from(format!("{TAG}{key}"))).collect();
        claim.fence = claim.fence.map(|counter| LockKey::from(format!("{TAG}{counter}")));
        claim
    }

    fn untagged(key: &LockKey) -> LockKey {
        LockKey::from(key.as_str().strip_prefix(TAG).expect("our tag"))
    }

    impl Store for Tagged {
        fn now(&self) -> Moment {
            self.0.now()
        }

        fn fences(&self) -> bool {
            true
        }

        fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
            Box::pin(async move {
                Ok(match self.0.acquire(&tagged(claim)).await? {
                    Attempt::Busy { value, remaining, key: Some(key), .. } => {
                        Attempt::busy_at(untagged(&key), value, remaining)
                    }
                    Attempt::Foreign { key, .. } => Attempt::foreign(untagged(&key)),
                    attempt => attempt,
                })
            })
        }

        fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
            Box::pin(async move { self.0.extend(&tagged(claim), ttl, extension).await })
        }

        fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
            Box::pin(async move { self.0.remaining(&tagged(claim)).await })
        }

        fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
            Box::pin(async move { self.0.release(&tagged(claim)).await })
        }

        fn abandon(&self, claim: Claim, done: Done) {
            self.0.abandon(tagged(&claim), done);
        }

        fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            self.0.drain()
        }

        fn waiter(&self, _: Claim) -> Option<Box<dyn Waiter>> {
            // Its claim would come back with a tag. Lines in clusters: `tests/cluster`.
            None
        }

        fn attach(&self, background: &Background) {
            self.0.attach(background);
        }
    }

    impl Cluster {
        fn ask<T>(&self, question: impl FnOnce(&mut Admin) -> T) -> T {
            question(&mut self.admin.lock().expect("no case has panicked"))
        }
    }

    impl Fixture for Cluster {
        type Store = Arc<Tagged>;

        async fn new() -> Self {
            let cluster = RedisCluster::start().await;
            let admin = Mutex::new(cluster.admin_of(TAG));
            Self { cluster, admin }
        }

        fn store(&self) -> Arc<Tagged> {
            Arc::new(Tagged(RedisStore::open(&self.cluster.url()).expect("a good URL")))
        }

        async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) {
            let millis = ttl.map(|ttl| ttl.as_millis().to_string());
            let options: Vec<&str> = millis.iter().flat_map(|millis| ["PX", millis.as_str()]).collect();
            self.ask(|admin| admin.set(&format!("{TAG}{key}"), value, &options));
        }

        async fn get(&self, key: &str) -> Option<String> {
            self.ask(|admin| admin.get(&format!("{TAG}{key}")))
        }

        async fn time_left(&self, key: &str) -> Option<Duration> {
            self.ask(|admin| admin.remaining(&format!("{TAG}{key}")))
        }

        async fn forget(&self) {
            self.ask(Admin::forget_scripts);
        }
    }

    lock_runtime::conformance_tests!(
        #[tokio::test]
        Cluster
    );
}
