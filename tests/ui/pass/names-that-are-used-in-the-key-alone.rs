#![deny(warnings)]

use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn settle(id: u64) -> Result<(), LockError> {
    Ok(())
}

#[async_trait::async_trait]
trait Settle {
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn settle(&self, id: u64) -> Result<(), LockError> {
        Ok(())
    }
}

impl Settle for () {}

pub(crate) fn main() {
    drop(settle(1));
    drop(().settle(1));
}
