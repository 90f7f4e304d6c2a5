//! A collection of another type.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<Vec<String>, LockError> {
    Ok((0..id).collect())
}

fn main() {}
