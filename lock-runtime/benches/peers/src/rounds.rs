//! Taking turns: in each round every entrant works for a short while, in an order drawn anew.
//!
//! A machine that slows down for a second slows down all of them, so ratios are taken within a round. Their median over all
//! rounds hardly notices the rounds in which something else was going on.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::contender::{Contender, Pair};
use crate::figures::{Spread, percentile};

/// How much work is put into the figures.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// The number of rounds; one more is run before, and not counted.
    pub rounds: usize,
    /// How long each entrant works in each of them.
    pub turn: Duration,
}

impl Effort {
    /// For figures to be shown: one to two minutes.
    pub const FULL: Self = Self { rounds: 150, turn: Duration::from_millis(40) };

    /// To see that everything works: a few seconds.
    pub const QUICK: Self = Self { rounds: 9, turn: Duration::from_millis(25) };

    /// What the command line asks for: quick if there is `--quick`, else full.
    #[must_use]
    pub fn from_arguments() -> Self {
        if std::env::args().any(|argument| argument == "--quick") { Self::QUICK } else { Self::FULL }
    }
}

type Turn = Pin<Box<dyn Future<Output = Sample> + Send>>;

/// One [`Contender`] in the rounds.
pub struct Entrant {
    name: &'static str,
    turn: Box<dyn Fn(u32, Duration) -> Turn>,
}

impl Entrant {
    /// Enters `contender`.
    pub fn new(contender: impl Contender) -> Self {
        let name = contender.name();
        let contender = Arc::new(contender);
        Self { name, turn: Box::new(move |tasks, time| Box::pin(turn(contender.clone(), tasks, time))) }
    }
}

impl Entrant {
    /// The same under another name.
    #[must_use]
    pub fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

impl fmt::Debug for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What one entrant did in one round.
struct Sample {
    per_second: f64,
    /// The time that this process spent on a pair, on all cores, in seconds.
    work: f64,
    /// Of every pair, sorted.
    latencies: Vec<Duration>,
}

/// `tasks` tasks at the same time, each with a key of its own, until the time is over.
async fn turn(contender: Arc<impl Contender>, tasks: u32, time: Duration) -> Sample {
    let (started, worked) = (Instant::now(), process_time());
    let working: Vec<_> = (0..tasks)
        .map(|number| {
            let mut pair = contender.task(number);
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(1024);
                let mut before = Instant::now();
                while before.duration_since(started) < time {
                    pair.once().await;
                    let after = Instant::now();
                    latencies.push(after.duration_since(before));
                    before = after;
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in working {
        latencies.extend(task.await.expect("a task that takes and gives back its lock"));
    }
    let (elapsed, worked) = (started.elapsed(), process_time().saturating_sub(worked));
    let pairs = f64::from(u32::try_from(latencies.len()).unwrap_or(u32::MAX));
    latencies.sort_unstable();
    Sample { per_second: pairs / elapsed.as_secs_f64(), work: worked.as_secs_f64() / pairs, latencies }
}

/// The numbers below `count`, in an order drawn anew.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let draw = RandomState::new();
    order.sort_by_cached_key(|place| draw.hash_one(place));
    order
}

/// The time that all threads of this process have spent on a core.
pub(crate) fn process_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(tv_sec).unwrap_or_default(), u32::try_from(tv_nsec).unwrap_or_default())
}

/// What all entrants did in all rounds.
pub struct Rounds {
    entrants: Vec<(&'static str, Vec<Sample>)>,
}

impl Rounds {
    /// Runs the rounds, with so many tasks at the same time.
    ///
    /// # Panics
    ///
    /// When an entrant does not get a lock that is free.
    pub async fn run(entrants: &[Entrant], tasks: u32, effort: Effort) -> Self {
        let mut samples: Vec<_> = entrants.iter().map(|entrant| (entrant.name, Vec::new())).collect();
        // The round before the first dials the connections and has the server remember the scripts.
        for round in 0..=effort.rounds {
            for place in shuffled(entrants.len()) {
                let sample = (entrants[place].turn)(tasks, effort.turn).await;
                if round > 0 {
                    samples[place].1.push(sample);
                }
            }
        }
        Self { entrants: samples }
    }

    /// The entrants' names, in the order in which they were entered.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entrants.iter().map(|(name, _)| *name)
    }

    /// Pairs per second: the median over all rounds.
    #[must_use]
    pub fn per_second(&self, name: &str) -> f64 {
        Spread::of(self.samples(name).iter().map(|sample| sample.per_second)).median
    }

    /// The time that this process works for a pair, on all its threads, in seconds: the median over all rounds.
    #[must_use]
    pub fn work(&self, name: &str) -> f64 {
        Spread::of(self.samples(name).iter().map(|sample| sample.work)).median
    }

    /// The time within which `percent` of all pairs were done.
    #[must_use]
    pub fn latency(&self, name: &str, percent: usize) -> Duration {
        let mut all: Vec<Duration> = self.samples(name).iter().flat_map(|sample| &sample.latencies).copied().collect();
        all.sort_unstable();
        percentile(&all, percent)
    }

    /// How many times the throughput of `other` that of `name` is, round by round: above 1 is better.
    #[must_use]
    pub fn throughput_ratio(&self, name: &str, other: &str) -> Spread {
        self.ratio(name, other, |sample| sample.per_second)
    }

    /// How many times the p99 of `other` that of `name` is, round by round: below 1 is better.
    #[must_use]
    pub fn p99_ratio(&self, name: &str, other: &str) -> Spread {
        self.ratio(name, other, |sample| percentile(&sample.latencies, 99).as_secs_f64())
    }

    /// How many times the work of `other` for a pair that of `name` is, round by round: below 1 is better.
    #[must_use]
    pub fn work_ratio(&self, name: &str, other: &str) -> Spread {
        self.ratio(name, other, |sample| sample.work)
    }

    fn ratio(&self, name: &str, other: &str, figure: impl Fn(&Sample) -> f64) -> Spread {
        let pairs = self.samples(name).iter().zip(self.samples(other));
        Spread::of(pairs.map(|(ours, other)| figure(ours) / figure(other)))
    }

    fn samples(&self, name: &str) -> &[Sample] {
        self.entrants.iter().find(|(entrant, _)| *entrant == name).map_or(&[], |(_, samples)| samples)
    }
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").field("entrants", &self.names().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
