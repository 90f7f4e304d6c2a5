//! A reference is returned, and nothing says of what.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: &str, other: &str) -> Result<&str, LockError> {
    Ok(id)
}

fn main() {}
