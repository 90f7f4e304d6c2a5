//! There is no such field.
#![allow(dead_code)]

use lock_runtime::LockError;

struct Order {
    id: u64,
}

#[lock_runtime::distributed_lock(key = "k:{order.id}", ttl = "5s")]
async fn f(order: Order) -> Result<u64, LockError> {
    Ok(order.idd)
}

fn main() {}
