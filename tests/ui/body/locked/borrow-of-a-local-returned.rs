use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: &str) -> Result<&str, LockError> {
    let text = id.to_owned();
    Ok(&text)
}

fn main() {}
