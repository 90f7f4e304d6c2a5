use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: &str) -> Result<&str, LockError> {
    let text = id.to_owned();
    Ok(&text)
}

fn main() {}
