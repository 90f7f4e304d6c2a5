use lock_runtime::LockError;

// Without the attribute.
async fn settle(id: u64) -> Result<u64, LockError> {
    std::future::ready(Ok(id))
}

fn main() {}
