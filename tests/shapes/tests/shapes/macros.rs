//! Functions that a `macro_rules!` writes.

use lock_runtime::{LockError, distributed_lock};
use lock_shape_tests::{body, under};

macro_rules! locked {
    ($(#[$attribute:meta])* $key:literal, $ttl:literal, $name:ident($($arg:ident: $ty:ty),*) -> $output:ty { $($body:tt)* }) => {
        $(#[$attribute])*
        #[distributed_lock(key = $key, ttl = $ttl)]
        async fn $name($($arg: $ty),*) -> Result<$output, LockError> { $($body)* }
    };
}

locked! {
    /// Written by a macro.
    "macro:{id}:{name}", "5s",
    settle(id: u64, name: &str) -> String {
        body();
        if id == 0 {
            return Ok("none".to_owned());
        }
        Ok(format!("{id}{name}"))
    }
}

/// Promise: a template that comes through `$key:literal` is a template: two ids, two keys. It arrives in an invisible group,
/// and would be taken for an expression, and its placeholders for text.
#[tokio::test]
async fn a_template_as_a_literal() {
    assert_eq!(under("macro:1:a", settle(1, "a")).await.expect("free"), "1a");
    assert_eq!(under("macro:2:b", settle(2, "b")).await.expect("free"), "2b");
    assert_eq!(under("macro:0:b", settle(0, "b")).await.expect("free"), "none");
}

macro_rules! with_a_block {
    ($visibility:vis fn $name:ident($argument:ident: $ty:ty) -> $output:ty $body:block) => {
        #[distributed_lock(key = "block", ttl = "5s")]
        $visibility async fn $name($argument: $ty) -> $output $body
    };
}

with_a_block!(
    pub(crate) fn of_a_block(pair: (u8, u8)) -> Result<u8, LockError> {
        body();
        Ok(pair.0 + pair.1)
    }
);

/// Promise: the body may come as one fragment, and so may the rest of the signature. It too arrives in an invisible group.
#[tokio::test]
async fn a_body_as_a_block() {
    assert_eq!(under("block", of_a_block((1, 2))).await.expect("free"), 3);
}

macro_rules! by_expression {
    ($name:ident, $key:expr, $ttl:expr, $tokens:tt) => {
        #[distributed_lock(key = $key, ttl = $ttl, metadata = $tokens)]
        async fn $name(id: u64) -> Result<u64, LockError> {
            body();
            Ok(id)
        }
    };
}

by_expression!(of_a_literal, "expr:{id}", "1m30s", "m");
by_expression!(of_a_call, String::from("call"), std::time::Duration::from_secs(5), "m");

/// Promise: the same through `$key:expr`, be it a literal or not.
#[tokio::test]
async fn a_template_as_an_expression() {
    under("expr:1", of_a_literal(1)).await.expect("free");
    under("expr:2", of_a_literal(2)).await.expect("free");
    under("call", of_a_call(2)).await.expect("free");
}

macro_rules! everything {
    ($($tokens:tt)*) => { $($tokens)* };
}

macro_rules! with_options {
    ($name:ident, $limit:expr, $($option:ident $(= $value:literal)?),*) => {
        #[distributed_lock(key = "options:{id}", ttl = "5s", max_hold = $limit, $($option $(= $value)?),*)]
        async fn $name(id: u64) -> Result<u64, LockError> {
            body();
            Ok(id)
        }
    };
}

with_options!(with_a_flag, std::time::Duration::from_secs(60), renew, on_lost = "proceed");
with_options!(with_an_interval, "1m", renew = "1s");

/// Promise: a flag of the attribute, and the values of the others, may come through a macro.
#[tokio::test]
async fn options_as_tokens() {
    assert_eq!(under("options:1", with_a_flag(1)).await.expect("free"), 1);
    assert_eq!(under("options:2", with_an_interval(2)).await.expect("free"), 2);
}

everything! {
    #[distributed_lock(key = "tokens:{id}", ttl = "5s", guard = lock, on_busy = "skip")]
    async fn of_tokens(id: u64) -> Result<Option<u64>, LockError> {
        body();
        Ok((!lock.remaining().is_zero()).then_some(id))
    }
}

/// Promise: a whole annotated function may be an argument of a macro.
#[tokio::test]
async fn a_function_as_tokens() {
    assert_eq!(under("tokens:1", of_tokens(1)).await.expect("free"), Some(1));
    assert_eq!(lock_shape_tests::while_busy("tokens:1", of_tokens(1)).await.expect("skipped"), None);
}

macro_rules! with_names_of_its_own {
    ($name:ident, $block:block) => {
        #[distributed_lock(key = "own:{id}", ttl = "5s", guard = lock, fence = token)]
        async fn $name(id: u64) -> Result<u64, LockError> {
            body();
            let key = lock.key().to_string();
            let of_the_caller: u64 = $block;
            assert_eq!(lock.fence(), Some(token));
            Ok(of_the_caller + id + u64::try_from(key.len()).unwrap_or_default())
        }
    };
}

with_names_of_its_own!(own_names, {
    let id = 100;
    let lock = 1000;
    let token = 10_000;
    id + lock + token
});

/// Promise: names that a macro brings along, the guard's and the token's among them, and names of its caller's stay apart.
#[tokio::test]
async fn hygiene_of_the_macro() {
    assert_eq!(under("own:1", own_names(1)).await.expect("free"), 11_100 + 1 + 5);
}

macro_rules! methods {
    ($self_type:ident { $($name:ident => $key:literal),* }) => {
        impl $self_type {
            $(
                #[distributed_lock(key = $key, ttl = "5s", crate = $crate::reexport::lock_runtime)]
                async fn $name(&self, id: u8) -> Result<u8, LockError> {
                    body();
                    Ok(self.base + id)
                }
            )*
        }
    };
}

struct Counter {
    base: u8,
}

methods!(Counter { first => "first:{self.base}:{id}", second => "second:{id}" });

/// Promise: a macro that writes methods can lock each by a template of its caller's, `self` included.
#[tokio::test]
async fn methods_by_a_macro() {
    let counter = Counter { base: 1 };
    assert_eq!(under("first:1:2", counter.first(2)).await.expect("free"), 3);
    assert_eq!(under("second:3", counter.second(3)).await.expect("free"), 4);
}

macro_rules! keyed {
    ($template:literal) => {
        lock_runtime::key!($template)
    };
}

/// Promise: `key!` takes a template from a macro too.
#[test]
fn key_of_a_literal() {
    for id in [5, 6] {
        assert_eq!(keyed!("key:{id}").as_str(), format!("key:{id}"));
    }
}
