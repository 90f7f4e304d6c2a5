#![forbid(unsafe_code)]
#![deny(warnings)]

use lock_runtime::{LockError, LockManager, Retry, distributed_lock};

#[distributed_lock(
    key = "order:{id}",
    ttl = "5s",
    wait = "2s",
    retry = Retry::none(),
    renew = "1s",
    max_hold = "1m",
    min_hold = "1s",
    on_busy = |_| None,
    on_error = |error: LockError| Some(error.to_string()),
    on_lost = "proceed",
    release = "background",
    guard = lock,
    fence = token,
    metadata = "settling {id}",
    name = "settle an order",
    manager = LockManager::in_memory(),
    crate = ::lock_runtime,
)]
async fn settle(id: u64) -> Option<String> {
    Some(format!("{} {token}", lock.key()))
}

pub(crate) fn main() {
    drop(settle(1));
}
