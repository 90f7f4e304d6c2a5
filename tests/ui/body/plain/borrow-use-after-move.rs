use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: String) -> Result<String, LockError> {
    drop(id);
    Ok(id)
}

fn main() {}
