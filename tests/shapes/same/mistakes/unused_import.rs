//! An import in the body that nobody uses.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    use std::collections::BTreeMap;
    Ok(id)
}

fn main() {}
