//! The benchmarks run, and nothing about them is absurd.

use lock_benchmarks::{Effort, uncontended};

/// Debug code on a shared machine is no place for figures. But a path that waits for a timer, or dials a connection for
/// every lock, is behind by far more than this.
#[test]
fn ours_is_not_far_behind_the_bare_commands() {
    let outcome = uncontended(Effort::QUICK);
    assert!(outcome.least_ratio_to_raw > 0.2, "{}", outcome.least_ratio_to_raw);
}
