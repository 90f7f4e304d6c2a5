use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "order:{id}", ttl = "5s", guard = lock, fence = lock)]
async fn settle(id: u64) -> Result<u64, LockError> {
    lock.ttl().await?;
    Ok(id)
}

fn main() {}
