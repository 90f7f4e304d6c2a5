//! Fencing tokens: numbers by which a resource refuses whoever comes too late.

use crate::key::LockKey;

/// The end of the counters' names.
const COUNTER: &str = "lock_runtime:fence";

/// Where the managers with this prefix have their counter: one for all locks. One for each would stay for every key that was
/// ever locked.
pub(crate) fn counter(key_prefix: &str) -> LockKey {
    LockKey::from(COUNTER).prefixed(key_prefix)
}

/// Whether this is the name of a counter, of whatever prefix.
pub(crate) fn is_counter(key: &LockKey) -> bool {
    key.as_str().ends_with(COUNTER)
}
