use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: &str) -> Result<u64, LockError> {
    Ok(id.parse::<u64>()?)
}

fn main() {}
