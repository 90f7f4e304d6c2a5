//! `?` on an `Option` in a function that returns a `Result`.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: &str) -> Result<char, LockError> {
    Ok(id.chars().next()?)
}

fn main() {}
