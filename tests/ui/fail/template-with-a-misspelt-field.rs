use lock_runtime::{LockError, distributed_lock};

struct Order {
    number: u64,
}

#[distributed_lock(key = "order:{order.numbre}", ttl = "5s")]
async fn settle(order: Order) -> Result<u64, LockError> {
    Ok(order.number)
}

fn main() {}
