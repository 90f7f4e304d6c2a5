//! A borrow of a local is returned.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f<'a>(id: &'a str) -> Result<&'a str, LockError> {
    let text = id.to_owned();
    Ok(text.as_str())
}

fn main() {}
