//! A local is used after it was moved.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<String, LockError> {
    let text = id.to_string();
    drop(text);
    Ok(text)
}

fn main() {}
