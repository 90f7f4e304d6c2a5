//! Locks with scripts and without: by transactions, and by the server's own compare-and-delete.
//!
//! `REDIS_SERVER=…/valkey-server cargo bench --bench scriptless`; with `-- --quick` in a few seconds, for a first impression.

use lock_benchmarks::{Effort, scriptless};

fn main() {
    scriptless(Effort::from_arguments()).publish();
}
