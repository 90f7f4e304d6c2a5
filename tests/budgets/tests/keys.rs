//! Nothing stays of a key that was used: a line, a hold or a watcher that is not removed shows here.

use std::alloc::System;

use lock_budget_tests::keys::keys;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn nothing_stays_of_a_key_that_was_used() {
    for (store, live) in keys(ALLOCATOR, 50_000, 5_000) {
        // A pointer for each key would be seen.
        let pointers = usize::try_from(live.keys).expect("a number") * size_of::<usize>();
        assert!(live.growth() < pointers, "{store}: {live:?}");
    }
}
