//! Uncontended acquire + release: ours, the bare commands, and other libraries.
//!
//! `cargo bench --bench uncontended`; with `-- --quick` in a few seconds, for a first impression.

use lock_benchmarks::{Effort, uncontended};

fn main() {
    uncontended(Effort::from_arguments()).report.publish();
}
