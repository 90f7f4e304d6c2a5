//! Beside attributes that also rewrite the function: `#[tokio::main]`, `#[tokio::test]`, `#[tracing::instrument]`, and a second
//! lock.

use std::sync::atomic::{AtomicU64, Ordering};

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, note, noted, recorded, under};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// Promise: above `#[tokio::main]`, the main function runs under the lock.
#[test]
fn above_tokio_main() {
    #[distributed_lock(key = "main:{name}", ttl = "5s", manager = recorded())]
    #[tokio::main(flavor = "current_thread")]
    async fn program(name: &str) -> Result<usize, LockError> {
        body();
        tokio::task::yield_now().await;
        Ok(name.len())
    }
    #[distributed_lock(key = "main", ttl = "5s", manager = recorded(), on_error = |error| panic!("{error}"))]
    #[tokio::main]
    async fn without_result() {
        body();
    }
    drop(noted());
    assert_eq!(program("nightly").expect("free"), 7);
    assert_eq!(noted(), ["lock main:nightly", "body", "release main:nightly"]);
    without_result();
    assert_eq!(noted(), ["lock main", "body", "release main"]);
}

/// Promise: above `#[tokio::test]`, the test runs under the lock.
#[distributed_lock(key = "test", ttl = "5s", manager = recorded(), guard = lock)]
#[tokio::test]
async fn above_tokio_test() -> Result<(), LockError> {
    assert_eq!(noted(), ["lock test"]);
    assert_eq!(lock.key().as_str(), "test");
    Ok(())
}

/// Promise: the same with arguments to `#[tokio::test]`, and a lock failure that fails the test by itself.
#[distributed_lock(key = "test", ttl = "5s", manager = recorded())]
#[tokio::test(start_paused = true)]
async fn above_tokio_test_with_arguments() -> anyhow::Result<()> {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(noted(), ["lock test"]);
    Ok(())
}

/// Writes `span NAME` for every span of this file that is opened.
struct Spans(AtomicU64);

impl Subscriber for Spans {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Other tests run at the same time, without this subscriber: nothing may be remembered about a call site.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == module_path!()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        note(format!("span {}", span.metadata().name()));
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Promise: `#[instrument]` works above and below. Attributes are expanded from the top, and each wraps what it finds: above,
/// the span is around the body alone; below, around the waiting for the lock as well.
#[tokio::test]
async fn above_and_below_instrument() {
    #[tracing::instrument(skip_all, fields(id))]
    #[distributed_lock(key = "i:{id}", ttl = "5s", guard = lock)]
    async fn above(id: u64, _secret: &str) -> Result<u64, LockError> {
        body();
        tokio::task::yield_now().await;
        Ok(id + u64::from(lock.remaining().is_zero()))
    }
    #[distributed_lock(key = "i:{id}", ttl = "5s")]
    #[tracing::instrument(err)]
    async fn below(id: u64, mut text: String) -> Result<String, LockError> {
        body();
        text.push('!');
        Ok(text)
    }
    let _spans = tracing::subscriber::set_default(Spans(AtomicU64::new(0)));
    drop(noted());
    let locks = recorded();
    assert_eq!(locks.scope(above(1, "x")).await.expect("free"), 1);
    assert_eq!(noted(), ["lock i:1", "span above", "body", "release i:1"]);
    assert_eq!(locks.scope(below(1, "x".to_owned())).await.expect("free"), "x!");
    assert_eq!(noted(), ["span below", "lock i:1", "body", "release i:1"]);
}

/// Promise: twice on one function takes two locks, and gives them back in reverse.
#[tokio::test]
async fn two_locks() {
    #[distributed_lock(key = "upper:{id}", ttl = "5s", guard = upper)]
    #[distributed_lock(key = "lower:{id}", ttl = "5s", guard = lower)]
    async fn both(id: u64) -> Result<String, LockError> {
        body();
        Ok(format!("{} {}", upper.key(), lower.key()))
    }
    let locks = recorded();
    drop(noted());
    assert_eq!(locks.scope(both(1)).await.expect("free"), "upper:1 lower:1");
    assert_eq!(noted(), ["lock lower:1", "lock upper:1", "body", "release upper:1", "release lower:1"]);
}

/// Promise: an annotated function may call another one, and itself under another key.
#[tokio::test]
async fn recursion() {
    #[distributed_lock(key = "level:{level}", ttl = "5s")]
    async fn descend(level: u32) -> Result<u32, LockError> {
        note(format!("body {level}"));
        if level == 0 { Ok(0) } else { Ok(Box::pin(descend(level - 1)).await? + 1) }
    }
    drop(noted());
    assert_eq!(recorded().scope(descend(1)).await.expect("free"), 1);
    assert_eq!(noted(), ["lock level:1", "body 1", "lock level:0", "body 0", "release level:0", "release level:1"]);
    under("after", after()).await.expect("free");
}

#[distributed_lock(key = "after", ttl = "5s")]
async fn after() -> Result<(), LockError> {
    body();
    Ok(())
}
