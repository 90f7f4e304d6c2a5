//! `on_busy` and `on_error`, in all their forms.

use lock_runtime::{Busy, LockError, LockManager, distributed_lock};
use lock_shape_tests::{body, note, under, while_busy};

/// Promise: `"skip"` returns the value that says that nothing was done, and does not come between a free lock and the body.
#[tokio::test]
async fn skip() {
    #[distributed_lock(key = "b", ttl = "5s", on_busy = "skip", on_error = |error| panic!("{error}"))]
    async fn unit() {
        body();
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = "skip", on_error = |error| panic!("{error}"))]
    async fn option() -> Option<u8> {
        body();
        Some(1)
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = "skip")]
    async fn result() -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = "skip")]
    async fn result_of_option() -> Result<Option<u8>, LockError> {
        body();
        Ok(Some(1))
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = "skip")]
    async fn of_an_alias() -> anyhow::Result<Option<String>> {
        body();
        Ok(Some("text".to_owned()))
    }
    while_busy("b", unit()).await;
    under("b", unit()).await;
    assert_eq!(while_busy("b", option()).await, None);
    assert_eq!(under("b", option()).await, Some(1));
    while_busy("b", result()).await.expect("skipped");
    under("b", result()).await.expect("free");
    assert_eq!(while_busy("b", result_of_option()).await.expect("skipped"), None);
    assert_eq!(under("b", result_of_option()).await.expect("free"), Some(1));
    assert_eq!(while_busy("b", of_an_alias()).await.expect("skipped"), None);
    assert_eq!(under("b", of_an_alias()).await.expect("free").as_deref(), Some("text"));
}

/// Promise: `"error"` is what happens without it.
#[tokio::test]
async fn error() {
    #[distributed_lock(key = "b:{id}", ttl = "5s", on_busy = "error")]
    async fn written(id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "b:{id}", ttl = "5s")]
    async fn left_out(id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    let busy =
        |result: Result<u8, LockError>| matches!(result, Err(LockError::Busy(busy)) if busy.key.as_str() == "b:1");
    assert!(busy(while_busy("b:1", written(1)).await));
    assert!(busy(while_busy("b:1", left_out(1)).await));
}

/// Promise: a closure gets the `Busy`, whose type it need not write, and the arguments.
#[tokio::test]
async fn closures() {
    #[distributed_lock(key = "b:{id}", ttl = "5s", on_busy = |busy| Ok(format!("{} {}", busy.key, busy.holder.is_some())))]
    async fn inferred(id: u8) -> Result<String, LockError> {
        body();
        Ok(String::new())
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = |Busy { key, .. }: Busy| { drop(name); Err(anyhow::anyhow!("busy {key}")) })]
    async fn pattern(name: String) -> anyhow::Result<String> {
        body();
        Ok(name)
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = |_| Ok(name))]
    async fn owning(name: String) -> Result<String, LockError> {
        body();
        Ok(name + " ran")
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = |busy| Err(busy.into()))]
    async fn back_again() -> Result<(), LockError> {
        body();
        Ok(())
    }
    assert_eq!(while_busy("b:1", inferred(1)).await.expect("answered"), "b:1 true");
    assert_eq!(while_busy("b", pattern("n".to_owned())).await.expect_err("so it says").to_string(), "busy b");
    assert_eq!(while_busy("b", owning("n".to_owned())).await.expect("answered"), "n");
    assert_eq!(under("b", owning("n".to_owned())).await.expect("free"), "n ran");
    assert!(while_busy("b", back_again()).await.expect_err("so it says").is_busy());
}

async fn answer(text: String) -> Result<String, LockError> {
    tokio::task::yield_now().await;
    note("answered");
    Ok(text + "!")
}

/// Promise: an expression is evaluated only when the lock is busy; it owns the arguments, and may use `?`, `.await` and
/// `return`.
#[tokio::test]
async fn expressions() {
    #[distributed_lock(key = "b", ttl = "5s", on_busy = Ok(answer(text).await?))]
    async fn awaiting(text: String) -> Result<String, LockError> {
        body();
        Ok(text)
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = return Ok(text.len()))]
    async fn returning(text: String) -> Result<usize, LockError> {
        body();
        Ok(text.len() * 2)
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = { counter += 1; *total += counter; Ok(counter) })]
    async fn a_block(mut counter: u32, total: &mut u32) -> Result<u32, LockError> {
        body();
        *total += counter;
        Ok(counter)
    }
    #[distributed_lock(key = "b", ttl = "5s", on_busy = panic!("busy, {}", text))]
    async fn panicking(text: &str) -> Result<(), LockError> {
        body();
        let _ = text;
        Ok(())
    }
    assert_eq!(while_busy("b", awaiting("t".to_owned())).await.expect("answered"), "t!");
    assert_eq!(under("b", awaiting("t".to_owned())).await.expect("free"), "t");
    assert_eq!(while_busy("b", returning("t".to_owned())).await.expect("answered"), 1);
    assert_eq!(under("b", returning("t".to_owned())).await.expect("free"), 2);
    let mut total = 0;
    assert_eq!(while_busy("b", a_block(1, &mut total)).await.expect("answered"), 2);
    assert_eq!(under("b", a_block(1, &mut total)).await.expect("free"), 1);
    assert_eq!(total, 3);
    let panicked = tokio::spawn(while_busy("b", panicking("really"))).await.expect_err("it panics");
    assert_eq!(panicked.into_panic().downcast_ref::<String>().map(String::as_str), Some("busy, really"));
    under("b", panicking("really")).await.expect("free");
}

/// Promise: `on_error` gets every other failure, and may read arguments that the body does not take with it.
#[tokio::test]
async fn on_error() {
    #[distributed_lock(key = String::new(), ttl = "5s", on_error = |error| error.to_string())]
    async fn without_arguments() -> String {
        body();
        String::new()
    }
    #[distributed_lock(key = key, ttl = "5s", on_error = |error| (fallback, error.is_busy()))]
    async fn of_an_argument(key: &str, fallback: u8) -> (u8, bool) {
        body();
        (fallback + 1, false)
    }
    #[distributed_lock(key = key, ttl = "5s", on_error = |error: LockError| log.push(error.to_string()))]
    async fn of_a_reference(key: &str, log: &mut Vec<String>) {
        body();
    }
    #[distributed_lock(key = key, ttl = "5s", on_busy = |_| 1, on_error = |_| 2)]
    async fn of_both(key: &str) -> u8 {
        body();
        3
    }
    #[distributed_lock(key = key, ttl = "5s", on_busy = "skip", on_error = |_| Err("lock"))]
    async fn foreign_error(key: &str) -> Result<(), &'static str> {
        body();
        Ok(())
    }
    let locks = LockManager::in_memory();
    assert!(locks.scope(without_arguments()).await.contains("empty"));
    assert_eq!(locks.scope(of_an_argument("", 5)).await, (5, false));
    assert_eq!(while_busy("b", of_an_argument("b", 5)).await, (5, true));
    assert_eq!(under("b", of_an_argument("b", 5)).await, (6, false));
    let mut log = Vec::new();
    locks.scope(of_a_reference("", &mut log)).await;
    assert_eq!(log.len(), 1);
    under("b", of_a_reference("b", &mut log)).await;
    assert_eq!(log.len(), 1);
    assert_eq!(while_busy("b", of_both("b")).await, 1);
    assert_eq!(locks.scope(of_both("")).await, 2);
    assert_eq!(under("b", of_both("b")).await, 3);
    assert_eq!(while_busy("b", foreign_error("b")).await, Ok(()));
    assert_eq!(locks.scope(foreign_error("")).await, Err("lock"));
}

struct Cache(u8);

impl Cache {
    async fn stale(&self) -> Result<u8, LockError> {
        tokio::task::yield_now().await;
        Ok(self.0)
    }

    #[distributed_lock(key = "cache", ttl = "5s", on_busy = self.stale().await)]
    async fn fresh(&mut self) -> Result<u8, LockError> {
        body();
        self.0 += 1;
        Ok(self.0)
    }

    #[distributed_lock(key = "cache", ttl = "5s", on_busy = Ok(self), on_error = |_| unreachable!())]
    async fn into_fresh(mut self) -> Result<Self, LockError> {
        body();
        self.0 += 1;
        Ok(self)
    }
}

/// Promise: the answers of a method may use `self`.
#[tokio::test]
async fn answers_of_methods() {
    let mut cache = Cache(1);
    assert_eq!(while_busy("cache", cache.fresh()).await.expect("answered"), 1);
    assert_eq!(under("cache", cache.fresh()).await.expect("free"), 2);
    let cache = while_busy("cache", cache.into_fresh()).await.expect("answered");
    assert_eq!(cache.0, 2);
    assert_eq!(under("cache", cache.into_fresh()).await.expect("free").0, 3);
}
