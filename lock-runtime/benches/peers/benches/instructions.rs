//! How many instructions this process executes for one acquire + release, counted by valgrind.
//!
//! The difference of two runs, so that starting up does not count. One such run is
//! `instructions --pairs WHO COUNT URL`, for a profiler of your own.

use std::env;
use std::process::Command;

use lock_benchmarks::{Counted, Line, Report, Table};
use lock_tests::RedisServer;

const FEW: u32 = 200;
const MANY: u32 = 1_200;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, flag, who, count, url] = &*arguments
        && flag == "--pairs"
    {
        let counted = Counted::ALL.into_iter().find(|counted| counted.name() == who).expect("one of the table");
        counted.run(url, count.parse().expect("a number"), || {});
        return;
    }
    if !Command::new("valgrind").arg("--version").status().is_ok_and(|status| status.success()) {
        println!("\nINSTRUCTIONS WERE NOT COUNTED: there is no valgrind");
        return;
    }
    let server = RedisServer::start();
    let counts = Counted::ALL.map(|counted| {
        let difference = collected(counted, MANY, &server.url()) - collected(counted, FEW, &server.url());
        (counted, difference / f64::from(MANY - FEW))
    });
    report(&counts).publish();
}

/// The instructions of one run.
fn collected(counted: Counted, pairs: u32, url: &str) -> f64 {
    let this = env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--pairs", counted.name(), &pairs.to_string(), url])
        .output()
        .expect("start valgrind");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} of {pairs} pairs:\n{text}", counted.name());
    let total = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    total.unwrap_or_else(|| panic!("valgrind tells no total:\n{text}"))
}

fn report(counts: &[(Counted, f64)]) -> Report {
    let mut table = Table::new("Instructions of one acquire + release, in this process", &["", "instructions"]);
    for (counted, count) in counts {
        table.row([counted.name().to_owned(), format!("{count:.0}")]);
    }
    let raw = counts.iter().find(|(counted, _)| *counted == Counted::Raw);
    let compared = counts.iter().filter(|(counted, _)| matches!(counted, Counted::Builder | Counted::Attribute));
    let lines = raw.into_iter().flat_map(|(_, raw)| {
        compared.clone().map(|(counted, ours)| {
            Line::counted(format!("instructions of a pair: {} against raw", counted.name()), *ours, *raw)
        })
    });
    Report { name: "instructions", tables: vec![table], lines: lines.collect() }
}
