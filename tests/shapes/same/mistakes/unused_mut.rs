//! `mut` that is not needed, on an argument and on a local.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64, mut name: String) -> Result<String, LockError> {
    let mut local = id.to_string();
    Ok(name + &local)
}

fn main() {}
