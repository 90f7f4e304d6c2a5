use lock_runtime::distributed_lock;

struct AppError;

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn settle(id: u64) -> Result<u64, AppError> {
    Ok(id)
}

fn main() {}
