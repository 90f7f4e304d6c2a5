//! The scenario of most locks most of the time: nobody else wants it.

use lock_runtime::LockManager;
use lock_tests::RedisServer;
use tokio::runtime::Builder;

use crate::contender::Contender as _;
use crate::ours::{OursByAttribute, OursByBuilder};
use crate::peers::{AsyncRedisLock, Distkit, DistkitOnce, Rslock};
use crate::raw::{Raw, RawWithDelay};
use crate::report::{Line, Report, Table};
use crate::rounds::{Effort, Entrant, Rounds};

/// What [`uncontended`] found out.
#[derive(Debug)]
pub struct Outcome {
    /// For people and programs.
    pub report: Report,
    /// The least of our throughputs in units of that of the bare commands.
    pub least_ratio_to_raw: f64,
}

/// Acquires and releases on a server of its own, by 1 task and by 64 tasks, each with a key that nobody else wants.
///
/// # Panics
///
/// When there is no `redis-server`, or somebody does not get a lock.
#[must_use]
pub fn uncontended(effort: Effort) -> Outcome {
    let server = RedisServer::start();
    let mut outcome = Outcome {
        report: Report {
            name: if cfg!(feature = "observed") { "uncontended-observed" } else { "uncontended" },
            tables: Vec::new(),
            lines: Vec::new(),
        },
        least_ratio_to_raw: f64::INFINITY,
    };
    // A lone task has one thread: with more, the figures show which thread woke which, and little else.
    let lone = Builder::new_current_thread().enable_all().build().expect("a runtime");
    lone.block_on(compare(&server.url(), 1, "1 task", effort, &mut outcome));
    // As `#[tokio::main]` makes it.
    let crowded = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    crowded.block_on(compare(&server.url(), 64, "64 tasks", effort, &mut outcome));
    outcome
}

async fn compare(url: &str, tasks: u32, crowd: &str, effort: Effort, outcome: &mut Outcome) {
    let manager = LockManager::connect(url).await.expect("a server");
    let distkit = Distkit::connect(url).await.expect("a server");
    let raw = Raw::connect(url).await.expect("a server");
    let floor = raw.name();
    let ours = [OursByBuilder(manager.clone()).name(), OursByAttribute(manager.clone()).name()];
    let entrants = [
        Entrant::new(raw),
        Entrant::new(RawWithDelay(Raw::connect_with_delay(url).await.expect("a server"))),
        Entrant::new(OursByBuilder(manager.clone())),
        Entrant::new(OursByAttribute(manager)),
        Entrant::new(Rslock::new(url)),
        Entrant::new(AsyncRedisLock::connect(url).await.expect("a server")),
        Entrant::new(distkit.clone()),
        Entrant::new(DistkitOnce(distkit)),
    ];
    let rounds = Rounds::run(&entrants, tasks, effort).await;
    let Effort { rounds: count, turn } = effort;
    let title = format!("Uncontended acquire + release, {crowd} (medians of {count} rounds of {turn:?})");
    outcome.report.tables.push(table(&rounds, &title, floor));
    for ours in ours {
        outcome.report.lines.extend(lines(&rounds, crowd, ours));
        let ratio = rounds.throughput_ratio(ours, floor).median;
        outcome.least_ratio_to_raw = outcome.least_ratio_to_raw.min(ratio);
    }
}

fn table(rounds: &Rounds, title: &str, floor: &str) -> Table {
    let heads =
        ["", "pairs/s", "throughput : raw", "(middle half)", "median µs", "p99 µs", "p99 : raw", "cpu µs", "cpu : raw"];
    let mut table = Table::new(title, &heads);
    for name in rounds.names() {
        let micros = |percent| format!("{:.0}", rounds.latency(name, percent).as_secs_f64() * 1e6);
        let ratio = rounds.throughput_ratio(name, floor);
        table.row([
            name.to_owned(),
            format!("{:.0}", rounds.per_second(name)),
            format!("{:.2}", ratio.median),
            format!("{:.2} to {:.2}", ratio.low, ratio.high),
            micros(50),
            micros(99),
            format!("{:.2}", rounds.p99_ratio(name, floor).median),
            format!("{:.1}", rounds.work(name) * 1e6),
            format!("{:.2}", rounds.work_ratio(name, floor).median),
        ]);
    }
    table
}

/// One of ours against everybody who is not.
fn lines(rounds: &Rounds, crowd: &str, ours: &str) -> Vec<Line> {
    let others = rounds.names().filter(|name| !name.starts_with("ours"));
    let compared = others.flat_map(|other| {
        let case = |what: &str| format!("uncontended, {crowd}, {what}: {ours} against {other}");
        let p99 = |name| rounds.latency(name, 99).as_secs_f64() * 1e6;
        [
            Line {
                case: case("pairs/s"),
                ours: rounds.per_second(ours),
                other: rounds.per_second(other),
                ratio: rounds.throughput_ratio(ours, other),
            },
            Line { case: case("p99 in µs"), ours: p99(ours), other: p99(other), ratio: rounds.p99_ratio(ours, other) },
            Line {
                case: case("cpu time in µs"),
                ours: rounds.work(ours) * 1e6,
                other: rounds.work(other) * 1e6,
                ratio: rounds.work_ratio(ours, other),
            },
        ]
    });
    compared.collect()
}
