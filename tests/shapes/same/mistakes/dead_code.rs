//! Nobody calls the function, nor what is in it.

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    fn inside() {}
    Ok(id)
}

struct Account;

impl Account {
    #[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
    async fn method(&self) -> Result<(), LockError> {
        Ok(())
    }
}

fn main() {}
