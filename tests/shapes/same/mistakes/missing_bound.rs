//! A type parameter without the bound.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f<T: std::fmt::Display>(id: T) -> Result<T, LockError> {
    Ok(id.clone())
}

fn main() {}
