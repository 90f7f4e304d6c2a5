use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(keys = ids, ttl = "5s")]
async fn settle(ids: Vec<u64>) -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(keys = ["order", id], ttl = "5s")]
async fn restock(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

fn main() {}
