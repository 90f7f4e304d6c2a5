//! Whether what happened was allowed to: functions of a [`History`] alone.
//!
//! They accuse nobody on incomplete knowledge. A hold whose end was not read yet, or never written since its process was
//! killed, counts for what is known of it; a poll that began in time and ended too late counts to its beginning, since a process
//! that is stopped inside of it, or a body that blocks, is beyond what a lease can promise.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{DataLoss, End, History, Hold, Write, Writer};
use crate::record::{HoldId, Standing};

/// Something that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Two bodies were polled under the same lock, each of them within its lease.
    Overlap {
        /// The key.
        key: usize,
        /// The hold that began first.
        first: HoldId,
        /// The hold that began while the first went on.
        second: HoldId,
        /// For how long they were both believed in.
        by: Duration,
    },
    /// A holder wrote over what another had written since it had read, both of them within their leases.
    LostUpdate {
        /// Who wrote over it.
        write: Write,
    },
    /// The same, of a resource that refuses late writers by their fencing token.
    LostFencedUpdate {
        /// Who wrote over it.
        write: Write,
    },
    /// A hold that was asked for after another had been won has no higher fencing token.
    FenceDidNotRise {
        /// The key.
        key: usize,
        /// The token of the later hold.
        token: i64,
        /// The later hold.
        hold: HoldId,
        /// The highest token of those before it.
        highest: i64,
    },
    /// The store denied a lock that nobody had touched.
    LostWithoutCause {
        /// The key.
        key: usize,
        /// The hold.
        hold: HoldId,
    },
    /// A call, or a worker, said what no fault explains.
    Unexpected {
        /// What it said.
        what: String,
    },
    /// Somebody still waited when everybody should have had the lock.
    Unserved {
        /// Who, and for how long.
        what: String,
    },
    /// A key was left behind.
    Leftover {
        /// Which, and for how long it would have stayed.
        what: String,
    },
    /// The run proves nothing.
    Idle {
        /// What did not happen.
        what: String,
    },
}

/// The sort of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// [`Finding::Overlap`]
    Overlap,
    /// [`Finding::LostUpdate`]
    LostUpdate,
    /// [`Finding::LostFencedUpdate`]
    LostFencedUpdate,
    /// [`Finding::FenceDidNotRise`]
    FenceDidNotRise,
    /// [`Finding::LostWithoutCause`]
    LostWithoutCause,
    /// [`Finding::Unexpected`]
    Unexpected,
    /// [`Finding::Unserved`]
    Unserved,
    /// [`Finding::Leftover`]
    Leftover,
    /// [`Finding::Idle`]
    Idle,
}

impl Finding {
    /// Its sort.
    #[must_use]
    pub fn sort(&self) -> Sort {
        match self {
            Self::Overlap { .. } => Sort::Overlap,
            Self::LostUpdate { .. } => Sort::LostUpdate,
            Self::LostFencedUpdate { .. } => Sort::LostFencedUpdate,
            Self::FenceDidNotRise { .. } => Sort::FenceDidNotRise,
            Self::LostWithoutCause { .. } => Sort::LostWithoutCause,
            Self::Unexpected { .. } => Sort::Unexpected,
            Self::Unserved { .. } => Sort::Unserved,
            Self::Leftover { .. } => Sort::Leftover,
            Self::Idle { .. } => Sort::Idle,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let update = |f: &mut fmt::Formatter<'_>, Write { key, by, base, found, before, .. }: &Write| {
            write!(f, "hold {} wrote over key {key}, which it had read as {base} and which was {found}", by.hold)?;
            match before {
                Some(before) => write!(f, ", written by hold {}", before.hold),
                None => Ok(()),
            }
        };
        match self {
            Self::Overlap { key, first, second, by } => {
                write!(f, "OVERLAP on key {key}: holds {first} and {second}, for at least {by:?}")
            }
            Self::LostUpdate { write } => {
                f.write_str("LOST UPDATE: ")?;
                update(f, write)
            }
            Self::LostFencedUpdate { write } => {
                f.write_str("LOST UPDATE in spite of fencing tokens: ")?;
                update(f, write)
            }
            Self::FenceDidNotRise { key, token, hold, highest } => {
                write!(f, "FENCING TOKEN {token} of hold {hold} on key {key} is not above {highest}")
            }
            Self::LostWithoutCause { key, hold } => {
                write!(f, "LOST WITHOUT CAUSE: hold {hold} on key {key} was denied, and nobody had touched it")
            }
            Self::Unexpected { what } => write!(f, "UNEXPECTED: {what}"),
            Self::Unserved { what } => write!(f, "UNSERVED: {what}"),
            Self::Leftover { what } => write!(f, "LEFTOVER: {what}"),
            Self::Idle { what } => write!(f, "PROVES NOTHING: {what}"),
        }
    }
}

/// What the checks have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must not have happened.
    pub findings: Vec<Finding>,
    /// Overlaps that a documented loss of data explains.
    pub excused_overlaps: Vec<(HoldId, HoldId)>,
    /// Lost updates of the resource without fencing tokens that nobody promised to prevent: data was lost, or one of the two
    /// wrote in a poll that had begun in time and ended too late.
    pub excused_updates: usize,
}

/// Everything that can be told from a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    overlaps(history, &mut verdict);
    lost_updates(history, &mut verdict);
    fences(history, &mut verdict);
    causes(history, &mut verdict);
    verdict.findings.extend(history.unexpected.iter().map(|what| Finding::Unexpected { what: what.clone() }));
    verdict
}

/// No two leases of a key are believed in at the same time.
fn overlaps(history: &History, verdict: &mut Verdict) {
    for (key, mut holds) in by_key(history) {
        holds.sort_by_key(|(_, hold)| hold.first);
        let mut going_on: Vec<(HoldId, &Hold)> = Vec::new();
        for (id, hold) in holds {
            going_on.retain(|(_, earlier)| earlier.believed_until() > hold.first);
            for &(first, earlier) in &going_on {
                if is_excused(history, earlier, hold) {
                    verdict.excused_overlaps.push((first, id));
                } else {
                    let end = earlier.believed_until().min(hold.believed_until());
                    let by = end.saturating_sub(hold.first);
                    verdict.findings.push(Finding::Overlap { key, first, second: id, by });
                }
            }
            going_on.push((id, hold));
        }
    }
}

fn by_key(history: &History) -> BTreeMap<usize, Vec<(HoldId, &Hold)>> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for (id, hold) in &history.holds {
        by_key.entry(hold.key).or_default().push((*id, hold));
    }
    by_key
}

/// Whether a loss of data explains that both were granted: one was won before it was over, the other after it had begun, and the
/// first was believed in no longer than for the lease that it could have had. Which was won first is not known where both
/// requests were under way at the same time.
fn is_excused(history: &History, one: &Hold, other: &Hold) -> bool {
    let explains = |loss: &DataLoss, first: &Hold, second: &Hold| {
        let within = |moment: Duration, more: Duration| loss.until.is_none_or(|until| moment <= until + more);
        first.sent <= second.answered
            && second.answered >= loss.from
            && within(first.sent, Duration::ZERO)
            && within(first.believed_until(), first.ttl)
    };
    let losses = history.data_losses.iter().filter(|loss| loss.key.is_none_or(|key| key == one.key));
    losses.into_iter().any(|loss| explains(loss, one, other) || explains(loss, other, one))
}

/// Nobody writes over what he has not read.
fn lost_updates(history: &History, verdict: &mut Verdict) {
    for write in history.writes.iter().filter(|write| write.base != write.found) {
        if write.fenced {
            // Whatever happens: that is what the tokens are for.
            verdict.findings.push(Finding::LostFencedUpdate { write: write.clone() });
        } else if is_a_loss(history, write) {
            verdict.findings.push(Finding::LostUpdate { write: write.clone() });
        } else {
            verdict.excused_updates += 1;
        }
    }
}

/// Whether both who wrote were within their leases, and no loss of data explains that they were at the same time.
fn is_a_loss(history: &History, write: &Write) -> bool {
    let within_lease = |writer: &Writer| {
        // A later look at the clock, or the end, found the lease valid: so it was valid in this poll.
        history.holds.get(&writer.hold).filter(|hold| hold.believed_until() > writer.look)
    };
    match (within_lease(&write.by), write.before.as_ref().and_then(within_lease)) {
        (Some(one), Some(other)) => !is_excused(history, one, other),
        _ => false,
    }
}

/// A hold that was asked for when another had been won has a higher token, whatever happens to the data.
fn fences(history: &History, verdict: &mut Verdict) {
    for (key, holds) in by_key(history) {
        let fenced: Vec<_> = holds.iter().filter_map(|(id, hold)| Some((*id, *hold, hold.fence?))).collect();
        let (mut asked, mut won) = (fenced.clone(), fenced);
        asked.sort_by_key(|(_, hold, _)| hold.sent);
        won.sort_by_key(|(_, hold, _)| hold.answered);
        let mut won = won.into_iter().peekable();
        let mut highest = None;
        for (id, hold, token) in asked {
            let forgotten = history.forgotten.get(&key).filter(|(_, last)| *last < hold.sent);
            highest = highest.max(forgotten.map(|(highest, _)| *highest));
            while let Some((_, _, earlier)) = won.next_if(|(_, earlier, _)| earlier.answered < hold.sent) {
                highest = highest.max(Some(earlier));
            }
            if let Some(highest) = highest.filter(|highest| token <= *highest) {
                verdict.findings.push(Finding::FenceDidNotRise { key, token, hold: id, highest });
            }
        }
    }
}

/// The store denies a lock before the end of its lease only if its key was lost.
fn causes(history: &History, verdict: &mut Verdict) {
    for (id, hold) in &history.holds {
        let Some(End { over, standing: Standing::Gone, .. }) = hold.end else { continue };
        let is_cause = |loss: &DataLoss| {
            loss.key.is_none_or(|key| key == hold.key)
                && loss.from <= over
                && loss.until.is_none_or(|until| hold.sent <= until)
        };
        if !history.data_losses.iter().any(is_cause) {
            verdict.findings.push(Finding::LostWithoutCause { key: hold.key, hold: *id });
        }
    }
}

/// A key of the lock server as it was found at the end: its name, and the time that is left of it in milliseconds, or −1 if it
/// never expires.
pub type Found = (String, i64);

/// What was left behind, when every lease is over and nobody waits: a lock, or the line before one; or anything else of ours that
/// would stay for ever, but for the counters of the fencing tokens, which have to: their names end like that.
#[must_use]
pub fn leftovers(found: &[Found], is_lock: impl Fn(&str) -> bool, counter: &str) -> Vec<Finding> {
    let is_leftover = |(name, left): &&Found| is_lock(name) || (*left == -1 && !name.ends_with(counter));
    let tell = |(name, left): &Found| match left {
        -1 => format!("`{name}`, for ever"),
        _ => format!("`{name}`, for another {left} ms"),
    };
    found.iter().filter(is_leftover).map(|found| Finding::Leftover { what: tell(found) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    const KEY: usize = 1;
    const TTL: Duration = Duration::from_millis(100);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn id(number: u64) -> HoldId {
        HoldId { place: 0, life: 0, number }
    }

    /// A history that is written down by hand: times are in milliseconds.
    #[derive(Default)]
    struct Written(History);

    impl Written {
        /// A hold that was asked for and won within a millisecond, and whose body was polled for the first time at `began`.
        fn began(self, number: u64, began: u64) -> Self {
            self.fenced(number, None, (began - 2, began - 1), began)
        }

        fn fenced(mut self, number: u64, fence: Option<i64>, (sent, answered): (u64, u64), began: u64) -> Self {
            let (sent, answered, look) = (ms(sent), ms(answered), ms(began));
            self.0.add(Record::Began { id: id(number), key: KEY, fence, ttl: TTL, asked: sent, sent, answered, look });
            self
        }

        /// The last poll began at `look` and ended at `at`.
        fn ended(mut self, number: u64, look: u64, at: u64, standing: Standing) -> Self {
            self.0.add(Record::Ended { id: id(number), look: ms(look), at: ms(at), over: ms(at), standing });
            self
        }

        fn held(self, number: u64, began: u64, ended: u64) -> Self {
            self.began(number, began).ended(number, began, ended, Standing::Held)
        }

        fn lost_data(mut self, key: Option<usize>, from: u64, until: Option<u64>) -> Self {
            self.0.data_losses.push(DataLoss { key, from: ms(from), until: until.map(ms) });
            self
        }

        fn wrote(mut self, by: (u64, u64), base: i64, found: i64, before: (u64, u64), fenced: bool) -> Self {
            let writer = |(number, look)| Writer { hold: id(number), look: ms(look) };
            let before = Some(writer(before));
            self.0.add_write(Write { key: KEY, fenced, by: writer(by), base, found, before });
            self
        }

        #[track_caller]
        fn is(&self, expected: &[Sort]) -> Verdict {
            let verdict = check(&self.0);
            let found: Vec<_> = verdict.findings.iter().map(Finding::sort).collect();
            assert_eq!(found, expected, "{:?}", verdict.findings);
            verdict
        }
    }

    fn history() -> Written {
        Written::default()
    }

    #[test]
    fn holds_in_turn_are_right() {
        history().held(1, 10, 20).held(2, 20, 30).held(3, 40, 50).is(&[]);
    }

    #[test]
    fn holds_at_once_are_found() {
        let verdict = history().held(1, 10, 30).held(2, 29, 40).is(&[Sort::Overlap]);
        let first = Finding::Overlap { key: KEY, first: id(1), second: id(2), by: ms(1) };
        assert_eq!(verdict.findings, [first]);
        // One within the other, and a third behind the shorter one.
        history().held(1, 10, 90).held(2, 20, 30).held(3, 40, 50).is(&[Sort::Overlap, Sort::Overlap]);
        // The end of the first was never written: its last look at the clock was.
        let mut killed = history().began(1, 10).held(2, 29, 40);
        killed.is(&[]);
        killed.0.add(Record::Polled { id: id(1), look: ms(30) });
        killed.is(&[Sort::Overlap]);
    }

    #[test]
    fn keys_have_nothing_to_do_with_each_other() {
        let mut two = history().held(1, 10, 30).held(2, 20, 40);
        two.0.holds.get_mut(&id(1)).expect("there").key = KEY + 1;
        two.is(&[]);
    }

    /// A process that is stopped inside of a poll, or blocks in it, is late without anybody's fault. One that is polled again is
    /// not.
    #[test]
    fn a_poll_that_began_in_time_may_end_too_late() {
        history().began(1, 10).ended(1, 60, 500, Standing::Expired).held(2, 120, 130).is(&[]);
        history().began(1, 10).ended(1, 121, 500, Standing::Expired).held(2, 120, 130).is(&[Sort::Overlap]);
        // Had it been valid at the end, it would have been valid when the second was granted.
        history().began(1, 10).ended(1, 60, 500, Standing::Held).held(2, 120, 130).is(&[Sort::Overlap]);
    }

    #[test]
    fn lost_data_excuses_what_it_explains() {
        let overlap = || history().held(1, 10, 80).held(2, 60, 90);
        overlap().is(&[Sort::Overlap]);
        for key in [None, Some(KEY)] {
            assert_eq!(overlap().lost_data(key, 50, Some(55)).is(&[]).excused_overlaps, [(id(1), id(2))]);
            overlap().lost_data(key, 50, None).is(&[]);
            // Before the first was even asked for, or when both had been granted.
            overlap().lost_data(key, 1, Some(7)).is(&[Sort::Overlap]);
            overlap().lost_data(key, 60, Some(61)).is(&[Sort::Overlap]);
        }
        overlap().lost_data(Some(KEY + 1), 50, Some(55)).is(&[Sort::Overlap]);
    }

    #[test]
    fn lost_data_excuses_no_longer_than_a_lease() {
        let overlap = |until| history().held(1, 10, until).held(2, 60, 90).lost_data(None, 50, Some(55));
        overlap(155).is(&[]);
        overlap(156).is(&[Sort::Overlap]);
    }

    /// By the order in which they were granted, not by that in which their bodies began.
    #[test]
    fn lost_data_excuses_a_body_that_begins_late() {
        let late = history().fenced(1, None, (8, 9), 70).ended(1, 70, 75, Standing::Held).held(2, 60, 90);
        late.is(&[Sort::Overlap]);
        late.lost_data(None, 50, Some(55)).is(&[]);
    }

    /// The request that was sent first may have been carried out last.
    #[test]
    fn lost_data_excuses_a_request_that_was_overtaken() {
        let overtaken = history().fenced(1, None, (5, 69), 70).ended(1, 70, 80, Standing::Held).held(2, 20, 75);
        overtaken.is(&[Sort::Overlap]);
        overtaken.lost_data(None, 50, Some(55)).is(&[]);
    }

    #[test]
    fn lost_updates_are_found() {
        let both = || history().held(1, 10, 20).held(2, 30, 40);
        both().wrote((1, 10), 0, 0, (1, 10), false).wrote((2, 30), 1, 1, (1, 10), false).is(&[]);
        both().wrote((2, 30), 0, 1, (1, 10), false).is(&[Sort::LostUpdate]);
        both().wrote((2, 30), 0, 1, (1, 10), true).is(&[Sort::LostFencedUpdate]);
    }

    #[test]
    fn a_writer_out_of_its_lease_is_no_loss_but_for_fencing() {
        let late = || history().began(1, 10).ended(1, 15, 200, Standing::Expired).held(2, 120, 130);
        // Who wrote over it was late, or what it wrote over was written too late.
        let verdict = late().wrote((1, 15), 0, 1, (2, 120), false).wrote((2, 120), 0, 1, (1, 15), false).is(&[]);
        assert_eq!(verdict.excused_updates, 2);
        late().wrote((1, 15), 0, 1, (2, 120), true).is(&[Sort::LostFencedUpdate]);
        // In an earlier poll the lease was valid: it was looked at again after it.
        late().wrote((1, 12), 0, 1, (2, 120), false).is(&[Sort::LostUpdate]);
        // Of a hold that nobody knows, nothing can be said.
        late().wrote((1, 12), 0, 1, (9, 120), false).is(&[]);
    }

    #[test]
    fn lost_data_excuses_lost_updates_but_for_fencing() {
        let lost = || history().held(1, 10, 80).held(2, 60, 90).lost_data(None, 50, Some(55));
        assert_eq!(lost().wrote((1, 10), 0, 1, (2, 60), false).is(&[]).excused_updates, 1);
        lost().wrote((1, 10), 0, 1, (2, 60), true).is(&[Sort::LostFencedUpdate]);
    }

    #[test]
    fn fences_have_to_rise() {
        let fenced = |first, second| {
            let first = history().fenced(1, Some(first), (8, 9), 10).ended(1, 10, 20, Standing::Held);
            first.fenced(2, Some(second), (18, 29), 30).ended(2, 30, 40, Standing::Held)
        };
        fenced(7, 8).is(&[]);
        fenced(7, 7).is(&[Sort::FenceDidNotRise]);
        // Whatever was lost.
        fenced(7, 6).lost_data(None, 15, Some(16)).is(&[Sort::FenceDidNotRise]);
        // Neither was before the other.
        history().fenced(1, Some(7), (8, 19), 20).fenced(2, Some(6), (18, 29), 30).is(&[]);
        // The first is not looked at any more.
        let mut forgetful = fenced(7, 7);
        forgetful.0.forget(ms(25));
        assert_eq!(forgetful.0.holds.len(), 1);
        forgetful.is(&[Sort::FenceDidNotRise]);
    }

    #[test]
    fn a_denial_has_a_cause() {
        let denied = || history().began(1, 10).ended(1, 15, 20, Standing::Gone);
        denied().is(&[Sort::LostWithoutCause]);
        denied().lost_data(Some(KEY), 16, None).is(&[]);
        denied().lost_data(None, 16, Some(30)).is(&[]);
        denied().lost_data(Some(KEY), 1, Some(7)).is(&[Sort::LostWithoutCause]);
        denied().lost_data(Some(KEY), 21, None).is(&[Sort::LostWithoutCause]);
        denied().lost_data(Some(KEY + 1), 16, None).is(&[Sort::LostWithoutCause]);
    }

    #[test]
    fn leftovers_are_locks_and_what_never_goes() {
        let found = |name: &str, left| (name.to_owned(), left);
        let all = [found("soak:1", 500), found("soak:2", -1), found("fence", -1), found("queue", 900), found("x", -1)];
        let leftovers = leftovers(&all, |name| name.starts_with("soak:"), "fence");
        let names: Vec<_> = leftovers.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[0].contains("`soak:1`, for another 500 ms"));
        assert!(names[1].contains("`soak:2`, for ever") && names[2].contains("`x`, for ever"));
    }
}
