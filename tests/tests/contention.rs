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
    let changes = runs.windows(2).filter(|pair| pair[0].process != pair[1].process).count();
    assert!(changes >= PROCESSES, "the processes did not compete: the lock changed hands {changes} times");
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
    process: usize,
    began: u128,
    ended: u128,
}

/// Lets the callers of all processes loose at once, and returns their bodies in the order in which they began.
fn contend(locks: &str) -> Vec<Run> {
    let server = RedisServer::start();
    let worker = |_| {
        let arguments = ["contend", &server.url(), &CALLERS.to_string(), locks];
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments))
    };
    let mut workers: Vec<_> = (0..PROCESSES).map(worker).collect();
    for worker in &mut workers {
        assert_eq!(worker.line(PATIENCE), "ready");
    }
    server.admin().set("go", "", &[]);

    let mut runs = Vec::new();
    for (process, mut worker) in workers.into_iter().enumerate() {
        let (status, output) = worker.finish(PATIENCE);
        assert!(status.success(), "process {process}: {output}");
        for line in output.lines().filter(|line| *line != "ready") {
            let (began, ended) = line.split_once(' ').expect("two numbers");
            let number = |text: &str| text.parse().expect("a number");
            runs.push(Run { process, began: number(began), ended: number(ended) });
        }
    }
    assert!(!server.admin().exists("contended"), "the last one released");
    runs.sort_by_key(|run| run.began);
    runs
}

fn overlaps(runs: &[Run]) -> usize {
    runs.windows(2).filter(|pair| pair[0].ended > pair[1].began).count()
}
