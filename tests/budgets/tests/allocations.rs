//! An allocation more on the path that every lock takes is a decision, and is made here.

use std::alloc::System;

use lock_benchmarks::{Counted, allocations};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// For one acquire + release.
const BUDGETS: [(Counted, f64); 4] = [
    (Counted::Builder, 16.0),
    (Counted::Attribute, 19.0),
    (Counted::BuilderInMemory, 8.0),
    (Counted::AttributeInMemory, 11.0),
];

#[test]
fn acquire_and_release_stay_within_their_budget() {
    let counts = allocations::allocations(ALLOCATOR);
    for (who, budget) in BUDGETS {
        let (_, found) = counts.iter().find(|(counted, _)| *counted == who).expect("a count for everybody");
        // A buffer that grows now and then is no change of the path.
        assert!(found.count < budget + 0.5, "{}: {} allocations, of at most {budget}", who.name(), found.count);
    }
}
