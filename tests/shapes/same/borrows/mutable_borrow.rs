//! An argument that is not `mut` is borrowed mutably.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async fn f(items: Vec<u8>) -> Result<usize, LockError> {
    items.push(1);
    Ok(items.len())
}

fn main() {}
