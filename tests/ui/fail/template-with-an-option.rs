use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn settle(id: Option<u64>) -> Result<Option<u64>, LockError> {
    Ok(id)
}

fn main() {}
