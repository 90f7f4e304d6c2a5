//! What it costs to hold ten thousand locks.
//!
//! `cargo bench --bench renewed`: a minute each; with `-- --quick` a quarter of it.

use std::alloc::System;
use std::time::Duration;

use lock_benchmarks::renewed;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let seconds = if std::env::args().any(|argument| argument == "--quick") { 15 } else { 60 };
    let (ours, by_tasks) = renewed::renewed(ALLOCATOR, Duration::from_secs(seconds));
    renewed::report(ours, by_tasks).publish();
    assert_eq!(ours.lost, 0, "locks were lost");
}
