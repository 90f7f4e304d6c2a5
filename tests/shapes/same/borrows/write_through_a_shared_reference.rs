//! A borrowed argument is written to.
#![allow(dead_code)]

use lock_runtime::LockError;

struct Account {
    balance: u64,
}

impl Account {
    #[lock_runtime::distributed_lock(key = "k:{self.balance}", ttl = "5s")]
    async fn f(&self) -> Result<u64, LockError> {
        self.balance += 1;
        Ok(self.balance)
    }
}

fn main() {}
