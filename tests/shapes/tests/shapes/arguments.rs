//! Generics, and every way to write a parameter.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

/// Promise: a function without arguments is a function.
#[tokio::test]
async fn none() {
    #[distributed_lock(key = "nothing", ttl = "5s")]
    async fn nothing() -> Result<(), LockError> {
        body();
        Ok(())
    }
    under("nothing", nothing()).await.expect("free");
}

/// Promise: the key has the call's own values.
#[tokio::test]
async fn one() {
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn settle(id: u64) -> Result<u64, LockError> {
        body();
        Ok(id)
    }
    assert_eq!(under("order:7", settle(7)).await.expect("free"), 7);
    assert_eq!(under("order:8", settle(8)).await.expect("free"), 8);
}

/// Promise: type parameters, bounds and where clauses stay.
#[tokio::test]
async fn generic() {
    #[distributed_lock(key = "g:{value}", ttl = "5s")]
    async fn bounds<T: Display + Clone>(value: T) -> Result<(T, T), LockError> {
        body();
        Ok((value.clone(), value))
    }
    #[distributed_lock(key = "w:{key}", ttl = "5s")]
    async fn clauses<K, V>(key: K, value: V) -> Result<BTreeMap<K, V>, LockError>
    where
        K: Display + Ord,
        V: Default + PartialEq,
    {
        body();
        Ok(if value == V::default() { BTreeMap::new() } else { BTreeMap::from([(key, value)]) })
    }
    assert_eq!(under("g:x", bounds("x")).await.expect("free"), ("x", "x"));
    assert_eq!(under("w:1", clauses(1, 2)).await.expect("free"), BTreeMap::from([(1, 2)]));
    assert_eq!(under("w:1", clauses(1, 0)).await.expect("free"), BTreeMap::new());
}

/// Promise: a const parameter stays, and can be a part of the key.
#[tokio::test]
async fn const_generic() {
    #[distributed_lock(key = "n:{N}", ttl = "5s")]
    async fn sum<const N: usize>(items: [u32; N]) -> Result<u32, LockError> {
        body();
        Ok(items.iter().sum())
    }
    assert_eq!(under("n:3", sum([1, 2, 3])).await.expect("free"), 6);
    assert_eq!(under("n:0", sum([])).await.expect("free"), 0);
}

/// Promise: arguments may be borrowed, and returned by reference.
#[tokio::test]
async fn borrowed() {
    #[distributed_lock(key = "l:{other}", ttl = "5s")]
    async fn named<'a>(kept: &'a str, other: &str) -> Result<&'a str, LockError> {
        body();
        Ok(if other.is_empty() { "" } else { kept })
    }
    #[distributed_lock(key = "l", ttl = "5s")]
    async fn elided(items: &mut Vec<u8>) -> Result<&mut Vec<u8>, LockError> {
        body();
        items.push(4);
        Ok(items)
    }
    #[distributed_lock(key = "l:{name}", ttl = "5s")]
    async fn from_map<'a>(map: &'a BTreeMap<String, String>, name: &str) -> Result<Option<&'a str>, LockError> {
        body();
        Ok(map.get(name).map(String::as_str))
    }
    #[distributed_lock(key = "l", ttl = "5s")]
    async fn outlives<'long: 'short, 'short>(long: &'long str, short: &'short str) -> Result<&'short str, LockError> {
        body();
        Ok(if long.len() > short.len() { long } else { short })
    }
    let kept = "kept".to_owned();
    let other = "a".to_owned();
    let answer = {
        let other = "x".to_owned();
        under("l:x", named(&kept, &other)).await.expect("free")
    };
    assert_eq!(answer, "kept");
    let mut items = vec![1, 2, 3];
    under("l", elided(&mut items)).await.expect("free").push(5);
    assert_eq!(items, [1, 2, 3, 4, 5]);
    let map = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(under("l:a", from_map(&map, &other)).await.expect("free"), Some("b"));
    assert_eq!(under("l", outlives("long", "s")).await.expect("free"), "long");
}

/// Promise: `impl Trait` in argument position stays, and can be a part of the key.
#[tokio::test]
async fn impl_trait() {
    #[distributed_lock(key = "i:{id}", ttl = "5s")]
    async fn shown(id: impl Display, items: impl IntoIterator<Item = u32>) -> Result<u32, LockError> {
        body();
        Ok(items.into_iter().sum())
    }
    #[distributed_lock(key = "i", ttl = "5s")]
    async fn called(
        f: impl Fn(u32) -> u32,
        mut g: impl FnMut(),
        h: impl FnOnce() -> String,
    ) -> Result<String, LockError> {
        body();
        g();
        Ok(format!("{}{}", f(1), h()))
    }
    #[distributed_lock(key = "i", ttl = "5s")]
    async fn awaited(f: impl AsyncFn(u32) -> u32, g: impl Future<Output = u32>) -> Result<u32, LockError> {
        body();
        Ok(f(1).await + g.await)
    }
    #[distributed_lock(key = "i:{name}", ttl = "5s")]
    async fn dynamic(name: &dyn Display, f: &mut dyn FnMut(u32)) -> Result<(), LockError> {
        body();
        f(2);
        Ok(())
    }
    assert_eq!(under("i:7", shown(7, [1, 2])).await.expect("free"), 3);
    let mut calls = 0;
    let called = called(|x| x + 1, || calls += 1, || "h".to_owned());
    assert_eq!(under("i", called).await.expect("free"), "2h");
    assert_eq!(calls, 1);
    assert_eq!(under("i", awaited(async |x| x + 1, async { 3 })).await.expect("free"), 5);
    let mut sum = 0;
    under("i:n", dynamic(&"n", &mut |x| sum += x)).await.expect("free");
    assert_eq!(sum, 2);
}

#[derive(Clone, Debug, PartialEq)]
struct Point {
    x: i32,
    y: i32,
    label: String,
}

fn point() -> Point {
    Point { x: 1, y: 2, label: "p".to_owned() }
}

struct Path<T>(T);

/// Promise: a pattern stays what it is, and what it binds can be a part of the key.
#[tokio::test]
async fn patterns() {
    #[distributed_lock(key = "t:{a}:{b}", ttl = "5s")]
    async fn tuple((a, b): (u32, &str)) -> Result<u32, LockError> {
        body();
        Ok(a + u32::from(b.is_empty()))
    }
    #[distributed_lock(key = "s:{x}:{vertical}:{label}", ttl = "5s")]
    async fn structure(Point { x, y: vertical, label }: Point) -> Result<String, LockError> {
        body();
        Ok(format!("{x}{vertical}{label}"))
    }
    #[distributed_lock(key = "s:{label}", ttl = "5s")]
    async fn rest(Point { label, .. }: &Point) -> Result<&str, LockError> {
        body();
        Ok(label)
    }
    #[distributed_lock(key = "a:{first}:{last}", ttl = "5s")]
    async fn slice([first, middle @ .., last]: [u8; 4]) -> Result<[u8; 2], LockError> {
        body();
        let _ = (first, last);
        Ok(middle)
    }
    #[distributed_lock(key = "a:{a}", ttl = "5s")]
    async fn reference(&(a, b): &(u8, u8)) -> Result<u8, LockError> {
        body();
        Ok(a + b)
    }
    #[distributed_lock(key = "m:{total}", ttl = "5s")]
    async fn mutable(mut total: u32, (mut a, _): (u32, u32)) -> Result<u32, LockError> {
        body();
        a += 1;
        total += a;
        Ok(total)
    }
    #[distributed_lock(key = "n:{x}:{b}", ttl = "5s")]
    async fn nested((Point { x, .. }, [_, (b, _)]): (Point, [(u8, u8); 2])) -> Result<u8, LockError> {
        body();
        let _ = x;
        Ok(b)
    }
    #[distributed_lock(key = "p:{id}", ttl = "5s")]
    async fn wrapped(Path(id): Path<u64>) -> Result<u64, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "at:{whole.x}", ttl = "5s")]
    async fn bound(whole @ Point { .. }: Point) -> Result<Point, LockError> {
        body();
        Ok(whole)
    }
    #[distributed_lock(key = "ignored", ttl = "5s")]
    async fn ignored(_: String, _unused: u8) -> Result<(), LockError> {
        body();
        Ok(())
    }
    assert_eq!(under("t:1:x", tuple((1, "x"))).await.expect("free"), 1);
    assert_eq!(under("s:1:2:p", structure(point())).await.expect("free"), "12p");
    assert_eq!(under("s:p", rest(&point())).await.expect("free"), "p");
    assert_eq!(under("a:1:4", slice([1, 2, 3, 4])).await.expect("free"), [2, 3]);
    assert_eq!(under("a:1", reference(&(1, 2))).await.expect("free"), 3);
    assert_eq!(under("m:1", mutable(1, (2, 3))).await.expect("free"), 4);
    assert_eq!(under("n:1:3", nested((point(), [(1, 2), (3, 4)]))).await.expect("free"), 3);
    assert_eq!(under("p:9", wrapped(Path(9))).await.expect("free"), 9);
    assert_eq!(under("at:1", bound(point())).await.expect("free"), point());
    under("ignored", ignored("a".to_owned(), 1)).await.expect("free");
}

/// Promise: attributes of the function and of its parameters stay, and so do inner attributes: this compiles without a
/// warning only if the compiler sees them.
#[tokio::test]
async fn attributes() {
    /// Documented.
    #[must_use = "or nothing happens"]
    #[distributed_lock(key = "attributes:{id}", ttl = "5s")]
    #[expect(unused_variables, reason = "what is tested is that this is seen")]
    async fn outer(
        unused: u8,
        #[expect(unused_mut, reason = "as above")] mut id: u8,
        #[cfg(any())] absent: NoSuchType,
    ) -> Result<u8, LockError> {
        body();
        Ok(id)
    }
    #[distributed_lock(key = "attributes:{id}", ttl = "5s")]
    async fn inner(id: u8) -> Result<u8, LockError> {
        #![expect(unused_variables, reason = "as above")]
        let unused = id;
        body();
        Ok(id)
    }
    assert_eq!(under("attributes:1", inner(1)).await.expect("free"), 1);
    assert_eq!(under("attributes:1", outer(0, 1)).await.expect("free"), 1);
}
