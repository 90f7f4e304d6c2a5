//! An argument is used after it was moved.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: String) -> Result<usize, LockError> {
    drop(id);
    Ok(id.len())
}

fn main() {}
