//! Uncontended acquire + release: ours, the bare commands, and other libraries.
//!
//! `cargo bench --bench uncontended`; with `-- --quick` in a few seconds, for a first impression; with
//! `--features observed` while metrics are counted and functions are listed, and with `-- --spans` while spans are written, too.

use lock_benchmarks::{Effort, uncontended};

fn main() {
    #[cfg(feature = "observed")]
    lock_benchmarks::observe();
    uncontended(Effort::from_arguments()).report.publish();
}
