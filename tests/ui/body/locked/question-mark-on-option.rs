use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: Option<u64>) -> Result<u64, LockError> {
    Ok(id?)
}

fn main() {}
