//! What clippy warns of in a body, it warns of under the attribute, and of nothing else.

use lock_runtime::LockError;

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn f(id: u64, names: Vec<String>) -> Result<u64, LockError> {
    let sum = id as u32;
    if names.len() == 0 {
        return Ok(sum as u64);
    }
    let found = names.iter().map(|name| name.clone()).collect::<Vec<_>>();
    const LATE: u64 = 1;
    return Ok(found.len() as u64 + LATE);
}

fn main() {
    drop(f(1, Vec::new()));
}
