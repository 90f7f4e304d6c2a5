//! What a run has come to, for people to read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::check::{Finding, Sort};
use crate::history::Tally;
use crate::schedule::Fault;
use crate::topology::Topology;
use crate::watched::Broken;

/// What a run has come to.
#[derive(Debug)]
pub struct Report {
    /// What it followed from.
    pub seed: u64,
    /// For how long things went wrong.
    pub length: Duration,
    /// What was wrong with the workers' store.
    pub broken: Option<Broken>,
    /// What the locks were on.
    pub topology: Topology,
    /// Its figures.
    pub tally: Tally,
    /// How often each fault had an effect.
    pub fired: BTreeMap<Fault, u64>,
    /// How often data was lost, or the clock set forwards.
    pub lost_data: usize,
    /// Overlaps that a documented loss of data explains.
    pub excused_overlaps: usize,
    /// What must not have happened.
    pub findings: Vec<Finding>,
    /// How long everybody's last turns took; `None` if the run was ended before.
    pub drained: Option<Duration>,
    /// How long they were allowed to take.
    pub patience: Duration,
    /// Where the logs of the workers are.
    pub logs: Option<PathBuf>,
}

impl Report {
    /// How many findings there are of this sort.
    #[must_use]
    pub fn count(&self, sort: Sort) -> usize {
        self.findings.iter().filter(|finding| finding.sort() == sort).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, length, tally, fired, findings, .. } = self;
        let seconds = length.as_secs();
        writeln!(f, "soak of {seconds} s, seed {seed}")?;
        if let Some(broken) = self.broken {
            writeln!(f, "  a store that is broken on purpose: {broken}")?;
        }
        let line =
            |f: &mut fmt::Formatter<'_>, what: &str, figure: &dyn fmt::Display| writeln!(f, "  {figure:>9}  {what}");
        line(f, "holds", &tally.holds)?;
        line(f, "of them with a fencing token", &tally.fenced)?;
        line(f, "of them lost on the way", &tally.lost)?;
        line(f, "places in line", &tally.lines.places)?;
        line(f, "of them that became locks", &tally.lines.confirmed)?;
        line(f, "of those by a call, without asking", &tally.lines.called)?;
        line(f, "questions how a place stood", &tally.lines.asked_again)?;
        line(f, "places that went from one task to another", &tally.lines.passed_on)?;
        line(f, "calls that came to nothing", &tally.lines.missed)?;
        for (outcome, times) in &tally.calls {
            line(f, &format!("calls that ended: {outcome}"), times)?;
        }
        for (fault, times) in fired {
            line(f, &format!("times: {fault}"), times)?;
        }
        line(f, "overlaps", &self.count(Sort::Overlap))?;
        line(f, &format!("overlaps by {} losses of data, as is documented", self.lost_data), &self.excused_overlaps)?;
        line(f, "updates without a fencing token", &tally.plain_writes)?;
        line(f, "of them lost", &self.count(Sort::LostUpdate))?;
        let lost = u64::try_from(self.count(Sort::LostUpdate)).unwrap_or(u64::MAX);
        let late = tally.plain_writes_over.saturating_sub(lost);
        line(f, "of them lost to a loss of data, or to a poll that ended too late, as is documented", &late)?;
        line(f, "updates with a fencing token", &tally.fenced_writes)?;
        line(f, "of them lost", &tally.fenced_writes_over)?;
        let ms = |time: Duration| format!("{} ms", time.as_millis());
        line(f, "longest wait for a lock", &ms(tally.longest_wait))?;
        if let Some(drained) = self.drained {
            line(f, "until everybody had a last turn, after the nemesis had ended", &ms(drained))?;
            line(f, "allowed for that", &ms(self.patience))?;
            line(f, "last turns", &tally.last_turns)?;
            line(f, "longest wait for one", &ms(tally.longest_last))?;
        }
        if findings.is_empty() {
            return writeln!(f, "  nothing was found");
        }
        writeln!(f, "FOUND:")?;
        for finding in findings.iter().take(20) {
            writeln!(f, "  {finding}")?;
        }
        if let Some(more) = findings.len().checked_sub(20).filter(|more| *more > 0) {
            writeln!(f, "  and {more} more")?;
        }
        if let Some(logs) = &self.logs {
            writeln!(f, "The logs of the workers are in {}", logs.display())?;
        }
        let broken = self.broken.map(|broken| format!(" --broken {broken}")).unwrap_or_default();
        let on = if self.topology == Topology::One { String::new() } else { format!(" --on {}", self.topology) };
        writeln!(
            f,
            "The same faults at the same times: cargo run --release -p lock-soak -- --seconds {seconds} --seed {seed}{on}{broken}"
        )
    }
}
