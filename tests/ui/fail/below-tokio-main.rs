use lock_runtime::{LockError, distributed_lock};

#[tokio::main(flavor = "current_thread")]
#[distributed_lock(key = "main", ttl = "5s")]
async fn main() -> Result<(), LockError> {
    Ok(())
}
