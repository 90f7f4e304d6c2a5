//! Many callers, several processes, one key.

use std::process::Command;
use std::time::Duration;

use lock_tests::{Process, RedisServer};

const PROCESSES: usize = 4;
const CALLERS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

/// Promise: no two bodies run at once, and every caller who waits gets its turn.
///
/// Turned red by: `SET` without `NX`, or a release that does not compare the token.
#[test]
fn callers_of_four_processes_take_turns() {
    let runs = contend("locked");
    assert_eq!(runs.len(), PROCESSES * CALLERS);
    assert_eq!(overlaps(&runs), 0);
}

/// The test above can fail: without the lock, the same bodies overlap.
#[test]
fn callers_without_the_lock_overlap() {
    let runs = contend("unlocked");
    assert_eq!(runs.len(), PROCESSES * CALLERS);
    assert!(overlaps(&runs) > 0);
}

/// One body, in nanoseconds on the machine's clock.
struct Run {
    began: u128,
    ended: u128,
}

/// Has the callers of all processes ask for a lock that somebody holds, then frees it, and returns their bodies in the order in
/// which they began.
fn contend(locks: &str) -> Vec<Run> {
    let server = RedisServer::start();
    server.admin().set("contended", "somebody", &["PX", "60000"]);
    let worker = |_| {
        let arguments = ["contend", &server.url(), &CALLERS.to_string(), locks];
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments))
    };
    let mut workers: Vec<_> = (0..PROCESSES).map(worker).collect();
    // None of them is done before the last has begun: they do compete.
    for worker in &mut workers {
        assert_eq!(worker.line(PATIENCE), "asking");
    }
    assert!(server.admin().delete("contended"), "nobody else took the lock away");

    let mut runs = Vec::new();
    for (process, mut worker) in workers.into_iter().enumerate() {
        let (status, output) = worker.finish(PATIENCE);
        assert!(status.success(), "process {process}: {output}");
        for line in output.lines().filter(|line| *line != "asking") {
            let (began, ended) = line.split_once(' ').expect("two numbers");
            let number = |text: &str| text.parse().expect("a number");
            runs.push(Run { began: number(began), ended: number(ended) });
        }
    }
    assert!(!server.admin().exists("contended"), "the last one released");
    runs.sort_by_key(|run| run.began);
    runs
}

fn overlaps(runs: &[Run]) -> usize {
    runs.windows(2).filter(|pair| pair[0].ended > pair[1].began).count()
}
