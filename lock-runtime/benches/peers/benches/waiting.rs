//! A lock that others want too: ours, and other libraries.
//!
//! `cargo bench --bench waiting`: six minutes, and the charts of the README; with `-- --quick` for a first impression.

use std::path::Path;

use lock_benchmarks::{Patience, waiting};

fn main() {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (patience, charts) = if std::env::args().any(|argument| argument == "--quick") {
        (Patience::QUICK, benches.join("../../target/benchmarks/charts"))
    } else {
        (Patience::FULL, benches.join("charts"))
    };
    waiting(patience, Path::new(env!("CARGO_BIN_EXE_caller"))).publish(&charts);
}
