use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: String) -> Result<String, LockError> {
    drop(id);
    Ok(id)
}

fn main() {}
