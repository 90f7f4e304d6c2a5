//! A function is called with another type.
#![allow(dead_code)]

use lock_runtime::LockError;

fn called(_: &str) {}

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    called(id);
    Ok(id)
}

fn main() {}
