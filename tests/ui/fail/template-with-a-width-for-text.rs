use lock_runtime::{LockError, distributed_lock};

#[distributed_lock(key = "user:{name:8}", ttl = "5s")]
async fn settle(name: &str) -> Result<usize, LockError> {
    Ok(name.len())
}

fn main() {}
