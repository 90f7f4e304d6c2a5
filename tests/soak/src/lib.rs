//! Processes that take locks while everything around them fails, and a checker of what they did.
//!
//! Workers ([`worker`]) are processes of several tasks. They call locked functions in every way, on a few keys, and count up what
//! the locks protect ([`resource`]). Meanwhile a nemesis does to them, to their server and to their network what a [`schedule`]
//! says, which follows from one seed. What happened is read from their logs ([`record`], [`history`]) and judged ([`check`]) by what is promised: no two
//! leases of a key at once, no lost update, rising fencing tokens, a turn for everybody, and nothing left behind.
//!
//! A soak that finds nothing proves something only if it would have found something: stores that are [broken on
//! purpose](watched::Broken) have to fail it.

pub mod check;
pub mod dice;
pub mod history;
mod nemesis;
pub mod record;
pub mod report;
pub mod resource;
pub mod run;
pub mod schedule;
pub mod topology;
pub mod watched;
pub mod worker;

/// How many workers there are at a time.
pub const PROCESSES: usize = 4;

/// How many tasks each of them has.
pub const TASKS: usize = 6;

/// How many keys they share.
pub const KEYS: usize = 6;

/// The key of that number.
fn key_name(key: usize) -> String {
    format!("soak:{key}")
}

/// The line before the key of that number.
fn line_name(key: usize) -> String {
    format!("{}:lock_runtime:q1", key_name(key))
}
