//! An implementation that does not agree with its trait.
#![allow(dead_code)]

use lock_runtime::LockError;

trait Ledger {
    async fn book(&self, id: u64) -> Result<u64, LockError>;
}

impl Ledger for () {
    #[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
    async fn book(&self, id: u32) -> Result<u32, LockError> {
        Ok(id)
    }
}

fn main() {}
