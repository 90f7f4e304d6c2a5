use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<u64, LockError> {
    if id == 0 {
        return "none";
    }
    Ok(id)
}

fn main() {}
