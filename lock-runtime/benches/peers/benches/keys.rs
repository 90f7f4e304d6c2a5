//! What stays in memory of ten million keys that were used once. A few minutes.

use std::alloc::System;

use lock_benchmarks::keys::report;
use lock_budget_tests::keys::keys;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    report(&keys(ALLOCATOR, 10_000_000, 200_000)).publish();
}
