//! A borrow of an argument is returned.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: String) -> Result<&'static str, LockError> {
    Ok(id.as_str())
}

fn main() {}
