//! Several mistakes: one does not hide the other.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64, name: &str) -> Result<String, LockError> {
    let length: u8 = name.len();
    if id == 0 {
        return Err("zero");
    }
    name.missing();
    Ok(length)
}

fn main() {}
