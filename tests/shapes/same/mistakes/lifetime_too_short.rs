//! What is returned may not live long enough.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f<'a>(id: &'a str, other: &str) -> Result<&'a str, LockError> {
    Ok(if id.is_empty() { id } else { other })
}

fn main() {}
