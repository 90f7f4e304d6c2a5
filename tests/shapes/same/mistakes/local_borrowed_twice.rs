//! A local is borrowed twice.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    let mut items = vec![id];
    let first = &items[0];
    items.push(1);
    Ok(*first)
}

fn main() {}
