//! An argument is used as a whole after a part was moved.
#![allow(dead_code)]

use lock_runtime::LockError;

struct Order {
    id: String,
}

#[lock_runtime::distributed_lock(key = "k:{order.id}", ttl = "5s")]
async fn f(order: Order) -> Result<Order, LockError> {
    drop(order.id);
    Ok(order)
}

fn main() {}
