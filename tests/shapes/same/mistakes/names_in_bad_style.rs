//! Names that the compiler would write differently.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn Settle(id: u64, Name: &str) -> Result<usize, LockError> {
    let Local = Name.len() + id as usize;
    Ok(Local)
}

fn main() {}
