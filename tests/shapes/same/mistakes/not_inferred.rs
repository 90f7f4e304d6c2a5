//! A type that nothing says.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    let items = Vec::new();
    Ok(id + items.len() as u64)
}

fn main() {}
