//! An argument is borrowed twice.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async fn f(mut items: Vec<u8>) -> Result<u8, LockError> {
    let first = &items[0];
    items.push(1);
    Ok(*first)
}

fn main() {}
