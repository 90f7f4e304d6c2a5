use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: &str) -> Result<u64, LockError> {
    Ok(id.parse::<u64>()?)
}

fn main() {}
