//! The flash sale: few pieces, and many who want one at the same moment.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lock_runtime::{LockError, LockManager, distributed_lock};
use redis::RedisError;

use crate::feed::Feed;
use crate::stock::Stock;

pub(crate) struct Sale {
    pub(crate) item: &'static str,
    pub(crate) locks: LockManager,
    pub(crate) stock: Stock,
    pub(crate) feed: Arc<Feed>,
    /// What tells this process from others on the same Redis: its port.
    pub(crate) instance: Arc<str>,
    crowds: AtomicU64,
    buyers: AtomicU64,
}

impl Sale {
    pub(crate) fn new(locks: LockManager, stock: Stock, feed: Arc<Feed>, instance: &str) -> Self {
        let (crowds, buyers) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { item: "sneakers", locks, stock, feed, instance: instance.into(), crowds, buyers }
    }

    /// The key of the lock under which is bought.
    pub(crate) fn key(&self) -> String {
        format!("sale:{}", self.item)
    }

    pub(crate) fn next_crowd(&self) -> u64 {
        self.crowds.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_buyer(&self) -> u64 {
        self.buyers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins a new sale if the last one is over.
    pub(crate) async fn open(&self) -> Result<(), Refusal> {
        if self.stock.read().await? <= 0 { restock(self).await } else { Ok(()) }
    }
}

/// Under the buyers' own lock: not while the last ones are still inside, and once, whatever number of instances find the shelf
/// empty.
#[distributed_lock(
    key = "sale:{sale.item}",
    ttl = "2s",
    wait = "30s",
    metadata = "instance {sale.instance}, restocking",
    manager = sale.locks
)]
async fn restock(sale: &Sale) -> Result<(), Refusal> {
    if sale.stock.read().await? <= 0 {
        sale.stock.fill().await?;
    }
    Ok(())
}

/// Why somebody does not get anything.
#[derive(Debug)]
pub(crate) enum Refusal {
    SoldOut,
    Lock(LockError),
    Stock(RedisError),
}

impl From<LockError> for Refusal {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        Self::Stock(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut => f.write_str("sold out"),
            Self::Lock(error) => error.fmt(f),
            Self::Stock(error) => error.fmt(f),
        }
    }
}

impl Error for Refusal {}
