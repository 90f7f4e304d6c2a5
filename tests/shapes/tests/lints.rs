//! Promise: a crate that denies all warnings, clippy's pedantic and nursery ones included, and forbids unsafe code, can use the
//! attribute on every shape. The test is that this file compiles, under `cargo clippy`: what it asserts at run time is little.

#![deny(
    warnings,
    unused,
    unused_qualifications,
    unreachable_pub,
    missing_docs,
    single_use_lifetimes,
    let_underscore_drop,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::dbg_macro,
    clippy::default_trait_access,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::min_ident_chars,
    clippy::mod_module_files,
    clippy::panic,
    clippy::pattern_type_mismatch,
    clippy::print_stdout,
    clippy::same_name_method,
    clippy::semicolon_outside_block,
    clippy::shadow_unrelated,
    clippy::str_to_string,
    clippy::todo,
    clippy::unreachable,
    clippy::unseparated_literal_suffix,
    clippy::unwrap_used
)]
#![forbid(unsafe_code)]

use core::fmt::Display;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lock_runtime::{LockError, LockManager, Retry, distributed_lock};
use lock_shape_tests::{body, under, while_busy};

/// A public function with public documentation.
///
/// # Errors
///
/// When the lock cannot be had.
#[distributed_lock(key = "order:{id}", ttl = "5s", wait = "2s")]
pub async fn documented(id: u64) -> Result<u64, LockError> {
    body();
    Ok(id)
}

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn one_line(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

#[distributed_lock(key = "order", ttl = "5s")]
async fn no_await_and_no_use() -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn early(id: u64, name: &str) -> Result<String, LockError> {
    if id == 0 {
        return Ok(String::new());
    }
    for letter in name.chars() {
        if letter == '!' {
            return Ok(name.to_owned());
        }
    }
    let length = other(name).await?;
    Ok(format!("{name}{length}"))
}

async fn other(name: &str) -> Result<usize, LockError> {
    tokio::task::yield_now().await;
    Ok(name.len())
}

#[distributed_lock(key = "loop", ttl = "5s")]
async fn endless(mut rounds: u32) -> Result<u32, LockError> {
    loop {
        rounds += 1;
        if rounds > 3 {
            return Ok(rounds);
        }
        tokio::task::yield_now().await;
    }
}

#[distributed_lock(key = "unit", ttl = "5s", on_busy = "skip", on_error = |_| ())]
async fn unit(log: &mut Vec<u8>) {
    log.push(1);
}

#[distributed_lock(key = "option", ttl = "5s", on_busy = "skip", on_error = |_| None)]
async fn option(some: Option<u8>) -> Option<u8> {
    Some(some? + 1)
}

#[distributed_lock(
    key = "all:{id}:{name}",
    ttl = Duration::from_secs(5),
    wait = "2s",
    retry = Retry::exponential(Duration::from_millis(10), Duration::from_millis(20)).limit(3),
    on_busy = |busy| Ok(busy.key.to_string()),
    on_error = |error| if error.is_lost() { Ok(String::new()) } else { Err(error) },
    renew = Duration::from_secs(1),
    max_hold = "1m",
    min_hold = "1ms",
    on_lost = "proceed",
    release = "background",
    guard = lock,
    metadata = "{name} at {id}",
    name = "all",
    manager = locks
)]
async fn all_arguments(locks: &LockManager, id: u64, name: &str) -> Result<String, LockError> {
    lock.extend(Duration::from_secs(6)).await?;
    Ok(format!("{id}{name}"))
}

#[distributed_lock(key = "fenced:{id}", ttl = "5s", renew, guard = lock, fence = token)]
async fn fenced(id: i64) -> Result<i64, LockError> {
    lock.extend(Duration::from_secs(6)).await?;
    Ok(token.max(id))
}

#[distributed_lock(key = "fence", ttl = "5s", guard = lock, fence = _for_the_guard)]
async fn fence_unnamed() -> Result<Option<i64>, LockError> {
    Ok(lock.fence())
}

#[expect(unused_variables, reason = "that these are seen to be unused is what is tested")]
#[distributed_lock(key = "unused", ttl = "5s", guard = unused_guard, fence = unused_token)]
async fn unused_bindings() -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(key = "busy", ttl = "5s", on_busy = Ok(other(&name).await?))]
async fn busy_expression(name: String) -> Result<usize, LockError> {
    Ok(name.len())
}

#[distributed_lock(key = format!("of-{}", names.len()), ttl = "5s")]
async fn key_expression(names: Vec<String>) -> Result<Vec<String>, LockError> {
    Ok(names)
}

#[distributed_lock(key = "pattern:{left}:{right}", ttl = "5s")]
async fn patterns((left, right): (u8, u8), [first, ..]: [u8; 3], _: u8) -> Result<u8, LockError> {
    Ok(left + right + first)
}

#[distributed_lock(key = "generic:{key}:{N}", ttl = "5s")]
async fn generic<K, V, const N: usize>(key: K, values: [V; N]) -> Result<BTreeMap<K, Vec<V>>, LockError>
where
    K: Display + Ord + Send + Sync,
    V: Send,
{
    Ok(BTreeMap::from([(key, values.into_iter().collect())]))
}

#[distributed_lock(key = "borrow", ttl = "5s")]
async fn borrowed<'kept>(kept: &'kept mut Vec<u8>, other: &str) -> Result<&'kept mut Vec<u8>, LockError> {
    kept.extend(other.bytes());
    Ok(kept)
}

#[distributed_lock(key = "impl", ttl = "5s")]
async fn impl_trait(limit: u32, map: impl Fn(u32) -> u32 + Send) -> Result<impl Iterator<Item = u32>, LockError> {
    Ok((0..limit).map(map))
}

#[distributed_lock(key = "boxed", ttl = "5s", on_error = |_| Box::new(|number| number))]
async fn boxed_function(by: u32) -> Box<dyn Fn(u32) -> u32 + Send> {
    Box::new(move |number| number + by)
}

#[expect(dead_code, reason = "that it is seen to be dead is what is tested")]
#[distributed_lock(key = "dead", ttl = "5s")]
async fn dead() -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(key = "lint:{id}", ttl = "5s")]
async fn with_lints_of_its_own(id: u64) -> Result<u64, LockError> {
    #![expect(unused_variables, reason = "that it is seen is what is tested")]
    let unused = id;
    Ok(id)
}

struct Account {
    tenant: String,
    locks: Arc<LockManager>,
    balance: u64,
}

impl Account {
    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s", manager = self.locks)]
    async fn read(&self) -> Result<u64, LockError> {
        Ok(self.balance)
    }

    #[distributed_lock(key = "renewed:{self.tenant}", ttl = "5s", manager = self.locks, renew, max_hold = "1m")]
    async fn renewed(&self) -> Result<u64, LockError> {
        other("name").await?;
        Ok(self.balance)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s", manager = self.locks)]
    async fn add(&mut self, amount: u64) -> Result<&mut Self, LockError> {
        self.balance += amount;
        Ok(self)
    }

    #[distributed_lock(key = "account:{self.tenant}", ttl = "5s", manager = self.locks)]
    async fn close(self) -> Result<String, LockError> {
        Ok(self.tenant)
    }

    #[distributed_lock(key = "account:{tenant}", ttl = "5s", manager = locks)]
    async fn open(locks: Arc<LockManager>, tenant: &str) -> Result<Self, LockError> {
        Ok(Self { tenant: tenant.to_owned(), locks: Arc::clone(&locks), balance: 0 })
    }
}

trait Native {
    #[distributed_lock(key = "native", ttl = "5s")]
    async fn provided(&self) -> Result<u64, LockError> {
        Ok(1)
    }

    async fn required(&self, id: u64) -> Result<u64, LockError>;
}

impl Native for Account {
    #[distributed_lock(key = "native:{id}", ttl = "5s")]
    async fn required(&self, id: u64) -> Result<u64, LockError> {
        Ok(id + self.balance)
    }
}

#[async_trait]
trait Boxed: Send + Sync {
    async fn look(&self, id: u64) -> Result<u64, LockError>;

    async fn fenced(&self) -> Result<i64, LockError>;
}

#[async_trait]
impl Boxed for Account {
    #[distributed_lock(key = "boxed:{self.tenant}:{id}", ttl = "5s", guard = lock)]
    async fn look(&self, id: u64) -> Result<u64, LockError> {
        if lock.remaining().is_zero() {
            return Ok(0);
        }
        other("name").await?;
        Ok(id + self.balance)
    }

    #[distributed_lock(key = "fenced:{self.tenant}", ttl = "5s", min_hold = "1ms", on_lost = "proceed", fence = token)]
    async fn fenced(&self) -> Result<i64, LockError> {
        other("name").await?;
        Ok(token)
    }
}

#[tracing::instrument(skip_all)]
#[distributed_lock(key = "instrumented:{id}", ttl = "5s")]
async fn instrumented(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

#[distributed_lock(key = "test", ttl = "5s", manager = LockManager::in_memory())]
#[tokio::test]
async fn is_locked() -> Result<(), LockError> {
    under("order:1", documented(1)).await?;
    Ok(())
}

#[tokio::test]
async fn everything_runs() -> Result<(), LockError> {
    let locks = Arc::new(LockManager::in_memory());
    locks.scope(everything(Arc::clone(&locks))).await?;
    assert_eq!(while_busy("busy", busy_expression("name".to_owned())).await?, 4);
    Ok(())
}

async fn everything(locks: Arc<LockManager>) -> Result<(), LockError> {
    let mut log = Vec::new();
    unit(&mut log).await;
    assert_eq!(log, [1]);
    assert_eq!(one_line(1).await?, 1);
    no_await_and_no_use().await?;
    assert_eq!(early(1, "name").await?, "name4");
    assert_eq!(endless(0).await?, 4);
    assert_eq!(option(Some(1)).await, Some(2));
    assert_eq!(all_arguments(&locks, 1, "name").await?, "1name");
    assert!(fenced(1).await? > 1);
    assert!(fence_unnamed().await?.is_some());
    unused_bindings().await?;
    assert_eq!(key_expression(vec!["name".to_owned()]).await?, ["name"]);
    assert_eq!(patterns((1, 2), [3, 4, 5], 6).await?, 6);
    assert_eq!(generic("key", [1, 2]).await?, BTreeMap::from([("key", vec![1, 2])]));
    assert_eq!(*borrowed(&mut log, "a").await?, [1, 97]);
    assert_eq!(impl_trait(3, |number| number * 2).await?.sum::<u32>(), 6);
    assert_eq!(boxed_function(1).await(1), 2);
    assert_eq!(with_lints_of_its_own(1).await?, 1);
    let mut account = Account::open(locks, "acme").await?;
    assert_eq!(account.add(2).await?.read().await?, 2);
    assert_eq!(account.renewed().await?, 2);
    assert_eq!(account.provided().await?, 1);
    assert_eq!(account.required(1).await?, 3);
    assert_eq!(account.look(1).await?, 3);
    assert!(account.fenced().await? > 0);
    assert_eq!(instrumented(1).await?, 1);
    assert_eq!(account.close().await?, "acme");
    Ok(())
}
