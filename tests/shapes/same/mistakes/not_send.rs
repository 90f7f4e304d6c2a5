//! A value that is not `Send` is kept across an `.await`, in a future that must be.
#![allow(dead_code)]

use lock_runtime::LockError;

use std::rc::Rc;

fn spawn(_: impl Future + Send) {}

async fn wait() {}

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64) -> Result<u64, LockError> {
    let kept = Rc::new(id);
    wait().await;
    Ok(*kept)
}

fn main() {
    spawn(f(1));
}
