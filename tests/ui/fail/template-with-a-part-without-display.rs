use lock_runtime::{LockError, distributed_lock};

struct Order;

#[distributed_lock(key = "order:{order}", ttl = "5s")]
async fn settle(order: Order) -> Result<Order, LockError> {
    Ok(order)
}

fn main() {}
