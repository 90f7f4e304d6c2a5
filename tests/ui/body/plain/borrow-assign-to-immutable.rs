use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<u64, LockError> {
    id += 1;
    Ok(id)
}

fn main() {}
