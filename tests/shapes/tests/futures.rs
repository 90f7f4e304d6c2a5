//! What the future of an annotated function is: its auto traits and its size.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::MutexGuard;

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, recorded, under};

fn send<F: Future + Send>(future: F) -> F {
    future
}

/// `is_send!(value)`: whether the type of `value` is `Send`. An inherent method goes before one of a trait, if its bounds hold.
macro_rules! is_send {
    ($value:expr) => {{
        struct Asked<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "one of the two answers is")]
        trait Otherwise {
            fn answer(&self) -> bool {
                false
            }
        }
        impl<T> Otherwise for Asked<T> {}
        impl<T: Send> Asked<T> {
            #[allow(
                dead_code,
                clippy::unused_self,
                reason = "one of the two is; and a method, to go before the trait's"
            )]
            fn answer(&self) -> bool {
                true
            }
        }
        fn ask<T>(_: &T) -> Asked<T> {
            Asked(std::marker::PhantomData)
        }
        ask(&$value).answer()
    }};
}

/// Promise: a future stays `Send`, also with arguments that are merely `Send`, and with locals that are not, if they are gone
/// before the `.await`. Red (at compile time) when the expansion keeps such a local, or an argument by reference, in its future.
#[tokio::test]
async fn keeps_send() {
    #[distributed_lock(key = "f:{id}", ttl = "5s", guard = lock, wait = "1s", on_busy = Ok(cell.get()), metadata = "m{id}")]
    async fn send_but_not_sync(id: u8, cell: Cell<u8>) -> Result<u8, LockError> {
        body();
        {
            let local = Rc::new(id);
            cell.set(*local);
        }
        tokio::task::yield_now().await;
        lock.ttl().await?;
        Ok(cell.get())
    }
    #[distributed_lock(key = "f", ttl = "5s", on_busy = "skip", release = "background")]
    async fn generic<T: Send>(value: T, f: impl FnOnce(T) + Send) -> Result<(), LockError> {
        body();
        tokio::task::yield_now().await;
        f(value);
        Ok(())
    }
    #[distributed_lock(key = "f", ttl = "5s")]
    async fn result_without_sync() -> Result<Cell<u8>, LockError> {
        body();
        Ok(Cell::new(1))
    }
    #[distributed_lock(key = "f", ttl = "5s", renew, max_hold = "1m", on_lost = "proceed", fence = token)]
    async fn fenced(cell: Cell<i64>) -> Result<Cell<i64>, LockError> {
        body();
        tokio::task::yield_now().await;
        cell.set(token);
        Ok(cell)
    }
    let call = send(send_but_not_sync(7, Cell::new(0)));
    assert_eq!(tokio::spawn(send(under("f:7", call))).await.expect("no panic").expect("free"), 7);
    drop(send(generic(1, drop)));
    assert_eq!(under("f", send(result_without_sync())).await.expect("free").get(), 1);
    assert!(under("f", send(fenced(Cell::new(0)))).await.expect("free").get() > 0);
}

/// Documented: a result that is not `Send` is kept while the release is under way, so the future is not `Send` either; and what
/// was not `Send` before, for its arguments or for a local across an `.await`, does not become it. Without `Send`, the function
/// works as ever.
#[tokio::test]
async fn is_not_send_without_reason() {
    #[distributed_lock(key = "f", ttl = "5s")]
    async fn local_result() -> Result<Rc<u8>, LockError> {
        body();
        Ok(Rc::new(1))
    }
    #[distributed_lock(key = "f", ttl = "5s")]
    async fn local_argument(argument: Rc<u8>) -> Result<u8, LockError> {
        body();
        Ok(*argument)
    }
    #[distributed_lock(key = "f", ttl = "5s")]
    async fn local_across_await() -> Result<u8, LockError> {
        body();
        let local = Rc::new(2);
        tokio::task::yield_now().await;
        Ok(*local)
    }
    #[distributed_lock(key = "f", ttl = "5s")]
    async fn send() -> Result<u8, LockError> {
        body();
        Ok(3)
    }
    assert!(!is_send!(local_result()));
    assert!(!is_send!(local_argument(Rc::new(1))));
    assert!(!is_send!(local_across_await()));
    // The macro can say yes: or the three above would say nothing.
    assert!(is_send!(send()));
    assert!(!is_send!(None::<MutexGuard<'_, ()>>));
    assert_eq!(*under("f", local_result()).await.expect("free"), 1);
    assert_eq!(under("f", local_argument(Rc::new(1))).await.expect("free"), 1);
    assert_eq!(under("f", local_across_await()).await.expect("free"), 2);
    assert_eq!(under("f", send()).await.expect("free"), 3);
}

/// Promise: the lock adds at most 1 KiB to the future of a function with an argument of 4 KiB. Red when the argument is in the
/// future once more, as it is when the body is passed on by value.
#[tokio::test]
async fn adds_little_to_the_future() {
    #![expect(clippy::large_types_passed_by_value, reason = "it is what is measured")]

    type Page = [u8; 4096];

    async fn write(page: &Page) -> usize {
        tokio::task::yield_now().await;
        page.len()
    }
    async fn plain(page: Page) -> Result<usize, LockError> {
        body();
        Ok(write(&page).await)
    }
    #[distributed_lock(key = "page:{id}", ttl = "5s")]
    async fn locked(page: Page, id: u64) -> Result<usize, LockError> {
        body();
        Ok(write(&page).await)
    }
    #[distributed_lock(
        key = "page:{id}",
        ttl = "5s",
        wait = "1s",
        renew = "1s",
        max_hold = "1m",
        min_hold = "1ms",
        on_busy = Ok(write(&page).await),
        on_error = |error| if error.is_lost() { Ok(0) } else { Err(error) },
        on_lost = "proceed",
        guard = lock,
        fence = token,
        metadata = "page {id}"
    )]
    async fn with_all_arguments(page: Page, id: u64) -> Result<usize, LockError> {
        body();
        assert!(!lock.remaining().is_zero());
        let written = write(&page).await;
        // After the `.await`, so that it is a part of the future.
        assert_eq!(Some(token), lock.fence());
        Ok(written)
    }
    let page = [1; 4096];
    let plain = size_of_val(&plain(page));
    let sizes = [size_of_val(&locked(page, 1)), size_of_val(&with_all_arguments(page, 1))];
    println!("future of a function with an argument of 4 KiB: {plain} bytes; under the attribute {sizes:?}");
    for size in sizes {
        assert!(size <= plain + 1024, "{size} > {plain} + 1024");
    }
    assert_eq!(under("page:1", Box::pin(locked(page, 1))).await.expect("free"), 4096);
    // Without a look at its journal: how a lock is given back before `min_hold` is over is not the question here.
    assert_eq!(recorded().scope(Box::pin(with_all_arguments(page, 1))).await.expect("free"), 4096);
}
