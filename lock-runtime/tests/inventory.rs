//! Every function under the attribute is known, whether it is called or not.
#![cfg(feature = "inventory")]

use std::time::Duration;

use lock_runtime::{LockError, LockManager, LockedFunction, distributed_lock, inventory};

const TTL: Duration = Duration::from_secs(5);

#[distributed_lock(key = "order:{order}", ttl = "5s", wait = "2s", renew, max_hold = "1m")]
async fn settle(order: u64) -> Result<u64, LockError> {
    Ok(order)
}

mod shipping {
    use super::*;

    /// The same keys, elsewhere: it is there to be seen.
    #[distributed_lock(key = "order:{id}", ttl = TTL, name = "ship order")]
    pub(super) async fn ship<T: Send + Sync>(id: u64, _parcel: T) -> Result<(), LockError> {
        Ok(())
    }
}

struct Shop {
    locks: LockManager,
}

impl Shop {
    #[distributed_lock(keys = ["from:{from}", "to:{to}"], ttl = "1m", manager = self.locks)]
    async fn transfer(&self, from: u32, to: u32) -> Result<u32, LockError> {
        // Also a function that is inside of another one.
        #[distributed_lock(key = from.to_string(), ttl = "10ms", manager = locks)]
        async fn inner(locks: &LockManager, from: u32) -> Result<u32, LockError> {
            Ok(from)
        }
        inner(&self.locks, from).await.map(|from| from + to)
    }
}

fn of(function: &str) -> &'static LockedFunction {
    let mut found = inventory().into_iter().filter(|known| known.function == function);
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "once each: {second:?}");
    first.unwrap_or_else(|| panic!("{function} is missing"))
}

/// Promise: all functions are there, generic ones and methods too, as they are written, and where.
///
/// Turned red by: an expansion without its note; the line of the macro's own source.
#[test]
fn every_function_is_known() {
    let all: Vec<_> = inventory().iter().map(|function| function.function).collect();
    assert_eq!(all, ["settle", "ship", "transfer", "inner"], "in the order of the source");
    let settle = of("settle");
    assert_eq!((settle.template, settle.name, settle.ttl), ("order:{order}", "order:{order}", Some(TTL)));
    assert_eq!(settle.arguments, r#"key = "order:{order}", ttl = "5s", wait = "2s", renew, max_hold = "1m""#);
    assert!(settle.file.ends_with("inventory.rs") && settle.module == "inventory", "{settle:?}");
    let source = include_str!("inventory.rs");
    let line = source
        .lines()
        .position(|line| line.starts_with("#[distributed_lock(key = \"order:{order}\""))
        .expect("it is there");
    assert_eq!(usize::try_from(settle.line).expect("a number"), line + 1);
    let ship = of("ship");
    assert_eq!(
        (ship.template, ship.name, ship.ttl, ship.module),
        ("order:{id}", "ship order", None, "inventory::shipping")
    );
    assert_eq!((of("transfer").template, of("inner").template), ("from:{from}, to:{to}", ""));
}

/// What is noted changes nothing of what is called.
#[tokio::test]
async fn they_work() {
    let shop = Shop { locks: LockManager::in_memory() };
    assert_eq!(shop.transfer(1, 2).await.expect("free"), 3);
    let called = async { (settle(4).await.expect("free"), shipping::ship(4, "parcel").await) };
    let (order, shipped) = shop.locks.scope(called).await;
    assert_eq!(order, 4);
    shipped.expect("free");
}
