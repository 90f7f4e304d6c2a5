use lock_runtime::{LockError, distributed_lock};

struct Shop;

impl Shop {
    #[distributed_lock(key = "order:{id}")]
    async fn settle(&self, id: u64) -> Result<u64, LockError> {
        Ok(id)
    }
}

fn main() {
    drop(Shop.settle(42));
}
