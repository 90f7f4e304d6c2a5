//! Parentheses and braces that are not needed.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    let sum = (id + 1);
    if (sum == 1) {
        return Ok({ sum });
    }
    Ok(sum)
}

fn main() {}
