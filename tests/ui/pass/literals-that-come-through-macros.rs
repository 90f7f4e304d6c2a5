#![deny(warnings)]

use lock_runtime::{LockError, distributed_lock, key};

macro_rules! locked {
    ($name:ident, $key:literal, $ttl:literal, $inner:expr) => {
        #[distributed_lock(key = $key, ttl = $ttl)]
        async fn $name(id: u64) -> Result<String, LockError> {
            Ok(key!($inner).to_string())
        }
    };
}

locked!(settle, "order:{id}", "5s", "fixed");
macro_rules! key_of {
    ($key:literal) => {
        key!($key).to_string()
    };
}

pub(crate) fn main() {
    drop(settle(1));
    let keys = [1, 2].map(|id| key_of!("order:{id}"));
    assert_eq!(keys, ["order:1", "order:2"]);
}
