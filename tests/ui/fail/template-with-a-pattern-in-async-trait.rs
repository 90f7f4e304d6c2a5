use lock_runtime::{LockError, distributed_lock};

struct Shop;

#[async_trait::async_trait]
trait Settle {
    async fn settle(&self, order: (u64, u64)) -> Result<u64, LockError>;
}

#[async_trait::async_trait]
impl Settle for Shop {
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn settle(&self, (id, line): (u64, u64)) -> Result<u64, LockError> {
        Ok(id + line)
    }
}

fn main() {}
