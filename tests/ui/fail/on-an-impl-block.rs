use lock_runtime::{LockError, distributed_lock};

struct Shop;

#[distributed_lock(key = "order:{id}", ttl = "5s")]
impl Shop {
    async fn settle(id: u64) -> Result<u64, LockError> {
        Ok(id)
    }
}

fn main() {}
