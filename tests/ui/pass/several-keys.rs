#![deny(warnings)]

use lock_runtime::{LockError, LockKey, distributed_lock, key};

#[distributed_lock(keys = ["from:{from}", "to:{to.0}", "all"], ttl = "5s", guard = lock)]
async fn transfer(from: u64, to: (u64,)) -> Result<usize, LockError> {
    Ok(lock.keys().len())
}

#[distributed_lock(keys = ["order:{id}", key!("line:{line}"), names.first().map_or("none", |name| name)], ttl = "5s")]
async fn mixed(id: u64, line: u64, names: Vec<String>) -> Result<Vec<String>, LockError> {
    Ok(names)
}

#[distributed_lock(keys = ids.iter().map(|id| key!("order:{id}")), ttl = "5s")]
async fn of_an_iterator(ids: Vec<u64>) -> Result<Vec<u64>, LockError> {
    Ok(ids)
}

#[distributed_lock(keys = keys, ttl = "5s")]
async fn of_any<K: Into<LockKey>>(keys: Vec<K>) -> Result<(), LockError> {
    Ok(())
}

#[distributed_lock(keys = names, ttl = "5s")]
async fn of_borrowed_text(names: &[&str]) -> Result<usize, LockError> {
    Ok(names.len())
}

macro_rules! locked {
    ($name:ident, $keys:expr) => {
        #[distributed_lock(keys = $keys, ttl = "5s")]
        async fn $name(id: u64) -> Result<u64, LockError> {
            Ok(id)
        }
    };
}

locked!(written_by_a_macro, ["order:{id}", "stock:{id}"]);

pub(crate) fn main() {
    drop(transfer(1, (2,)));
    drop(mixed(1, 2, Vec::new()));
    drop(of_an_iterator(vec![1]));
    drop(of_any(vec!["a"]));
    drop(of_borrowed_text(&["a"]));
    drop(written_by_a_macro(1));
}
