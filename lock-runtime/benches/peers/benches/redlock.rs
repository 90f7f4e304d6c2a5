//! Redlock over five servers: ours, ours on one of them, and rslock.
//!
//! `cargo bench --bench redlock`; with `-- --quick` in a few seconds, for a first impression.

use lock_benchmarks::{Effort, redlock};

fn main() {
    redlock(Effort::from_arguments()).publish();
}
