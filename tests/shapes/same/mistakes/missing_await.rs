//! A future is taken for its output.
#![allow(dead_code)]

use lock_runtime::LockError;

async fn called() -> u64 {
    1
}

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    Ok(id + called())
}

fn main() {}
