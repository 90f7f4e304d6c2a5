use lock_runtime::{LockError, distributed_lock};

struct Shop {
    tenant: String,
}

impl Shop {
    #[distributed_lock(key = "order:{tenant}", ttl = "5s")]
    async fn settle(&self) -> Result<(), LockError> {
        Ok(())
    }
}

fn main() {}
