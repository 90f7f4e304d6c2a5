//! Two mistakes are two errors.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: String, other: String) -> Result<usize, LockError> {
    drop(id);
    other.push('x');
    Ok(id.len())
}

fn main() {}
