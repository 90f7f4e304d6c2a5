//! Where the counters of fencing tokens are kept. What tokens are for: [`guide::fencing`](crate::guide::fencing).

use crate::key::LockKey;

/// The end of the counters' names.
pub(crate) const COUNTER: &str = "lock_runtime:fence";

/// Where the managers with this prefix have their counter.
pub(crate) fn counter(key_prefix: &str) -> LockKey {
    LockKey::from(COUNTER).prefixed(key_prefix)
}

/// Whether this is the name of a counter, of whatever prefix.
pub(crate) fn is_counter(key: &LockKey) -> bool {
    key.as_str().ends_with(COUNTER)
}
