use lock_runtime::{LockError, distributed_lock};

#[distributed_lock]
async fn settle() -> Result<(), LockError> {
    Ok(())
}

fn main() {}
