//! The benchmarks run, and nothing about them is absurd.

use std::fs;
use std::path::Path;

use lock_benchmarks::{Effort, Patience, uncontended, waiting};

/// Debug code on a shared machine is no place for figures. But a path that waits for a timer, or dials a connection for
/// every lock, is behind by far more than this.
#[test]
fn ours_is_not_far_behind_the_bare_commands() {
    let outcome = uncontended(Effort::QUICK);
    assert!(outcome.least_ratio_to_raw > 0.2, "{}", outcome.least_ratio_to_raw);
}

/// Nothing is said of who is fast: everybody finishes every case, which the benchmark itself insists on, and what was
/// measured is written.
#[test]
fn everybody_gets_the_lock_that_others_want_too() {
    let outcome = waiting(Patience::SMOKE, Path::new(env!("CARGO_BIN_EXE_caller")));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("waiting");

    let written = outcome.report.write_into(&directory).expect("write the results");
    let json = fs::read_to_string(written).expect("the results");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    for ours in ["ours, builder", "ours, attribute"] {
        let of = |case: &str| {
            let case = format!("{case}: {ours} against rslock");
            lines.iter().find(|line| line["case"] == case).unwrap_or_else(|| panic!("no {case}:\n{json}"))
        };
        for case in [
            "1 process of 4 tasks, one key, acquisitions/s",
            "2 processes of 2 tasks, one key, acquisitions/s",
            "2 processes, one hold of 20ms each: until the last is done, in ms",
            "hand-off to one waiter, p50 in ms",
            "commands, 2 × 1, 20ms hold",
        ] {
            let line = of(case);
            assert!(line["ours"].as_f64() > Some(0.0) && line["other"].as_f64() > Some(0.0), "{line}");
        }
        // SET and EVALSHA, and nothing beside them: what is counted is what clients send, and not what scripts do.
        assert_eq!(of("commands, 1 × 1")["ours"].as_f64(), Some(2.0));
    }

    assert_eq!(outcome.charts.len(), 6);
    for chart in &outcome.charts {
        let svg = fs::read_to_string(chart.write(&directory).expect("write the chart")).expect("the chart");
        // The libraries in Rust are there, whatever else is missing.
        assert!(svg.matches("<rect").count() >= 8 - outcome.missing.len(), "{svg}");
    }
}
