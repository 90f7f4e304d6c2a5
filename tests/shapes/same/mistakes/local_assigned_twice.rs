//! A local that is not `mut` is assigned twice.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    let sum = id;
    sum += 1;
    Ok(sum)
}

fn main() {}
