use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(keys = ["order:{id}{id}", "stock:{item}", 7], ttl = "5s")]
async fn settle(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

#[distributed_lock(keys = ["order:{id}", "stock:{item}"], ttl = "5s")]
async fn restock(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

fn main() {}
