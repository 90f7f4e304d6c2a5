//! How often and how much is allocated for one acquire + release.

use std::alloc::System;

use lock_tests::RedisServer;
use stats_alloc::{Region, Stats, StatsAlloc};

use crate::alone::Counted;
use crate::report::{Line, Report, Table};

/// What is allocated for one pair.
#[derive(Debug, Clone, Copy)]
pub struct Allocations {
    /// How often, growing included.
    pub count: f64,
    /// How many bytes, freed or not.
    pub bytes: f64,
}

/// Counts for everybody; `allocator` is the global one of the program.
///
/// # Panics
///
/// When there is no `redis-server`.
#[must_use]
pub fn allocations(allocator: &StatsAlloc<System>) -> Vec<(Counted, Allocations)> {
    const PAIRS: u32 = 2_000;
    let server = RedisServer::start();
    let url = server.url();
    let count = |counted: Counted| {
        let mut region = Region::new(allocator);
        counted.run(&url, PAIRS, || region.reset());
        let Stats { allocations, reallocations, bytes_allocated, .. } = region.change();
        let each = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / f64::from(PAIRS);
        (counted, Allocations { count: each(allocations + reallocations), bytes: each(bytes_allocated) })
    };
    Counted::ALL.map(count).to_vec()
}

/// The counts as a table and as comparisons with the bare commands.
#[must_use]
pub fn report(counts: &[(Counted, Allocations)]) -> Report {
    let mut table = Table::new("Allocations of one acquire + release", &["", "allocations", "bytes"]);
    for (counted, Allocations { count, bytes }) in counts {
        table.row([counted.name().to_owned(), format!("{count:.1}"), format!("{bytes:.0}")]);
    }
    let raw = counts.iter().find(|(counted, _)| *counted == Counted::Raw);
    let compared = counts.iter().filter(|(counted, _)| matches!(counted, Counted::Builder | Counted::Attribute));
    let lines = raw.into_iter().flat_map(|(_, raw)| {
        compared.clone().flat_map(|(counted, ours)| {
            let case = |what: &str| format!("{what} of a pair: {} against raw", counted.name());
            [
                Line::counted(case("allocations"), ours.count, raw.count),
                Line::counted(case("allocated bytes"), ours.bytes, raw.bytes),
            ]
        })
    });
    Report { name: "allocations", tables: vec![table], lines: lines.collect() }
}
