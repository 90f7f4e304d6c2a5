//! Methods, with every receiver.

use std::fmt::Display;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

#[derive(Clone, Debug, PartialEq)]
struct Account {
    tenant: String,
    balance: i64,
}

impl Account {
    const START: i64 = 10;

    #[distributed_lock(key = "account:{tenant}", ttl = "5s")]
    async fn open(tenant: &str) -> Result<Self, LockError> {
        body();
        Ok(Self { tenant: tenant.to_owned(), balance: Self::START })
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_reference(&self) -> Result<i64, LockError> {
        body();
        Ok(self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn a_part(&self) -> Result<&str, LockError> {
        body();
        Ok(&self.tenant)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_named_lifetime<'a>(&'a self, _other: &str) -> Result<&'a str, LockError> {
        body();
        Ok(&self.tenant)
    }

    #[distributed_lock(key = "account:{self.tenant}:{by}", ttl = "5s")]
    async fn by_mutable_reference(&mut self, by: i64) -> Result<&mut i64, LockError> {
        body();
        self.balance += by;
        Ok(&mut self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_value(self) -> Result<String, LockError> {
        body();
        Ok(self.tenant)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_mutable_value(mut self) -> Result<Self, LockError> {
        body();
        self.balance = 0;
        Ok(self)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s", renew, max_hold = "1m")]
    async fn renewed(&mut self) -> Result<i64, LockError> {
        body();
        Ok(self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s", on_lost = "proceed", fence = token)]
    async fn fenced(&mut self) -> Result<&mut i64, LockError> {
        body();
        self.balance = self.balance.max(token);
        Ok(&mut self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_arc(self: Arc<Self>) -> Result<usize, LockError> {
        body();
        Ok(Arc::strong_count(&self))
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_borrowed_arc(self: &Arc<Self>) -> Result<Arc<Self>, LockError> {
        body();
        Ok(Self::clone_of(self))
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_rc(self: Rc<Self>) -> Result<i64, LockError> {
        body();
        Ok(self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_box(mut self: Box<Self>) -> Result<Box<Self>, LockError> {
        body();
        self.balance += 1;
        Ok(self)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_pin(self: Pin<&mut Self>) -> Result<i64, LockError> {
        body();
        let this = self.get_mut();
        this.balance += 2;
        Ok(this.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s")]
    async fn by_its_type(self: &Self) -> Result<i64, LockError> {
        #![allow(clippy::needless_arbitrary_self_type, reason = "it is one of the shapes")]
        body();
        Ok(self.balance)
    }

    fn clone_of(this: &Arc<Self>) -> Arc<Self> {
        this.clone()
    }
}

fn account() -> Account {
    Account { tenant: "acme".to_owned(), balance: 5 }
}

/// Promise: the attribute works on methods with every receiver, and on associated functions, and `self` can be a part of
/// the key.
#[tokio::test]
async fn receivers() {
    const KEY: &str = "account:acme";
    assert_eq!(under(KEY, Account::open("acme")).await.expect("free").balance, 10);
    assert_eq!(under(KEY, account().by_reference()).await.expect("free"), 5);
    assert_eq!(under(KEY, account().a_part()).await.expect("free"), "acme");
    assert_eq!(under(KEY, account().by_named_lifetime("")).await.expect("free"), "acme");
    let mut changed = account();
    *under("account:acme:3", changed.by_mutable_reference(3)).await.expect("free") += 1;
    assert_eq!(changed.balance, 9);
    assert_eq!(under(KEY, account().by_value()).await.expect("free"), "acme");
    assert_eq!(under(KEY, account().by_mutable_value()).await.expect("free").balance, 0);
    assert_eq!(under(KEY, account().renewed()).await.expect("free"), 5);
    assert!(*under(KEY, changed.fenced()).await.expect("free") > 9);
    assert_eq!(under(KEY, Arc::new(account()).by_arc()).await.expect("free"), 1);
    let shared = Arc::new(account());
    assert!(Arc::ptr_eq(&shared, &under(KEY, shared.by_borrowed_arc()).await.expect("free")));
    assert_eq!(under(KEY, Rc::new(account()).by_rc()).await.expect("free"), 5);
    assert_eq!(under(KEY, Box::new(account()).by_box()).await.expect("free").balance, 6);
    assert_eq!(under(KEY, Pin::new(&mut account()).by_pin()).await.expect("free"), 7);
    assert_eq!(under(KEY, account().by_its_type()).await.expect("free"), 5);
}

struct Shelf<'a, T, const N: usize> {
    name: &'a str,
    items: [T; N],
}

impl<'a, T: Display, const N: usize> Shelf<'a, T, N> {
    #[distributed_lock(key = "shelf:{self.name}:{N}:{suffix}", ttl = "5s")]
    async fn first<S>(&self, suffix: S) -> Result<(&'a str, Option<&T>), LockError>
    where
        S: Display,
    {
        body();
        Ok((self.name, self.items.first()))
    }
}

/// Promise: a method may use the generics of its `impl` block, and its own beside them.
#[tokio::test]
async fn generics_of_the_impl_block() {
    let shelf = Shelf { name: "top", items: [1, 2] };
    assert_eq!(under("shelf:top:2:x", shelf.first("x")).await.expect("free"), ("top", Some(&1)));
}
