//! Closures that only pass on what they get: they have to be closures, so clippy must not ask for anything else.

use lock_runtime::{Busy, LockError};

struct AppError;

impl From<LockError> for AppError {
    fn from(_: LockError) -> Self {
        Self
    }
}

fn answer(busy: Busy) -> Result<u64, AppError> {
    if busy.holder.is_some() { Ok(1) } else { Err(AppError) }
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_error = |error| drop(error))]
async fn dropped() {}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_error = |error| Err(error))]
async fn wrapped() -> Result<(), LockError> {
    Ok(())
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_error = |error| AppError::from(error))]
async fn converted() -> AppError {
    AppError
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_error = |error| error.to_string())]
async fn by_a_method() -> String {
    String::new()
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_busy = |busy| answer(busy))]
async fn answered() -> Result<u64, AppError> {
    Ok(0)
}

fn main() {
    let _: fn(Busy) -> Result<u64, AppError> = answer;
    drop((dropped(), wrapped(), converted(), by_a_method(), answered()));
}
