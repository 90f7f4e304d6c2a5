//! How many pieces are left: in this process, or in Redis for all instances.

use std::sync::atomic::{AtomicI64, Ordering};

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, RedisError};

/// How many pieces there are when a sale begins.
pub(crate) const PIECES: i64 = 20;

const KEY: &str = "web:stock";

/// Each operation is right in itself. Two of them in a row are what the lock is for.
pub(crate) enum Stock {
    Memory(AtomicI64),
    Redis(ConnectionManager),
}

impl Stock {
    pub(crate) fn in_memory() -> Self {
        Self::Memory(AtomicI64::new(PIECES))
    }

    pub(crate) async fn read(&self) -> Result<i64, RedisError> {
        match self {
            Self::Memory(left) => Ok(left.load(Ordering::SeqCst)),
            Self::Redis(connection) => {
                let left: Option<i64> = connection.clone().get(KEY).await?;
                // Nobody has bought anything yet.
                Ok(left.unwrap_or(PIECES))
            }
        }
    }

    /// Says what is left after it.
    pub(crate) async fn take_one(&self) -> Result<i64, RedisError> {
        match self {
            Self::Memory(left) => Ok(left.fetch_sub(1, Ordering::SeqCst) - 1),
            Self::Redis(connection) => {
                let mut connection = connection.clone();
                let (left,) = redis::pipe()
                    .atomic()
                    .cmd("SET")
                    .arg(KEY)
                    .arg(PIECES)
                    .arg("NX")
                    .ignore()
                    .decr(KEY, 1)
                    .query_async(&mut connection)
                    .await?;
                Ok(left)
            }
        }
    }

    pub(crate) async fn fill(&self) -> Result<(), RedisError> {
        match self {
            Self::Memory(left) => left.store(PIECES, Ordering::SeqCst),
            Self::Redis(connection) => connection.clone().set(KEY, PIECES).await?,
        }
        Ok(())
    }
}
