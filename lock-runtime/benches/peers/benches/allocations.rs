//! What is allocated for one acquire + release, counted by the allocator.

use std::alloc::System;

use lock_benchmarks::allocations;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let counts = allocations::allocations(ALLOCATOR);
    allocations::report(&counts).publish();
}
