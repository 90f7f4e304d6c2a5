//! The other arguments of the attribute.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::{LockError, LockGuard, LockManager, Retry, distributed_lock};
use lock_shape_tests::{Recorder, body, note, noted, recorded, under, while_busy};
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(7);

/// Promise: `ttl` is text or an expression, which may look at the arguments.
#[tokio::test(start_paused = true)]
async fn ttl() {
    #[distributed_lock(key = "o", ttl = "1m30s", guard = lock)]
    async fn text() -> Result<Duration, LockError> {
        body();
        lock.ttl().await
    }
    #[distributed_lock(key = "o", ttl = LEASE, guard = lock)]
    async fn constant() -> Result<Duration, LockError> {
        body();
        lock.ttl().await
    }
    #[distributed_lock(key = "o", ttl = LEASE * factor, guard = lock)]
    async fn of_arguments(factor: u32) -> Result<Duration, LockError> {
        body();
        lock.ttl().await
    }
    assert_eq!(under("o", text()).await.expect("free"), Duration::from_secs(90));
    assert_eq!(under("o", constant()).await.expect("free"), LEASE);
    assert_eq!(under("o", of_arguments(2)).await.expect("free"), 2 * LEASE);
}

/// Promise: `guard` binds the guard, which borrows may outlive an `.await`, also of a function that is generic.
#[tokio::test(start_paused = true)]
async fn guard() {
    async fn extended(guard: &LockGuard) -> Result<Duration, LockError> {
        guard.extend(Duration::from_secs(60)).await?;
        guard.ttl().await
    }
    #[distributed_lock(key = "o", ttl = "1s", guard = lock)]
    async fn lends<T: Default>(_: T) -> Result<(Duration, String), LockError> {
        body();
        let before = lock.token().as_str().to_owned();
        Ok((extended(lock).await?, before))
    }
    #[distributed_lock(key = "o", ttl = "1s", guard = r#await)]
    async fn raw() -> Result<bool, LockError> {
        body();
        Ok(r#await.remaining() > Duration::ZERO)
    }
    let (ttl, token) = under("o", lends(1)).await.expect("free");
    assert_eq!(ttl, Duration::from_secs(60));
    assert!(token.len() > 20);
    assert!(under("o", raw()).await.expect("free"));
}

/// Promise: `renew` stands alone or has an interval; that, `max_hold` and `min_hold` are text or an expression, which may
/// look at the arguments; and each reaches the request: what contradicts the TTL is an error of the call, and no body runs.
#[tokio::test(start_paused = true)]
async fn terms() {
    #[distributed_lock(key = "o", ttl = "5s", renew)]
    async fn renewed<T: Default>(_: T) -> Result<T, LockError> {
        body();
        Ok(T::default())
    }
    #[distributed_lock(key = "o", ttl = LEASE, renew = "1s", max_hold = "1m", min_hold = "2ms", on_lost = "proceed")]
    async fn text() -> Result<(), LockError> {
        body();
        sleep(Duration::from_millis(2)).await;
        Ok(())
    }
    #[distributed_lock(key = "o", ttl = "5s", renew = *every, on_lost = "cancel")]
    async fn interval(every: &Duration) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = "o", ttl = LEASE, renew, max_hold = limit * 2)]
    async fn longest(limit: Duration) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = "o", ttl = "5s", min_hold = floor.saturating_mul(2))]
    async fn shortest(floor: Duration) -> Result<(), LockError> {
        body();
        sleep(2 * floor).await;
        Ok(())
    }
    let second = Duration::from_secs(1);
    assert_eq!(under("o", renewed(7)).await.expect("free"), 0);
    under("o", text()).await.expect("free");
    under("o", interval(&second)).await.expect("free");
    under("o", longest(4 * second)).await.expect("free");
    under("o", shortest(Duration::from_millis(1))).await.expect("free");
    drop(noted());
    let locks = recorded();
    let refused = [
        (locks.scope(interval(&LEASE)).await, "the interval of `renew`"),
        (locks.scope(longest(3 * second)).await, "`max_hold` is shorter"),
        (locks.scope(shortest(3 * second)).await, "`min_hold` is longer"),
    ];
    for (outcome, why) in refused {
        let error = outcome.expect_err("it cannot be done");
        assert!(matches!(&error, LockError::Invalid { reason, .. } if reason.contains(why)), "{error}");
    }
    assert_eq!(noted(), [""; 0]);
}

/// Promise: `on_lost` says whether the body goes on when its lease has ended.
#[tokio::test(start_paused = true)]
async fn on_lost() {
    #[distributed_lock(key = "o", ttl = "5s", on_lost = "proceed", guard = lock)]
    async fn proceeds() -> Result<bool, LockError> {
        body();
        sleep(2 * LEASE).await;
        Ok(lock.remaining().is_zero())
    }
    #[distributed_lock(key = "o", ttl = "5s", on_lost = "cancel")]
    async fn is_cancelled() -> Result<bool, LockError> {
        body();
        sleep(2 * LEASE).await;
        note("to the end");
        Ok(true)
    }
    let locks = recorded();
    assert!(locks.scope(proceeds()).await.expect("the body's own result"));
    drop(noted());
    assert!(locks.scope(is_cancelled()).await.expect_err("its lease has ended").is_lost());
    assert_eq!(noted(), ["lock o", "body", "abandon o"]);
}

/// Promise: `fence` binds the token, an `i64`, under any name that is free, beside the guard and without it; each call has a
/// higher one. Without `fence`, a lock has none.
#[tokio::test]
async fn fence() {
    #[distributed_lock(key = "o", ttl = "5s", fence = token)]
    async fn alone<T: Default>(_: T) -> Result<i64, LockError> {
        body();
        tokio::task::yield_now().await;
        Ok(token)
    }
    #[distributed_lock(key = "o", ttl = "5s", fence = r#type, guard = lock, crate = crate::reexport::lock_runtime)]
    async fn raw() -> Result<bool, LockError> {
        body();
        Ok(Some(r#type) == lock.fence())
    }
    #[distributed_lock(key = "o", ttl = "5s", guard = lock)]
    async fn without() -> Result<Option<i64>, LockError> {
        body();
        Ok(lock.fence())
    }
    let locks = recorded();
    let first = locks.scope(alone(1)).await.expect("free");
    let second = locks.scope(alone(2)).await.expect("free");
    assert!(second > first && first > 0, "{first}, then {second}");
    assert!(under("o", raw()).await.expect("free"));
    assert_eq!(under("o", without()).await.expect("free"), None);
}

/// Promise: `metadata` is a template or an expression; it is what those read who find the lock busy.
#[tokio::test]
async fn metadata() {
    #[distributed_lock(key = "o", ttl = "5s", metadata = "worker {id} of {self_name.0}: {{50%}}", guard = lock)]
    async fn template(id: u8, self_name: (&str,)) -> Result<String, LockError> {
        body();
        Ok(lock.metadata().to_owned())
    }
    #[distributed_lock(key = "o", ttl = "5s", metadata = name.to_uppercase(), guard = lock)]
    async fn expression(name: &str) -> Result<String, LockError> {
        body();
        Ok(lock.metadata().to_owned())
    }
    #[distributed_lock(key = "o", ttl = "5s", metadata = "first", manager = locks)]
    async fn outer(locks: &LockManager) -> Result<Option<String>, LockError> {
        let locks = locks.clone();
        let other = tokio::spawn(async move { locks.lock("o").ttl(LEASE).acquire().await.map(drop) });
        let Err(LockError::Busy(busy)) = other.await.expect("no panic") else { panic!("two at once") };
        Ok(busy.holder.and_then(|holder| holder.metadata))
    }
    assert_eq!(under("o", template(1, ("acme",))).await.expect("free"), "worker 1 of acme: {50%}");
    assert_eq!(under("o", expression("n")).await.expect("free"), "N");
    assert_eq!(outer(&recorded()).await.expect("free").as_deref(), Some("first"));
}

/// Promise: `wait` waits for the lock, and no longer; `retry` says how to ask; `name` changes nothing but the label.
#[tokio::test(start_paused = true)]
async fn wait_and_retry() {
    #[distributed_lock(key = "o", ttl = "5s", wait = "2s", name = "o by name")]
    async fn waits() -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = "o", ttl = "5s", wait = limit * 2, retry = Retry::linear(delay).limit(3))]
    async fn by_expressions(limit: Duration, delay: Duration) -> Result<(), LockError> {
        body();
        Ok(())
    }
    async fn elapsed<T>(call: impl Future<Output = T>) -> Duration {
        let start = Instant::now();
        call.await;
        start.elapsed()
    }
    let second = Duration::from_secs(1);
    let waited = elapsed(while_busy("o", waits())).await;
    assert!((2 * second..3 * second).contains(&waited), "{waited:?}");
    // Another manager on the same store plays another process: it has to be asked again.
    let store = Recorder::new();
    let (here, elsewhere) = (LockManager::builder(store.clone()).build(), LockManager::builder(store).build());
    let held = elsewhere.lock("o").ttl(Duration::from_secs(60)).acquire().await.expect("free");
    let waited = elapsed(here.scope(by_expressions(5 * second, second))).await;
    assert!((2 * second..4 * second).contains(&waited), "three times, and not for 10 s: {waited:?}");
    held.release().await.expect("nobody took it");

    let locks = recorded();
    let held = locks.lock("o").ttl(LEASE).acquire().await.expect("free");
    let leave = async {
        sleep(second).await;
        held.release().await
    };
    let (waited, left) = tokio::join!(locks.scope(waits()), leave);
    waited.expect("it became free");
    left.expect("nobody took it");
}

/// Promise: `release = "background"` does not wait for the answer of the release; the lock is given back all the same.
#[tokio::test]
async fn release() {
    #[distributed_lock(key = "o", ttl = "5s", release = "background", manager = locks)]
    async fn background(locks: &LockManager) -> Result<u8, LockError> {
        body();
        Ok(1)
    }
    #[distributed_lock(key = "o", ttl = "5s", release = "wait", manager = locks)]
    async fn waiting(locks: &LockManager) -> Result<u8, LockError> {
        body();
        Ok(2)
    }
    let locks = recorded();
    drop(noted());
    assert_eq!(background(&locks).await.expect("free"), 1);
    assert_eq!(noted(), ["lock o", "body", "abandon o"]);
    assert_eq!(waiting(&locks).await.expect("given back"), 2);
    assert_eq!(noted(), ["lock o", "body", "release o"]);
}

#[derive(Clone)]
struct State {
    locks: LockManager,
    shared: Arc<LockManager>,
}

impl State {
    fn new() -> Self {
        let locks = LockManager::builder(Recorder::new()).key_prefix("mine:").build();
        Self { shared: Arc::new(locks.clone()), locks }
    }

    fn locks(&self) -> &LockManager {
        &self.locks
    }

    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = self.locks)]
    async fn field(&self, id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }

    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = &self.locks)]
    async fn reference(&mut self, id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }

    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = self.shared)]
    async fn arc(self, id: u8) -> Result<Self, LockError> {
        body();
        let _ = id;
        Ok(self)
    }

    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = self.locks())]
    async fn method(self: Arc<Self>, id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }

    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = Self::new().locks)]
    async fn function(id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
}

/// Promise: `manager` is any expression that is a manager, or refers to one, and goes before the one of the task.
#[tokio::test]
async fn manager() {
    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = state.locks)]
    async fn of_an_argument(state: &State, id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "o:{id}", ttl = "5s", manager = state.locks.clone())]
    async fn of_one_that_is_moved(state: State, id: u8) -> Result<State, LockError> {
        body();
        let _ = id;
        Ok(state)
    }
    let state = State::new();
    assert_eq!(under("mine:o:1", state.field(1)).await.expect("free"), 1);
    assert_eq!(under("mine:o:2", state.clone().reference(2)).await.expect("free"), 2);
    let state = under("mine:o:3", state.arc(3)).await.expect("free");
    assert_eq!(under("mine:o:4", Arc::new(state.clone()).method(4)).await.expect("free"), 4);
    assert_eq!(under("mine:o:5", State::function(5)).await.expect("free"), 5);
    assert_eq!(under("mine:o:6", of_an_argument(&state, 6)).await.expect("free"), 6);
    under("mine:o:7", of_one_that_is_moved(state, 7)).await.expect("free");
}

/// Promise: a call without any manager is an error that says so, and never runs the body.
#[tokio::test]
async fn no_manager() {
    #[distributed_lock(key = "o", ttl = "5s", on_busy = "skip")]
    async fn homeless() -> Result<(), LockError> {
        body();
        Ok(())
    }
    drop(noted());
    assert!(matches!(homeless().await, Err(LockError::NoManager { .. })));
    assert_eq!(noted(), [""; 0]);
}

/// Promise: `crate` says where the runtime is, for everything that the expansion names.
#[tokio::test]
async fn crate_path() {
    #[distributed_lock(
        key = "o:{id}:{id:02}",
        ttl = "5s",
        wait = "1s",
        retry = Retry::none(),
        metadata = "m",
        manager = locks,
        guard = lock,
        on_busy = |busy| { drop(busy); Ok(0) },
        crate = crate::reexport::lock_runtime
    )]
    async fn reexported(id: u8, locks: &LockManager) -> Result<u8, LockError> {
        body();
        assert_eq!(lock.metadata(), "m");
        Ok(id)
    }
    #[distributed_lock(key = "o", ttl = "5s", crate = ::lock_runtime, on_busy = "skip", on_error = |_| unreachable!())]
    async fn absolute() -> Result<(), LockError> {
        body();
        Ok(())
    }
    let locks = recorded();
    assert_eq!(under("o:1:01", reexported(1, &locks)).await.expect("free"), 1);
    under("o", absolute()).await.expect("free");
}

/// Promise: the future is lazy, as that of every async function: nothing is asked for before it is polled.
#[tokio::test]
async fn nothing_happens_before_the_first_poll() {
    #[distributed_lock(key = format!("o{}", { body(); 1 }), ttl = "5s")]
    async fn lazy() -> Result<(), LockError> {
        Ok(())
    }
    drop(noted());
    let call = LockManager::builder(MemoryStore::new()).build().scope(lazy());
    assert_eq!(noted(), [""; 0]);
    call.await.expect("free");
    assert_eq!(noted(), ["body"]);
}
