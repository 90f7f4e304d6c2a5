//! Methods of traits: native ones, and those of `#[async_trait]`, which reach the attribute as functions that return boxed
//! futures.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

struct Shop {
    name: &'static str,
    stock: u32,
}

fn shop() -> Shop {
    Shop { name: "acme", stock: 5 }
}

trait Native {
    const LABEL: &'static str;

    fn name(&self) -> &str;

    async fn take(&mut self, count: u32) -> Result<u32, LockError>;

    #[distributed_lock(key = "native:{name}", ttl = "5s")]
    async fn associated(name: &str) -> Result<String, LockError> {
        body();
        Ok(format!("{name}{}", Self::LABEL))
    }

    #[distributed_lock(key = { let name = self.name(); lock_runtime::key!("native:{name}") }, ttl = "5s")]
    async fn provided(&self, times: usize) -> Result<String, LockError> {
        body();
        Ok(self.name().repeat(times))
    }
}

impl Native for Shop {
    const LABEL: &'static str = "!";

    fn name(&self) -> &str {
        self.name
    }

    #[distributed_lock(key = "native:{self.name}:{count}", ttl = "5s")]
    async fn take(&mut self, count: u32) -> Result<u32, LockError> {
        body();
        self.stock -= count;
        Ok(self.stock)
    }
}

/// Promise: the attribute works in native async trait impls, and on default methods.
#[tokio::test]
async fn native() {
    assert_eq!(under("native:acme:2", Native::take(&mut shop(), 2)).await.expect("free"), 3);
    assert_eq!(under("native:acme", Native::provided(&shop(), 2)).await.expect("free"), "acmeacme");
    assert_eq!(under("native:x", Shop::associated("x")).await.expect("free"), "x!");
}

#[async_trait]
trait Boxed: Send + Sync {
    fn name(&self) -> &str;

    async fn look(&self, id: u64) -> Result<u64, LockError>;

    async fn take(&mut self, count: u32) -> Result<u32, LockError>;

    async fn pattern(&self, (a, b): (u8, u8), mut c: u8, _: u8) -> Result<u8, LockError>;

    async fn borrowed<'a>(&'a self, other: &'a str) -> Result<&'a str, LockError>;

    async fn swept(&self);

    async fn renewed(&mut self, count: u32) -> Result<u32, LockError>;

    async fn fenced(&self, id: i64) -> Result<i64, LockError>;

    /// A provided method, that the trait object has too.
    #[distributed_lock(key = "boxed:{suffix}", ttl = "5s")]
    async fn provided(&self, suffix: &str) -> Result<String, LockError> {
        body();
        Ok(format!("{}{suffix}", self.name()))
    }
}

#[async_trait]
impl Boxed for Shop {
    fn name(&self) -> &str {
        self.name
    }

    #[distributed_lock(key = "boxed:{self.name}:{id}", ttl = "5s", guard = lock)]
    async fn look(&self, id: u64) -> Result<u64, LockError> {
        body();
        assert_eq!(lock.key().as_str(), format!("boxed:{}:{id}", self.name));
        if id == 0 {
            return Ok(100);
        }
        tokio::task::yield_now().await;
        Ok(id + u64::from(self.stock))
    }

    #[distributed_lock(key = "boxed:{count}", ttl = "5s")]
    async fn take(&mut self, count: u32) -> Result<u32, LockError> {
        body();
        self.stock -= count;
        Ok(self.stock)
    }

    // What `#[async_trait]` takes apart in the body (`a` and `b`) has no name yet when the key is read.
    #[distributed_lock(key = "boxed:{c}", ttl = "5s")]
    async fn pattern(&self, (a, b): (u8, u8), mut c: u8, _: u8) -> Result<u8, LockError> {
        body();
        c += a;
        Ok(b + c)
    }

    #[distributed_lock(key = "boxed:{other}", ttl = "5s", on_busy = Ok(other))]
    async fn borrowed<'a>(&'a self, other: &'a str) -> Result<&'a str, LockError> {
        body();
        Ok(if other.is_empty() { other } else { self.name })
    }

    #[distributed_lock(key = "boxed", ttl = "5s", on_busy = "skip", on_error = |error| panic!("{error}"))]
    async fn swept(&self) {
        body();
    }

    #[distributed_lock(key = "boxed:{count}", ttl = "5s", renew = "1s", max_hold = "1m", on_lost = "proceed")]
    async fn renewed(&mut self, count: u32) -> Result<u32, LockError> {
        body();
        self.stock -= count;
        Ok(self.stock)
    }

    #[distributed_lock(key = "boxed:{id}", ttl = "5s", fence = token)]
    async fn fenced(&self, id: i64) -> Result<i64, LockError> {
        body();
        tokio::task::yield_now().await;
        Ok(token.max(id))
    }
}

/// Promise: the attribute works on the methods of an `#[async_trait]` impl, and on its default methods; through a trait
/// object as well.
#[tokio::test]
async fn boxed() {
    assert_eq!(under("boxed:acme:1", shop().look(1)).await.expect("free"), 6);
    assert_eq!(under("boxed:acme:0", shop().look(0)).await.expect("free"), 100);
    assert_eq!(under("boxed:2", Boxed::take(&mut shop(), 2)).await.expect("free"), 3);
    assert_eq!(under("boxed:3", shop().pattern((1, 2), 3, 4)).await.expect("free"), 6);
    assert_eq!(under("boxed:x", shop().borrowed("x")).await.expect("free"), "acme");
    assert_eq!(lock_shape_tests::while_busy("boxed:x", shop().borrowed("x")).await.expect("answered"), "x");
    under("boxed", shop().swept()).await;
    lock_shape_tests::while_busy("boxed", shop().swept()).await;
    assert_eq!(under("boxed:2", shop().renewed(2)).await.expect("free"), 3);
    assert!(under("boxed:1", shop().fenced(1)).await.expect("free") > 1);

    let mut object: Box<dyn Boxed> = Box::new(shop());
    assert_eq!(under("boxed:acme:1", object.look(1)).await.expect("free"), 6);
    assert_eq!(under("boxed:2", object.take(2)).await.expect("free"), 3);
    assert_eq!(under("boxed:x", object.provided("x")).await.expect("free"), "acmex");
}

/// Promise: such a future is still `Send`, as `#[async_trait]` says that it is.
#[tokio::test]
async fn boxed_futures_are_spawned() {
    let shop: Arc<dyn Boxed> = Arc::new(shop());
    let call = async move { under("boxed:acme:1", shop.look(1)).await };
    assert_eq!(tokio::spawn(call).await.expect("no panic").expect("free"), 6);
}

#[async_trait]
trait Generic<T: Send + 'static> {
    async fn show<D: Display + Send>(&self, shown: D, value: T) -> Result<(String, T), LockError>
    where
        T: Clone + Debug;

    async fn made() -> Result<Self, LockError>
    where
        Self: Sized;
}

#[async_trait]
impl<T: Send + Sync + 'static> Generic<T> for Vec<T> {
    #[distributed_lock(key = "generic:{shown}", ttl = "5s")]
    async fn show<D: Display + Send>(&self, shown: D, value: T) -> Result<(String, T), LockError>
    where
        T: Clone + Debug,
    {
        body();
        Ok((format!("{shown}{value:?}"), value.clone()))
    }

    #[distributed_lock(key = "generic", ttl = "5s")]
    async fn made() -> Result<Self, LockError> {
        body();
        Ok(Self::new())
    }
}

/// Promise: generics of an `#[async_trait]`, of its impl and of the method stay, and so do functions without a receiver.
#[tokio::test]
async fn boxed_generics() {
    assert_eq!(under("generic:a", vec![1_u8].show("a", 2)).await.expect("free"), ("a2".to_owned(), 2));
    assert_eq!(under("generic", <Vec<u8> as Generic<u8>>::made()).await.expect("free"), Vec::<u8>::new());
}

#[async_trait(?Send)]
trait Local {
    async fn local(self: std::rc::Rc<Self>) -> Result<u32, LockError>;
}

#[async_trait(?Send)]
impl Local for Shop {
    #[distributed_lock(key = "local:{self.name}", ttl = "5s")]
    async fn local(self: std::rc::Rc<Self>) -> Result<u32, LockError> {
        body();
        Ok(self.stock)
    }
}

/// Promise: `#[async_trait(?Send)]` works too.
#[tokio::test]
async fn boxed_without_send() {
    assert_eq!(under("local:acme", std::rc::Rc::new(shop()).local()).await.expect("free"), 5);
}

#[async_trait]
trait Transfers: Send + Sync {
    async fn transfer(&self, from: u64, to: u64) -> Result<u64, LockError>;
}

#[async_trait]
impl Transfers for Shop {
    #[distributed_lock(keys = ["{self.name}:{from}", "{self.name}:{to}"], ttl = "5s")]
    async fn transfer(&self, from: u64, to: u64) -> Result<u64, LockError> {
        body();
        Ok(u64::from(self.stock))
    }
}

/// Promise: several keys are locked in `#[async_trait]` as well, and arguments that only they use are used.
#[tokio::test]
async fn boxed_with_several_keys() {
    assert_eq!(under("acme:1,acme:2", shop().transfer(2, 1)).await.expect("free"), 5);
}
