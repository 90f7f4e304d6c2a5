//! The scenario of a lock that others want too: tasks of one process, processes, and a single waiter.
//!
//! Every library has a redis-server and processes of its own, which take turns: while one works, all others are idle. A
//! process has a runtime of two threads.

mod callers;
mod clock;
mod serve;
mod team;
mod turns;
mod who;

use std::path::Path;
use std::time::Duration;

use lock_tests::Admin;

use crate::chart::{Bar, Chart, figure};
use crate::figures::percentile;
use crate::report::{Line, Report, Table};
use team::Team;
use turns::{Contention, Turns, drain, float_of, hand_off};
use who::Who;

pub use serve::serve;

const HOLD: Duration = Duration::from_millis(20);

/// How much work is put into the figures.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How many want the lock, in all.
    tasks: usize,
    /// Of how many processes they are, where they are not all of one.
    processes: usize,
    /// The number of rounds of each case.
    rounds: usize,
    /// Whether one more is run before, and not counted: it dials connections and has the servers remember the scripts.
    warm_up: bool,
    /// How long tasks contend in each of them.
    turn: Duration,
    /// The rounds and turns of the one who waits alone, of whom there is one sample at a time.
    alone: (usize, Duration),
    /// How long commands are counted of one who only waits.
    idle: Duration,
}

impl Patience {
    /// For figures to be shown: six minutes.
    pub const FULL: Self = Self {
        tasks: 64,
        processes: 8,
        rounds: 5,
        warm_up: true,
        turn: Duration::from_millis(800),
        alone: (12, Duration::from_millis(800)),
        idle: Duration::from_secs(10),
    };

    /// For a first impression: a minute and a half, most of it until all who poll have had their turn.
    pub const QUICK: Self = Self {
        rounds: 1,
        turn: Duration::from_millis(200),
        alone: (1, Duration::from_secs(1)),
        idle: Duration::from_secs(2),
        ..Self::FULL
    };

    /// To see that everything works.
    pub const SMOKE: Self = Self {
        tasks: 4,
        processes: 2,
        rounds: 1,
        warm_up: false,
        turn: Duration::from_millis(50),
        alone: (1, Duration::from_millis(50)),
        idle: Duration::from_millis(500),
    };
}

/// What [`waiting`] found out.
#[derive(Debug)]
pub struct Waiting {
    /// For people and programs.
    pub report: Report,
    /// For the README.
    pub charts: Vec<Chart>,
    /// Who took no part, and why.
    pub missing: Vec<String>,
}

impl Waiting {
    /// Prints the tables, writes the JSON, and the charts into `directory`.
    ///
    /// # Panics
    ///
    /// When a file cannot be written.
    pub fn publish(&self, directory: &Path) {
        self.report.publish();
        for chart in &self.charts {
            println!("written to {}", chart.write(directory).expect("write the chart").display());
        }
        for line in &self.missing {
            println!("{line}");
        }
    }
}

/// Runs every case; `program` is `caller` of this package.
///
/// # Panics
///
/// When there is no `redis-server`, or somebody does not get a lock.
#[must_use]
pub fn waiting(patience: Patience, program: &Path) -> Waiting {
    let mut missing = Vec::new();
    let mut teams = Vec::new();
    for who in Who::BETWEEN_PROCESSES {
        match Team::muster(who, program) {
            Ok(team) => teams.push(team),
            Err(what) => missing
                .push(format!("NOT MEASURED: {}, because {what} is missing; tests/run.sh installs it", who.name())),
        }
    }
    let mut outcome = Waiting {
        report: Report { name: "waiting", tables: Vec::new(), lines: Vec::new() },
        charts: Vec::new(),
        missing,
    };
    one_process(&mut teams, patience, program, &mut outcome);
    many_processes(&mut teams, patience, &mut outcome);
    draining(&mut teams, patience, &mut outcome);
    handing_off(&mut teams, patience, &mut outcome);
    commands(&mut teams, patience, &mut outcome);
    outcome.report.tables.push(in_short(&outcome.charts, patience));
    outcome
}

/// The tasks of one process, beside a mutex that knows no other process.
fn one_process(teams: &mut Vec<Team>, patience: Patience, program: &Path, outcome: &mut Waiting) {
    teams.insert(0, Team::muster(Who::InProcess, program).expect("a program of this package"));
    let Patience { tasks, rounds, warm_up, turn, .. } = patience;
    let turns = Turns::take(teams, warm_up, rounds, |team| Contention::turn(team, 1, tasks, turn));
    teams.remove(0);

    let case = format!("1 process of {tasks} tasks, one key");
    let title = format!("{case} (medians of {rounds} turns of {turn:?})");
    let heads = ["", "acquisitions/s", "builder : it", "mean wait ms", "p99 ms", "longest ms", "longest : mean"];
    let mut table = Table::new(&title, &heads);
    for who in turns.everybody() {
        table.row([
            who.name().to_owned(),
            figure(turns.median(who, |turn| turn.per_second)),
            format!("{:.2}", turns.ratio(Who::Builder, who, |turn| turn.per_second).median),
            millis(turns.median(who, |turn| turn.mean)),
            millis(turns.median(who, |turn| turn.p99)),
            millis(most(&turns, who, |turn| turn.longest)),
            format!("{:.1}", turns.median(who, |turn| turn.longest / turn.mean)),
        ]);
    }
    outcome.report.tables.push(table);
    outcome.compare(&format!("{case}, acquisitions/s"), &turns, |turn| turn.per_second);
    outcome.compare(&format!("{case}, longest wait : mean wait"), &turns, |turn| turn.longest / turn.mean);
    outcome.chart("one-process", &case, "acquisitions per second: more is better", &turns, |who| {
        turns.median(who, |turn| turn.per_second)
    });
}

fn many_processes(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let Patience { tasks, processes, rounds, warm_up, turn, .. } = patience;
    let each = tasks / processes;
    let turns = Turns::take(teams, warm_up, rounds, |team| Contention::turn(team, processes, each, turn));

    let case = format!("{processes} processes of {each} tasks, one key");
    let title = format!("{case} (medians of {rounds} turns of {turn:?})");
    let heads =
        ["", "acquisitions/s", "builder : it", "mean wait ms", "p99 ms", "longest ms", "least share", "greatest share"];
    let mut table = Table::new(&title, &heads);
    for who in turns.everybody() {
        table.row([
            who.name().to_owned(),
            figure(turns.median(who, |turn| turn.per_second)),
            format!("{:.2}", turns.ratio(Who::Builder, who, |turn| turn.per_second).median),
            millis(turns.median(who, |turn| turn.mean)),
            millis(turns.median(who, |turn| turn.p99)),
            millis(most(&turns, who, |turn| turn.longest)),
            format!("{:.2}", turns.median(who, |turn| turn.shares.0)),
            format!("{:.2}", turns.median(who, |turn| turn.shares.1)),
        ]);
    }
    outcome.report.tables.push(table);
    outcome.compare(&format!("{case}, acquisitions/s"), &turns, |turn| turn.per_second);
    outcome.compare(&format!("{case}, p99 wait in ms"), &turns, |turn| turn.p99 * 1e3);
    outcome.compare(&format!("{case}, least share of a process"), &turns, |turn| turn.shares.0);
    outcome.compare(&format!("{case}, greatest share of a process"), &turns, |turn| turn.shares.1);
    outcome.chart("processes", &case, "acquisitions per second: more is better", &turns, |who| {
        turns.median(who, |turn| turn.per_second)
    });
    let subtitle = "99 of 100 waits are shorter, in milliseconds: less is better";
    outcome.chart("processes-p99", &case, subtitle, &turns, |who| turns.median(who, |turn| turn.p99) * 1e3);
}

fn draining(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let Patience { processes, rounds, warm_up, .. } = patience;
    let turns = Turns::take(teams, warm_up, rounds, |team| drain(team, processes, HOLD));
    let ideal = HOLD.as_secs_f64() * float_of(processes);

    let case = format!("{processes} processes, one hold of {HOLD:?} each: until the last is done");
    let mut table =
        Table::new(&format!("{case} (medians of {rounds})"), &["", "ms", "of the ideal", "worst ms", "builder : it"]);
    for who in turns.everybody() {
        let middle = turns.median(who, |&drained| drained);
        table.row([
            who.name().to_owned(),
            millis(middle),
            format!("{:.2}", middle / ideal),
            millis(most(&turns, who, |&drained| drained)),
            format!("{:.2}", turns.ratio(Who::Builder, who, |&drained| drained).median),
        ]);
    }
    outcome.report.tables.push(table);
    outcome.compare(&format!("{case}, in ms"), &turns, |drained| drained * 1e3);
    outcome.report.lines.extend(turns.everybody().filter(|who| who.is_ours()).map(|who| {
        let case = format!("{case}, in ms: {} against the ideal", who.name());
        Line::counted(case, turns.median(who, |drained| drained * 1e3), ideal * 1e3)
    }));
    outcome.chart(
        "drained",
        &case,
        &format!("milliseconds, of which {:.0} are held: less is better", ideal * 1e3),
        &turns,
        |who| turns.median(who, |drained| drained * 1e3),
    );
}

fn handing_off(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let (rounds, turn) = patience.alone;
    let turns = Turns::take(teams, patience.warm_up, rounds, |team| hand_off(team, turn));
    let samples = |who| {
        let mut all: Vec<Duration> = turns.by(who).iter().flatten().copied().collect();
        all.sort_unstable();
        all
    };

    let title = "One waiter in another process: from the call of release to its having the lock";
    let mut table = Table::new(title, &["", "p50 ms", "p99 ms", "longest ms", "samples", "builder p50 : its"]);
    for who in turns.everybody() {
        let all = samples(who);
        let at = |percent| millis(percentile(&all, percent).as_secs_f64());
        let ratio = turns.ratio(Who::Builder, who, |taken| percentile(taken, 50).as_secs_f64()).median;
        table.row([who.name().to_owned(), at(50), at(99), at(100), all.len().to_string(), format!("{ratio:.3}")]);
    }
    outcome.report.tables.push(table);
    outcome.compare("hand-off to one waiter, p50 in ms", &turns, |taken| percentile(taken, 50).as_secs_f64() * 1e3);
    // Of few samples a turn, a p99 of a turn is none.
    for ours in turns.everybody().filter(|who| who.is_ours()) {
        for other in turns.everybody().filter(|who| !who.is_ours()) {
            let case = format!("hand-off to one waiter, p99 in ms: {} against {}", ours.name(), other.name());
            let [ours, other] = [ours, other].map(|who| percentile(&samples(who), 99).as_secs_f64() * 1e3);
            outcome.report.lines.push(Line::counted(case, ours, other));
        }
    }
    outcome.chart(
        "hand-off",
        "One waiter in another process: from release to having the lock",
        "median, in milliseconds: less is better",
        &turns,
        |who| percentile(&samples(who), 50).as_secs_f64() * 1e3,
    );
}

/// What the servers are sent: for an acquisition and its release by one task that nobody else wants the lock of, by the tasks
/// of one process, by processes of one and of many tasks, by those that hold it; and for a second of waiting.
fn commands(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let Patience { tasks, processes, turn, idle, .. } = patience;
    let crowds = [(1, 1), (1, tasks), (processes, 1), (processes, tasks / processes)];
    let mut idle = idling(teams, idle).into_iter();
    // A single turn of each: counts need no rounds.
    let turns = Turns::take_once(teams, |team| {
        let contended = crowds.map(|(processes, tasks)| {
            let listener = team.listen();
            let acquisitions = Contention::turn(team, processes, tasks, turn).acquisitions;
            float(listener.stop()) / acquisitions
        });
        let listener = team.listen();
        drain(team, processes, HOLD);
        let held = float(listener.stop()) / float_of(processes);
        let idle = idle.next().expect("a count for each team");
        contended.into_iter().chain([held, idle]).collect::<Vec<f64>>()
    });

    let mut heads = vec![String::new()];
    heads.extend(crowds.map(|(processes, tasks)| format!("{processes} × {tasks}")));
    heads.extend([format!("{processes} × 1, {HOLD:?} hold"), "a second of waiting".to_owned()]);
    let title = "Commands that clients send: for one acquisition and its release by PROCESSES × TASKS, and for waiting";
    let mut table = Table::new(title, &heads.iter().map(String::as_str).collect::<Vec<_>>());
    for who in turns.everybody() {
        let counts = turns.by(who).iter().flatten().map(|count| format!("{count:.3}"));
        table.row([who.name().to_owned()].into_iter().chain(counts));
    }
    outcome.report.tables.push(table);
    for (place, column) in heads[1..].iter().enumerate() {
        outcome.compare(&format!("commands, {column}"), &turns, |counts| counts[place]);
    }
    outcome.chart(
        "commands",
        &format!("{processes} processes, one hold of {HOLD:?} each: commands that the server is sent"),
        "for one acquisition and its release: less is better",
        &turns,
        |who| turns.median(who, |counts| counts[crowds.len()]),
    );
}

/// The commands a second of a process that waits for a lock which is held all the time; of all teams at the same time.
fn idling(teams: &mut [Team], time: Duration) -> Vec<f64> {
    const KEY: &str = "idle";
    // The first tries, and getting in line, are of another table.
    const BEGINNING: Duration = Duration::from_secs(1);
    let mut holders: Vec<Admin> = teams.iter().map(|team| team.server.admin()).collect();
    for (team, holder) in teams.iter_mut().zip(&mut holders) {
        team.who.hold(holder, KEY);
        team.processes(1)[0].say(&format!("wait {KEY}"));
    }
    std::thread::sleep(BEGINNING);
    let listeners: Vec<_> = teams.iter().map(Team::listen).collect();
    std::thread::sleep(time);
    let counts = listeners.into_iter().map(|listener| float(listener.stop()) / time.as_secs_f64()).collect();
    for (team, holder) in teams.iter_mut().zip(&mut holders) {
        team.who.let_go(holder, KEY);
        team.processes(1)[0].answer();
    }
    counts
}

/// The figure of each chart, of everybody.
fn in_short(charts: &[Chart], patience: Patience) -> Table {
    let Patience { tasks, processes, .. } = patience;
    let crowd = format!("{processes} × {}", tasks / processes);
    let heads = [
        String::new(),
        format!("1 × {tasks}, a second"),
        format!("{crowd}, a second"),
        format!("{crowd}, p99 wait ms"),
        format!("{processes} holds, ms"),
        "hand-off, p50 ms".to_owned(),
        "commands".to_owned(),
    ];
    assert_eq!(heads.len(), charts.len() + 1, "a column for each chart");
    let mut table = Table::new("In short", &heads.iter().map(String::as_str).collect::<Vec<_>>());
    for who in [Who::InProcess].into_iter().chain(Who::BETWEEN_PROCESSES) {
        let of = |chart: &Chart| chart.bars.iter().find(|bar| bar.label == who.name()).map(|bar| bar.text.clone());
        if charts.iter().any(|chart| of(chart).is_some()) {
            let figures = charts.iter().map(|chart| of(chart).unwrap_or_default());
            table.row([who.name().to_owned()].into_iter().chain(figures));
        }
    }
    table
}

impl Waiting {
    /// A line for each of ours against everybody who is not.
    fn compare<S>(&mut self, case: &str, turns: &Turns<S>, figure: impl Fn(&S) -> f64) {
        for ours in turns.everybody().filter(|who| who.is_ours()) {
            for other in turns.everybody().filter(|who| !who.is_ours()) {
                self.report.lines.push(Line {
                    case: format!("{case}: {} against {}", ours.name(), other.name()),
                    ours: turns.median(ours, &figure),
                    other: turns.median(other, &figure),
                    ratio: turns.ratio(ours, other, &figure),
                });
            }
        }
    }

    fn chart<S>(
        &mut self,
        name: &'static str,
        title: &str,
        subtitle: &str,
        turns: &Turns<S>,
        value: impl Fn(Who) -> f64,
    ) {
        let bars = turns.everybody().map(|who| {
            let value = value(who);
            Bar { label: who.name().to_owned(), value, text: figure(value), role: who.role() }
        });
        self.charts.push(Chart { name, title: title.to_owned(), subtitle: subtitle.to_owned(), bars: bars.collect() });
    }
}

/// The greatest of a figure over all rounds.
fn most<S>(turns: &Turns<S>, who: Who, figure: impl Fn(&S) -> f64) -> f64 {
    turns.by(who).iter().map(figure).fold(0.0, f64::max)
}

fn millis(seconds: f64) -> String {
    figure(seconds * 1e3)
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
