//! Variables and arguments that nobody uses.
#![allow(dead_code)]

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64, unused: u8, (left, right): (u8, u8)) -> Result<u64, LockError> {
    let local = 1;
    Ok(id + u64::from(left))
}

fn main() {}
