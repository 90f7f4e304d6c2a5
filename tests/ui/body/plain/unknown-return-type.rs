use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<Receipt, LockError> {
    Ok(Receipt(id))
}

fn main() {}
