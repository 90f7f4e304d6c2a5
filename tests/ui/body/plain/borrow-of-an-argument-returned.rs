use lock_runtime::LockError;

// Without the attribute.
async fn settle<'a>(id: String) -> Result<&'a str, LockError> {
    Ok(&id)
}

fn main() {}
