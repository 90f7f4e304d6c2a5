use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: Option<u64>) -> Result<u64, LockError> {
    Ok(id?)
}

fn main() {}
