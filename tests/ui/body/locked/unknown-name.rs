use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: u64) -> Result<u64, LockError> {
    Ok(idd)
}

fn main() {}
