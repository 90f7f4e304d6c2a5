use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<u64, LockError> {
    Ok(id);
}

fn main() {}
