//! A call that needs `unsafe`.
#![allow(dead_code)]

use lock_runtime::LockError;

unsafe fn dangerous() {}

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    dangerous();
    Ok(id)
}

fn main() {}
