//! What a function returns, and how its body gets there.

use std::error::Error;
use std::fmt::{self, Display};

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

type Alias<T> = Result<T, LockError>;
type Whole = Result<u8, LockError>;

#[derive(Debug)]
enum AppError {
    Lock,
    Number,
}

impl From<LockError> for AppError {
    fn from(_: LockError) -> Self {
        Self::Lock
    }
}

impl From<std::num::ParseIntError> for AppError {
    fn from(_: std::num::ParseIntError) -> Self {
        Self::Number
    }
}

impl Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "lock",
            Self::Number => "number",
        })
    }
}

impl Error for AppError {}

/// Promise: any `Result` whose error can hold a lock error will do, under any name.
#[tokio::test]
async fn aliases() {
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn alias() -> Alias<u8> {
        body();
        Ok(1)
    }
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn whole() -> Whole {
        body();
        Ok(2)
    }
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn any(fails: bool) -> anyhow::Result<u8> {
        body();
        if fails {
            anyhow::bail!("of the body");
        }
        Ok(3)
    }
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn boxed() -> Result<u8, Box<dyn Error + Send + Sync>> {
        body();
        Err("of the body")?;
        Ok(4)
    }
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn qualified() -> ::core::result::Result<::std::string::String, AppError> {
        body();
        Ok("5".to_owned())
    }
    assert_eq!(under("r", alias()).await.expect("free"), 1);
    assert_eq!(under("r", whole()).await.expect("free"), 2);
    assert_eq!(under("r", any(false)).await.expect("free"), 3);
    assert_eq!(under("r", any(true)).await.expect_err("it bails").to_string(), "of the body");
    assert_eq!(under("r", boxed()).await.expect_err("it fails").to_string(), "of the body");
    assert_eq!(under("r", qualified()).await.expect("free"), "5");
}

/// Promise: a lock failure reaches the caller through `anyhow` as what it is.
#[tokio::test]
async fn a_lock_error_in_anyhow() {
    #[distributed_lock(key = "r", ttl = "5s")]
    async fn any() -> anyhow::Result<()> {
        body();
        Ok(())
    }
    let error = lock_shape_tests::while_busy("r", any()).await.expect_err("busy");
    assert!(error.downcast_ref::<LockError>().is_some_and(LockError::is_busy), "{error}");
}

/// Promise: a body may be left by `return`, by `?` with a conversion, by its tail, or from within a loop.
#[tokio::test]
async fn ways_out() {
    #[distributed_lock(key = "out:{text}", ttl = "5s")]
    async fn leave(text: &str) -> Result<u8, AppError> {
        body();
        if text == "early" {
            return Ok(0);
        }
        let number: u8 = text.parse()?;
        for limit in [9, 99] {
            if number <= limit {
                return Ok(limit);
            }
        }
        Ok(number)
    }
    #[distributed_lock(key = "out", ttl = "5s")]
    async fn endless(mut rounds: u32) -> Result<u32, AppError> {
        body();
        loop {
            rounds += 1;
            if rounds > 10 {
                return Ok(rounds);
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(under("out:early", leave("early")).await.expect("free"), 0);
    assert_eq!(under("out:7", leave("7")).await.expect("free"), 9);
    assert_eq!(under("out:112", leave("112")).await.expect("free"), 112);
    assert!(matches!(under("out:x", leave("x")).await, Err(AppError::Number)));
    assert_eq!(under("out", endless(0)).await.expect("free"), 11);
}

/// Promise: `impl Trait` inside of the `Result` stays.
#[tokio::test]
async fn impl_trait_in_the_result() {
    #[distributed_lock(key = "it:{limit}", ttl = "5s")]
    async fn counted(limit: u32) -> Result<impl Iterator<Item = u32>, LockError> {
        body();
        Ok((0..limit).map(|n| n * n))
    }
    #[distributed_lock(key = "it", ttl = "5s")]
    async fn pair() -> Result<(impl Fn(u32) -> u32, Vec<impl Display>), LockError> {
        body();
        Ok((|n| n + 1, vec!["a", "b"]))
    }
    assert_eq!(under("it:4", counted(4)).await.expect("free").collect::<Vec<_>>(), [0, 1, 4, 9]);
    let (f, texts) = under("it", pair()).await.expect("free");
    assert_eq!(f(1), 2);
    assert_eq!(texts[1].to_string(), "b");
}

/// Promise: the tail is coerced to the return type, and inferred from it, as in a plain function. `Box<dyn Fn>` in the tail
/// is what most other shapes of expansion refuse.
#[tokio::test]
async fn coercions_and_inference() {
    #[distributed_lock(key = "c", ttl = "5s", on_error = |error| panic!("{error}"))]
    async fn unsized_tail(by: u32) -> Box<dyn Fn(u32) -> u32 + Send> {
        body();
        Box::new(move |n| n + by)
    }
    #[distributed_lock(key = "c", ttl = "5s", on_error = |error| panic!("{error}"))]
    async fn two_types(other: bool) -> Box<dyn Display + Send> {
        body();
        if other {
            return Box::new("text");
        }
        Box::new(1)
    }
    #[distributed_lock(key = "c", ttl = "5s", on_error = |error| panic!("{error}"))]
    async fn slice() -> &'static [u8] {
        body();
        &[1, 2, 3]
    }
    #[distributed_lock(key = "c", ttl = "5s")]
    async fn inside() -> Result<Box<dyn Fn(u32) -> u32 + Send>, LockError> {
        body();
        Ok(Box::new(|n| n * 2))
    }
    #[distributed_lock(key = "c", ttl = "5s")]
    async fn collected() -> Result<Vec<u8>, AppError> {
        body();
        "1 2".split(' ').map(|n| Ok(n.parse()?)).collect()
    }
    #[distributed_lock(key = "c", ttl = "5s")]
    async fn inferred(empty: bool) -> Result<Vec<u8>, LockError> {
        body();
        if empty { Ok(Vec::new()) } else { Ok(std::iter::empty().collect()) }
    }
    #[distributed_lock(key = "c", ttl = "5s", on_error = |error| error.to_string())]
    async fn converted() -> String {
        body();
        "text".into()
    }
    #[distributed_lock(key = "c", ttl = "5s", on_error = |error| panic!("{error}"))]
    async fn pointer() -> fn(u8) -> u8 {
        body();
        |n| n + 1
    }
    assert_eq!(under("c", unsized_tail(1)).await(1), 2);
    assert_eq!(under("c", two_types(true)).await.to_string(), "text");
    assert_eq!(under("c", two_types(false)).await.to_string(), "1");
    assert_eq!(under("c", slice()).await, [1, 2, 3]);
    assert_eq!(under("c", inside()).await.expect("free")(2), 4);
    assert_eq!(under("c", collected()).await.expect("numbers"), [1, 2]);
    assert_eq!(under("c", inferred(true)).await.expect("free"), under("c", inferred(false)).await.expect("free"));
    assert_eq!(under("c", converted()).await, "text");
    assert_eq!(under("c", pointer()).await(1), 2);
}

/// Promise: with `on_error`, a function may return nothing, an `Option`, or anything else.
#[tokio::test]
async fn without_a_result() {
    #[distributed_lock(key = "u", ttl = "5s", on_error = |_| ())]
    async fn unit(ran: &mut bool) {
        body();
        *ran = true;
    }
    #[distributed_lock(key = "u", ttl = "5s", on_error = |_| ())]
    async fn written_unit() -> () {
        body();
    }
    #[distributed_lock(key = "u", ttl = "5s", on_error = |_| None)]
    async fn option(some: Option<u8>) -> Option<u8> {
        body();
        Some(some? + 1)
    }
    let mut ran = false;
    under("u", unit(&mut ran)).await;
    assert!(ran);
    under("u", written_unit()).await;
    assert_eq!(under("u", option(Some(1))).await, Some(2));
    assert_eq!(under("u", option(None)).await, None);
}

/// Promise: a body that never ends normally compiles, and its panic arrives.
#[tokio::test]
#[should_panic(expected = "not written yet")]
async fn a_diverging_body() {
    #[distributed_lock(key = "d", ttl = "5s")]
    async fn diverges() -> Result<u8, LockError> {
        panic!("not written yet")
    }
    let _ = under("d", diverges()).await;
}

/// Promise: what a body declares for itself (items, imports, shadowed types) stays inside of it.
#[tokio::test]
async fn items_in_the_body() {
    #[distributed_lock(key = "items:{n}", ttl = "5s")]
    async fn items(n: u8) -> Result<u8, LockError> {
        use std::string::String as LockError;
        const ONE: u8 = 1;
        struct Request(u8);
        fn call(request: &Request) -> u8 {
            request.0
        }
        body();
        let text: LockError = "text".into();
        let n = n + ONE;
        Ok(call(&Request(n)) + u8::from(text.is_empty()))
    }
    assert_eq!(under("items:1", items(1)).await.expect("free"), 2);
}
