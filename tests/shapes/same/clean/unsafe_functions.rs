//! `async unsafe fn`, which a crate that forbids unsafe code cannot have.

use lock_runtime::LockError;

/// # Safety
///
/// None is needed.
#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async unsafe fn dangerous(id: u64) -> Result<u64, LockError> {
    Ok(id)
}

/// # Safety
///
/// The pointer must be good.
#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async unsafe fn pointer(pointer: *const u64) -> Result<u64, LockError> {
    // SAFETY: as above.
    Ok(unsafe { *pointer })
}

fn main() {
    // SAFETY: see there.
    drop(unsafe { (dangerous(1), pointer(&raw const ID)) });
}

static ID: u64 = 1;
