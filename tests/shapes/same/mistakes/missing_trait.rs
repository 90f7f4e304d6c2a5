//! A bound that the type does not meet.
#![allow(dead_code)]

use lock_runtime::LockError;

struct Opaque;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<String, LockError> {
    let _ = id;
    Ok(Opaque.to_string())
}

fn main() {}
