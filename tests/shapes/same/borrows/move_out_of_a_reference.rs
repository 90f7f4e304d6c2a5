//! Something is moved out of a borrowed argument.
#![allow(dead_code)]

use lock_runtime::LockError;

struct Order {
    id: String,
}

#[lock_runtime::distributed_lock(key = "k:{order.id}", ttl = "5s")]
async fn f(order: &Order) -> Result<String, LockError> {
    Ok(order.id)
}

fn main() {}
