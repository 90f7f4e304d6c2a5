use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<u64, LockError> {
    let lines = Vec::new();
    Ok(id + lines.len() as u64)
}

fn main() {}
