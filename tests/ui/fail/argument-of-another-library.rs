use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "order:{id}", lease_time = "5s", timeout = "2s")]
async fn settle(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

fn main() {}
