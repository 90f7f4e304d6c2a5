use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "order:{id}", ttl = "5s", fence = token)]
async fn settle(id: u64) -> Result<u64, LockError> {
    let fence: u64 = token;
    Ok(id.max(fence))
}

fn main() {}
