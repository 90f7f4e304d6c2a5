use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "order", ttl = "5s")]
async fn settle(id: u64) -> Result<u64, LockError> {
    let order = id.;
    Ok(order)
}

fn main() {}
