//! The benchmarks work, and what they say is nothing absurd.

use lock_benchmarks::{Effort, uncontended};

/// Half of the bare commands' throughput, without optimisation and beside whatever else the machine is doing.
const LEAST: f64 = 0.5;

#[test]
fn the_uncontended_comparison_is_made() {
    let outcome = uncontended(Effort::QUICK);
    let tables: Vec<String> = outcome.report.tables.iter().map(ToString::to_string).collect();
    let text = tables.join("\n");
    for name in [
        "raw SET + EVALSHA",
        "raw, with TCP's delay",
        "ours, builder",
        "ours, attribute",
        "rslock",
        "async-redis-lock",
        "distkit",
        "distkit, try_lock",
    ] {
        assert_eq!(text.matches(&format!("| {name} ")).count(), 2, "{name} is in both tables:\n{text}");
    }
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    // Two of ours against six others, three figures, one task and many.
    assert_eq!(outcome.report.lines.len(), 2 * 6 * 3 * 2, "{}", outcome.report.json());
    assert!(!outcome.report.json().contains("null"), "{}", outcome.report.json());
    assert!(outcome.least_ratio_to_raw >= LEAST, "below {LEAST} of the bare commands:\n{text}");
}
