//! What one team does in one turn, and what all did in all rounds.

use std::time::Duration;

use super::clock::now;
use super::team::{CONTENDED, DRAINED, HANDED_OFF, Team};
use super::who::Who;
use crate::figures::{Spread, percentile};
use crate::rounds::shuffled;

/// So late that every process has read its line, and started its tasks.
const HEAD_START: Duration = Duration::from_millis(50);

/// Many tasks that take the lock and give it back, again and again. Times are in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contention {
    /// How often the lock was got, the last of each task included, which may end after the turn.
    pub(super) acquisitions: f64,
    /// Within the turn.
    pub(super) per_second: f64,
    pub(super) mean: f64,
    pub(super) p99: f64,
    pub(super) longest: f64,
    /// Of the process that got least, and of the one that got most, in units of the mean.
    pub(super) shares: (f64, f64),
}

impl Contention {
    pub(super) fn turn(team: &mut Team, processes: usize, tasks: usize, time: Duration) -> Self {
        let from = now() + nanos(HEAD_START);
        let until = from + nanos(time);
        let answers = team.all(processes, &format!("contend {CONTENDED} {tasks} {from} {until}"));
        let in_time: Vec<f64> = answers.iter().map(|answer| answer["in_time"].as_f64().expect("a count")).collect();
        let total: f64 = in_time.iter().sum();
        let share = |fold: fn(f64, f64) -> f64, first| {
            let of_all = in_time.iter().copied().fold(first, fold);
            of_all / (total / float_of(processes))
        };
        let mut waits: Vec<Duration> = answers
            .iter()
            .flat_map(|answer| answer["waits"].as_array().expect("a list of waits"))
            .map(|wait| Duration::from_nanos(wait.as_u64().expect("nanoseconds")))
            .collect();
        waits.sort_unstable();
        Self {
            acquisitions: float_of(waits.len()),
            per_second: total / time.as_secs_f64(),
            mean: waits.iter().sum::<Duration>().as_secs_f64() / float_of(waits.len()),
            p99: percentile(&waits, 99).as_secs_f64(),
            longest: percentile(&waits, 100).as_secs_f64(),
            shares: (share(f64::min, f64::INFINITY), share(f64::max, 0.0)),
        }
    }
}

/// One acquisition by each process, all at once, with a hold: the time until the last has given it back, in seconds.
pub(super) fn drain(team: &mut Team, processes: usize, hold: Duration) -> f64 {
    let from = now() + nanos(HEAD_START);
    let answers = team.all(processes, &format!("once {DRAINED} {} {from}", hold.as_millis()));
    let done = answers.iter().filter_map(|answer| answer["done"].as_u64()).max().expect("a time for each");
    Duration::from_nanos(done - from).as_secs_f64()
}

/// One process holds, one waits: from the call of release to the waiter having the lock, sorted, for as long as the turn
/// takes.
pub(super) fn hand_off(team: &mut Team, time: Duration) -> Vec<Duration> {
    // Any moment between two tries is as good as another, and the first try is over.
    let shortest = Duration::from_millis(20);
    let period = team.who.period();
    let [holder, waiter] = team.processes(2) else { unreachable!("two were asked for") };
    let until = now() + nanos(time);
    let mut taken = Vec::new();
    let mut phase = 0.5;
    while now() < until {
        holder.ask(&format!("take {HANDED_OFF}"));
        waiter.say(&format!("wait {HANDED_OFF}"));
        // The fractional parts of the golden ratio's multiples are as even as a few numbers can be.
        phase = f64::fract(phase + 0.618_034);
        std::thread::sleep(shortest + period.mul_f64(phase));
        let released = holder.ask("free")["at"].as_u64().expect("a time");
        let there = waiter.answer()["at"].as_u64().expect("a time");
        taken.push(Duration::from_nanos(there.saturating_sub(released)));
    }
    taken.sort_unstable();
    taken
}

/// What everybody did in all rounds.
pub(super) struct Turns<S>(Vec<(Who, Vec<S>)>);

impl<S> Turns<S> {
    /// Has every team take its turn in every round, in an order drawn anew.
    pub(super) fn take(teams: &mut [Team], warm_up: bool, rounds: usize, mut turn: impl FnMut(&mut Team) -> S) -> Self {
        let mut all = Self(teams.iter().map(|team| (team.who, Vec::new())).collect());
        for round in usize::from(!warm_up)..=rounds {
            for place in shuffled(teams.len()) {
                let sample = turn(&mut teams[place]);
                if round > 0 {
                    all.0[place].1.push(sample);
                }
            }
        }
        all
    }

    /// Has every team take one turn.
    pub(super) fn take_once(teams: &mut [Team], mut turn: impl FnMut(&mut Team) -> S) -> Self {
        Self(teams.iter_mut().map(|team| (team.who, vec![turn(team)])).collect())
    }

    /// Everybody, in the order of the tables.
    pub(super) fn everybody(&self) -> impl Iterator<Item = Who> {
        self.0.iter().map(|(who, _)| *who)
    }

    /// What one did, round by round.
    pub(super) fn by(&self, who: Who) -> &[S] {
        self.0.iter().find(|(other, _)| *other == who).map_or(&[], |(_, samples)| samples)
    }

    /// The middle of a figure over all rounds.
    pub(super) fn median(&self, who: Who, figure: impl Fn(&S) -> f64) -> f64 {
        Spread::of(self.by(who).iter().map(figure)).median
    }

    /// How many times the figure of `other` that of `who` is, round by round.
    pub(super) fn ratio(&self, who: Who, other: Who, figure: impl Fn(&S) -> f64) -> Spread {
        Spread::of(self.by(who).iter().zip(self.by(other)).map(|(ours, other)| figure(ours) / figure(other)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn float_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
