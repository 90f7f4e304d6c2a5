use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle<'a>(id: String) -> Result<&'a str, LockError> {
    Ok(&id)
}

fn main() {}
