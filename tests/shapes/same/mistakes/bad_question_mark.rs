//! The error of `?` cannot be converted.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: &str) -> Result<u64, LockError> {
    Ok(id.parse::<u64>()?)
}

fn main() {}
