use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(keys = "order:{id}", ttl = "5s")]
async fn settle(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

fn main() {}
