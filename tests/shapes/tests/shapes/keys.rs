//! What a key is made of.

use std::collections::BTreeMap;

use lock_runtime::{LockError, LockKey, distributed_lock, key};
use lock_shape_tests::{body, noted, recorded, under};

const TENANT: &str = "acme";
static REGION: &str = "eu";

struct Order {
    id: u64,
    customer: (u32, String),
}

fn order() -> Order {
    Order { id: 42, customer: (7, "ann".to_owned()) }
}

/// Promise: fields, elements of tuples, constants, statics and raw identifiers can be parts of a key, and formats of numbers.
#[tokio::test]
async fn parts() {
    #[distributed_lock(key = "k:{order.id}:{order.customer.0}:{order.customer.1}", ttl = "5s")]
    async fn fields(order: &Order) -> Result<u64, LockError> {
        body();
        Ok(order.id)
    }
    #[distributed_lock(key = "k:{t.0}:{t.1.0}", ttl = "5s")]
    async fn tuple(t: (u8, (u8,))) -> Result<u8, LockError> {
        body();
        Ok(t.0)
    }
    #[distributed_lock(key = "{TENANT}/{REGION}/{id}", ttl = "5s")]
    async fn constants(id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "k:{type}", ttl = "5s")]
    async fn raw(r#type: &str) -> Result<&str, LockError> {
        body();
        Ok(r#type)
    }
    #[distributed_lock(key = r#"k:"{id:05}":{hash:08x}"#, ttl = "5s")]
    async fn formats(id: u8, hash: u32) -> Result<u32, LockError> {
        body();
        Ok(hash)
    }
    #[distributed_lock(key = "k:{{{id}}}", ttl = "5s")]
    async fn braces(id: u8) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "k:{a}:{a}", ttl = "5s")]
    async fn twice(a: char) -> Result<char, LockError> {
        body();
        Ok(a)
    }
    under("k:42:7:ann", fields(&order())).await.expect("free");
    under("k:1:2", tuple((1, (2,)))).await.expect("free");
    under("acme/eu/3", constants(3)).await.expect("free");
    under("k:x", raw("x")).await.expect("free");
    under("k:\"00007\":000000ff", formats(7, 255)).await.expect("free");
    under("k:{9}", braces(9)).await.expect("free");
    under("k:a:a", twice('a')).await.expect("free");
}

/// Promise: the key is read before the body takes the arguments, so that a part of it may be moved.
#[tokio::test]
async fn borrowed_and_then_moved() {
    #[distributed_lock(key = "k:{name}", ttl = "5s")]
    async fn moved(name: String) -> Result<Vec<u8>, LockError> {
        body();
        Ok(name.into_bytes())
    }
    #[distributed_lock(key = "k:{order.id}:{order.customer.1}", ttl = "5s")]
    async fn taken_apart(order: Order) -> Result<String, LockError> {
        body();
        let Order { customer: (_, name), .. } = order;
        Ok(name)
    }
    #[distributed_lock(key = format!("k:{}", names.join("+")), ttl = "5s")]
    async fn of_an_expression(names: Vec<String>) -> Result<Vec<String>, LockError> {
        body();
        Ok(names.into_iter().rev().collect())
    }
    assert_eq!(under("k:ab", moved("ab".to_owned())).await.expect("free"), b"ab");
    assert_eq!(under("k:42:ann", taken_apart(order())).await.expect("free"), "ann");
    let names = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(under("k:a+b", of_an_expression(names)).await.expect("free"), ["b", "a"]);
}

/// Promise: `key` takes any expression that is a key, or can be made one.
#[tokio::test]
async fn expressions() {
    #[distributed_lock(key = name, ttl = "5s")]
    async fn borrowed_text(name: &str) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = names["first"].clone(), ttl = "5s")]
    async fn owned_text(names: BTreeMap<&str, String>) -> Result<usize, LockError> {
        body();
        Ok(names.len())
    }
    #[distributed_lock(key = format!("order-{id}"), ttl = "5s")]
    async fn formatted(id: u64) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = &key, ttl = "5s")]
    async fn a_key(key: LockKey) -> Result<LockKey, LockError> {
        body();
        Ok(key)
    }
    #[distributed_lock(key = { let day = at.split('T').next().unwrap_or(at); key!("report:{day}") }, ttl = "5s")]
    async fn made_by_the_macro(at: &str) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(key = if id == 0 { "all" } else { TENANT }, ttl = "5s")]
    async fn chosen(id: u64) -> Result<(), LockError> {
        body();
        Ok(())
    }
    under("n", borrowed_text("n")).await.expect("free");
    assert_eq!(under("one", owned_text(BTreeMap::from([("first", "one".to_owned())]))).await.expect("free"), 1);
    under("order-5", formatted(5)).await.expect("free");
    under("k", a_key(LockKey::from("k"))).await.expect("free");
    under("report:2026-01-01", made_by_the_macro("2026-01-01T10:00")).await.expect("free");
    under("all", chosen(0)).await.expect("free");
    under("acme", chosen(1)).await.expect("free");
}

/// Promise: `keys` takes a list of templates and expressions, or anything that yields keys; they are read before the body takes the
/// arguments, sorted, and named once each.
#[tokio::test]
async fn several() {
    #[distributed_lock(keys = ["to:{to}", "from:{from.id}:{from.customer.1}"], ttl = "5s", guard = lock)]
    async fn templates(from: Order, to: String) -> Result<(usize, Vec<u8>), LockError> {
        body();
        drop(from);
        Ok((lock.keys().len(), to.into_bytes()))
    }
    #[distributed_lock(keys = ["b:{id}", format!("a:{id}"), TENANT], ttl = "5s")]
    async fn mixed(id: u64) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(keys = ids.iter().map(|id| key!("order:{id}")), ttl = "5s")]
    async fn of_an_iterator(ids: Vec<u8>) -> Result<Vec<u8>, LockError> {
        body();
        Ok(ids)
    }
    #[distributed_lock(keys = keys, ttl = "5s")]
    async fn generic<K: Into<LockKey>, I: IntoIterator<Item = K>>(keys: I) -> Result<(), LockError> {
        body();
        Ok(())
    }
    #[distributed_lock(keys = names, ttl = "5s")]
    async fn borrowed(names: &[&str]) -> Result<usize, LockError> {
        body();
        Ok(names.len())
    }
    let (count, to) = under("from:42:ann,to:x", templates(order(), "x".to_owned())).await.expect("free");
    assert_eq!((count, to), (2, b"x".to_vec()));
    under("a:1,acme,b:1", mixed(1)).await.expect("free");
    assert_eq!(under("order:1,order:2", of_an_iterator(vec![2, 1, 2])).await.expect("free"), [2, 1, 2]);
    under("x,y", generic(["y", "x"])).await.expect("free");
    under("x", generic(vec!["x".to_owned()])).await.expect("free");
    assert_eq!(under("m,n", borrowed(&["n", "m"])).await.expect("free"), 2);
}

/// Promise: an expression that yields no key is an error, and not a body without a lock.
#[tokio::test]
async fn several_that_are_none() {
    #[distributed_lock(keys = ids.iter().map(|id| key!("order:{id}")), ttl = "5s", name = "orders")]
    async fn of_an_iterator(ids: &[u8]) -> Result<(), LockError> {
        body();
        let _ = ids;
        Ok(())
    }
    drop(noted());
    let error = recorded().scope(of_an_iterator(&[])).await.expect_err("nothing is locked");
    assert!(matches!(error, LockError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("there are no keys to lock"), "{error}");
    assert_eq!(noted(), [""; 0]);
}
