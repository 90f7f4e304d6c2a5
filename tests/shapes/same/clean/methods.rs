//! Methods that nothing is wrong with.

use lock_runtime::LockError;

use std::sync::Arc;

struct Account {
    tenant: String,
    balance: u64,
}

impl Account {
    #[lock_runtime::distributed_lock(key = "k:{self.tenant}", ttl = "5s")]
    async fn read(&self) -> Result<u64, LockError> {
        Ok(self.balance)
    }

    #[lock_runtime::distributed_lock(key = "k:{self.tenant}", ttl = "5s")]
    async fn add(&mut self, amount: u64) -> Result<&mut Self, LockError> {
        self.balance += amount;
        Ok(self)
    }

    #[lock_runtime::distributed_lock(key = "k:{self.tenant}", ttl = "5s")]
    async fn close(self) -> Result<String, LockError> {
        Ok(self.tenant)
    }

    #[lock_runtime::distributed_lock(key = "k:{self.tenant}", ttl = "5s")]
    async fn shared(self: Arc<Self>) -> Result<u64, LockError> {
        Ok(self.balance)
    }

    #[lock_runtime::distributed_lock(key = "k:{tenant}", ttl = "5s")]
    async fn open(tenant: &str) -> Result<Self, LockError> {
        Ok(Self { tenant: tenant.to_owned(), balance: 0 })
    }
}

trait Ledger {
    #[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
    async fn provided(&self) -> Result<u64, LockError> {
        Ok(1)
    }
}

impl Ledger for Account {}

fn main() {
    let mut account = Account { tenant: String::new(), balance: 1 };
    drop(account.add(1));
    drop((account.read(), account.provided(), Account::open("")));
    drop(account.close());
    drop(Arc::new(Account { tenant: String::new(), balance: 1 }).shared());
}
