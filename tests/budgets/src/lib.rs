//! What a lock may cost in memory: allocations on the path that every lock takes, and what stays of a key that was used.

pub mod keys;
