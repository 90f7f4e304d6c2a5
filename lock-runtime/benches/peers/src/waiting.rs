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

const TASKS: usize = 64;
const PROCESSES: usize = 8;
const HOLD: Duration = Duration::from_millis(20);

/// How much work is put into the figures.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The number of rounds of each case; one more is run before, and not counted.
    rounds: usize,
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
        rounds: 6,
        turn: Duration::from_millis(800),
        alone: (14, Duration::from_millis(800)),
        idle: Duration::from_secs(10),
    };

    /// To see that everything works.
    pub const QUICK: Self = Self {
        rounds: 1,
        turn: Duration::from_millis(60),
        alone: (1, Duration::from_millis(60)),
        idle: Duration::from_secs(1),
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
    outcome
}

/// The tasks of one process, beside a mutex that knows no other process.
fn one_process(teams: &mut Vec<Team>, patience: Patience, program: &Path, outcome: &mut Waiting) {
    teams.insert(0, Team::muster(Who::InProcess, program).expect("a program of this package"));
    let Patience { rounds, turn, .. } = patience;
    let turns = Turns::take(teams, rounds, |team| Contention::turn(team, 1, TASKS, turn));
    teams.remove(0);

    let title = format!("One process, {TASKS} tasks, one key (medians of {rounds} turns of {turn:?})");
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
    outcome.compare("one process, 64 tasks, acquisitions/s", &turns, |turn| turn.per_second);
    outcome.compare("one process, 64 tasks, longest wait : mean wait", &turns, |turn| turn.longest / turn.mean);
    outcome.chart(
        "one-process",
        &format!("One process, {TASKS} tasks, one key"),
        "acquisitions per second: more is better",
        &turns,
        |who| turns.median(who, |turn| turn.per_second),
    );
}

fn many_processes(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let Patience { rounds, turn, .. } = patience;
    let turns = Turns::take(teams, rounds, |team| Contention::turn(team, PROCESSES, TASKS / PROCESSES, turn));

    let each = TASKS / PROCESSES;
    let title = format!("{PROCESSES} processes of {each} tasks, one key (medians of {rounds} turns of {turn:?})");
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
    outcome.compare("8 processes of 8 tasks, acquisitions/s", &turns, |turn| turn.per_second);
    outcome.compare("8 processes of 8 tasks, p99 wait in ms", &turns, |turn| turn.p99 * 1e3);
    outcome.compare("8 processes of 8 tasks, least share of a process", &turns, |turn| turn.shares.0);
    outcome.compare("8 processes of 8 tasks, greatest share of a process", &turns, |turn| turn.shares.1);
    let title = format!("{PROCESSES} processes of {each} tasks, one key");
    outcome.chart("processes", &title, "acquisitions per second: more is better", &turns, |who| {
        turns.median(who, |turn| turn.per_second)
    });
    let subtitle = "99 of 100 waits are shorter, in milliseconds: less is better";
    outcome.chart("processes-p99", &title, subtitle, &turns, |who| turns.median(who, |turn| turn.p99) * 1e3);
}

fn draining(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let rounds = patience.rounds;
    let turns = Turns::take(teams, rounds, |team| drain(team, PROCESSES, HOLD));
    let ideal = HOLD.as_secs_f64() * float_of(PROCESSES);

    let title = format!(
        "{PROCESSES} processes, one acquisition each with a hold of {HOLD:?}: until the last is done (medians of {rounds})"
    );
    let mut table = Table::new(&title, &["", "ms", "of the ideal", "worst ms", "builder : it"]);
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
    outcome.compare("8 processes, one hold of 20 ms each, ms until drained", &turns, |drained| drained * 1e3);
    outcome.report.lines.extend(turns.everybody().filter(|who| who.is_ours()).map(|who| {
        let case = format!("8 processes, one hold of 20 ms each, ms until drained: {} against the ideal", who.name());
        Line::counted(case, turns.median(who, |drained| drained * 1e3), ideal * 1e3)
    }));
    outcome.chart(
        "drained",
        &format!("{PROCESSES} processes, one hold of {HOLD:?} each: until the last is done"),
        &format!("milliseconds, of which {:.0} are held: less is better", ideal * 1e3),
        &turns,
        |who| turns.median(who, |drained| drained * 1e3),
    );
}

fn handing_off(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let (rounds, turn) = patience.alone;
    let turns = Turns::take(teams, rounds, |team| hand_off(team, turn));
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

/// What one of [`commands`] counts of everybody.
struct Commands {
    /// For one acquisition and its release: nobody else wants it, one process, many processes, many with a hold.
    an_acquisition: [f64; 4],
    /// For a second of waiting.
    a_second: f64,
}

fn commands(teams: &mut [Team], patience: Patience, outcome: &mut Waiting) {
    let idle = idling(teams, patience.idle);
    let mut idle = idle.into_iter();
    // A single turn of each: counting needs no rounds.
    let turns = Turns::take_once(teams, |team| {
        let an_acquisition = [(1, 1), (1, TASKS), (PROCESSES, TASKS / PROCESSES)].map(|(processes, tasks)| {
            let listener = team.listen();
            let acquisitions = Contention::turn(team, processes, tasks, patience.turn).acquisitions;
            float(listener.stop()) / acquisitions
        });
        let listener = team.listen();
        drain(team, PROCESSES, HOLD);
        let [uncontended, tasks, processes] = an_acquisition;
        let held = float(listener.stop()) / float_of(PROCESSES);
        Commands {
            an_acquisition: [uncontended, tasks, processes, held],
            a_second: idle.next().expect("a count for each team"),
        }
    });

    let title = "Commands that clients send: for one acquisition and its release, and of one process that only waits";
    let heads =
        ["", "uncontended", "1 process × 64", "8 processes × 8", "8 processes, 20 ms hold", "waiting, a second"];
    let mut table = Table::new(title, &heads);
    for who in turns.everybody() {
        let figures = |of: fn(&Commands) -> f64| format!("{:.2}", turns.median(who, of));
        table.row([
            who.name().to_owned(),
            figures(|commands| commands.an_acquisition[0]),
            figures(|commands| commands.an_acquisition[1]),
            figures(|commands| commands.an_acquisition[2]),
            figures(|commands| commands.an_acquisition[3]),
            figures(|commands| commands.a_second),
        ]);
    }
    outcome.report.tables.push(table);
    for (place, case) in heads[1..5].iter().enumerate() {
        let case = format!("commands for an acquisition, {case}");
        outcome.compare(&case, &turns, |commands| commands.an_acquisition[place]);
    }
    outcome.compare("commands a second of a process that waits", &turns, |commands| commands.a_second);
    outcome.chart(
        "commands",
        &format!("{PROCESSES} processes of {} tasks, one key: commands that the server is sent", TASKS / PROCESSES),
        "for one acquisition and its release: less is better",
        &turns,
        |who| turns.median(who, |commands| commands.an_acquisition[2]),
    );
}

/// The commands a second of a process that waits for a lock which is held all the time; of all teams at the same time.
fn idling(teams: &mut [Team], time: Duration) -> Vec<f64> {
    const KEY: &str = "idle";
    // The first tries, and getting in line, are of another table.
    const BEGINNING: Duration = Duration::from_secs(1);
    let mut holders: Vec<Admin> = teams.iter().map(|team| team.server.admin()).collect();
    for (team, holder) in teams.iter_mut().zip(&mut holders) {
        // As a process of ours would hold it, and longer than anybody looks.
        let value = "0123456789abcdef0123456789abcdef host:1";
        holder.set(&team.who.redis_key(KEY), value, &["NX", "PX", "60000"]);
        team.processes(1)[0].say(&format!("wait {KEY}"));
    }
    std::thread::sleep(BEGINNING);
    let listeners: Vec<_> = teams.iter().map(Team::listen).collect();
    std::thread::sleep(time);
    let counts = listeners.into_iter().map(|listener| float(listener.stop()) / time.as_secs_f64()).collect();
    for (team, holder) in teams.iter_mut().zip(&mut holders) {
        assert!(holder.delete(&team.who.redis_key(KEY)), "the lock was held all the time");
        team.processes(1)[0].answer();
    }
    counts
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
            Bar { label: who.name().to_owned(), value, text: figure(value), is_ours: who.is_ours() }
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
