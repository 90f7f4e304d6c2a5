//! What happened, as far as the logs and the resource tell.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::{HoldId, Outcome, Queued, Record, Standing};

/// A hold, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The number of its key.
    pub key: usize,
    /// Its fencing token, if it has one.
    pub fence: Option<i64>,
    /// The length of its lease.
    pub ttl: Duration,
    /// Before the request that won the lock was sent.
    pub sent: Duration,
    /// When its answer was there.
    pub answered: Duration,
    /// When the library looked at its clock, right before the first poll of the body.
    pub first: Duration,
    /// The same, of the last poll that is known.
    pub last: Duration,
    /// Its end, if that is known.
    pub end: Option<End>,
    /// Nothing more will be known of it.
    pub closed: bool,
}

/// The end of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The end of the last poll of the body.
    pub at: Duration,
    /// When the body was over.
    pub over: Duration,
    /// How the lease stood then.
    pub standing: Standing,
}

impl Hold {
    /// Until when the lease was certainly believed in: to the end of the last poll, if it was valid then. Else only to the look at
    /// the clock before that poll, which may have begun in time and ended too late: it blocked, or the process was stopped.
    #[must_use]
    pub fn believed_until(&self) -> Duration {
        match self.end {
            Some(End { at, standing: Standing::Held, .. }) => at,
            _ => self.last,
        }
    }
}

/// A write to the resource, as the resource saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The number of the key.
    pub key: usize,
    /// Whether the writer showed its fencing token.
    pub fenced: bool,
    /// Who wrote.
    pub by: Writer,
    /// The value on which it based its own.
    pub base: i64,
    /// The value that was there.
    pub found: i64,
    /// Who had written that.
    pub before: Option<Writer>,
}

/// A hold, and the poll of its body in which it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// The hold.
    pub hold: HoldId,
    /// When the library looked at its clock, right before the poll.
    pub look: Duration,
}

/// A fault by which a lock may be granted twice, as is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataLoss {
    /// The key that is lost; all, if there is none.
    pub key: Option<usize>,
    /// Before it began.
    pub from: Duration,
    /// After it was done; `None` while it is not.
    pub until: Option<Duration>,
}

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The holds that the checks look at: all, or those of the last while.
    pub holds: BTreeMap<HoldId, Hold>,
    /// The writes that the checks look at.
    pub writes: Vec<Write>,
    /// The faults that lose data.
    pub data_losses: Vec<DataLoss>,
    /// Figures of the whole run.
    pub tally: Tally,
    /// What no fault explains: what calls said that should not have.
    pub unexpected: Vec<String>,
    /// Of each key, the highest fencing token of the holds that are not looked at any more, and when the last of them was won.
    pub forgotten: BTreeMap<usize, (i64, Duration)>,
}

/// Figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many bodies began.
    pub holds: u64,
    /// How many of them had a fencing token.
    pub fenced: u64,
    /// How they and others waited in line.
    pub lines: Lines,
    /// How many lost their lock on the way: to the clock, or because the store said so.
    pub lost: u64,
    /// How many writes there were without a fencing token.
    pub plain_writes: u64,
    /// How many of them wrote over what they had not read.
    pub plain_writes_over: u64,
    /// How many writes there were with a fencing token.
    pub fenced_writes: u64,
    /// How many of them wrote over what they had not read.
    pub fenced_writes_over: u64,
    /// How many calls ended how.
    pub calls: BTreeMap<Outcome, u64>,
    /// The longest time from a call to its body.
    pub longest_wait: Duration,
    /// How many tasks had their last turn, after the nemesis had ended.
    pub last_turns: u64,
    /// The longest time that one of them took.
    pub longest_last: Duration,
}

/// How callers waited in the server's line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    /// How many places were taken.
    pub places: u64,
    /// How many of them became locks.
    pub confirmed: u64,
    /// How many of those by a call, and without asking.
    pub called: u64,
    /// How often was asked again how a place stood.
    pub asked_again: u64,
    /// How often a place went from one task to another.
    pub passed_on: u64,
    /// How often a call came to nothing.
    pub missed: u64,
}

impl Lines {
    fn add(&mut self, queued: Queued) {
        self.places += 1;
        self.confirmed += u64::from(queued.confirmed);
        self.called += u64::from(queued.called);
        self.asked_again += queued.asked_again;
        self.passed_on += queued.passed_on;
        self.missed += queued.missed;
    }
}

impl History {
    /// Adds a line of a log. One of a hold whose beginning is not known adds nothing.
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Began { id, key, fence, ttl, asked, sent, answered, look } => {
                self.tally.holds += 1;
                self.tally.fenced += u64::from(fence.is_some());
                self.tally.longest_wait = self.tally.longest_wait.max(look.saturating_sub(asked));
                let (first, last) = (look, look);
                let hold = Hold { key, fence, ttl, sent, answered, first, last, end: None, closed: false };
                self.holds.insert(id, hold);
            }
            Record::Queued(queued) => self.tally.lines.add(queued),
            Record::Polled { id, look } => {
                if let Some(hold) = self.holds.get_mut(&id) {
                    hold.last = look;
                }
            }
            Record::Ended { id, look, at, over, standing } => {
                self.tally.lost += u64::from(matches!(standing, Standing::Expired | Standing::Gone));
                if let Some(hold) = self.holds.get_mut(&id) {
                    hold.last = look;
                    hold.end = Some(End { at, over, standing });
                    hold.closed = true;
                }
            }
            Record::Called { key, outcome, text, .. } => {
                *self.tally.calls.entry(outcome).or_default() += 1;
                if outcome == Outcome::Unexpected {
                    self.unexpected.push(format!("a call on key {key}: {text}"));
                }
            }
            Record::Last { asked, returned, .. } => {
                self.tally.last_turns += 1;
                self.tally.longest_last = self.tally.longest_last.max(returned.saturating_sub(asked));
            }
        }
    }

    /// Adds a write to the resource.
    pub fn add_write(&mut self, write: Write) {
        let Tally { plain_writes, plain_writes_over, fenced_writes, fenced_writes_over, .. } = &mut self.tally;
        let (all, over) =
            if write.fenced { (fenced_writes, fenced_writes_over) } else { (plain_writes, plain_writes_over) };
        *all += 1;
        *over += u64::from(write.base != write.found);
        self.writes.push(write);
    }

    /// The worker is no more: of its holds, nothing more will be known.
    pub fn close(&mut self, place: usize, life: usize) {
        for (_, hold) in self.holds.iter_mut().filter(|(id, _)| (id.place, id.life) == (place, life)) {
            hold.closed = true;
        }
    }

    /// Forgets what was over before that moment. So a long run takes no more memory than a short one.
    pub fn forget(&mut self, before: Duration) {
        let forgotten = &mut self.forgotten;
        self.holds.retain(|_, hold| {
            let over = hold.end.map_or(hold.last, |end| end.over);
            let keep = !hold.closed || over >= before || hold.answered >= before;
            if let (false, Some(fence)) = (keep, hold.fence) {
                let (highest, last) = forgotten.entry(hold.key).or_insert((fence, hold.answered));
                (*highest, *last) = (fence.max(*highest), hold.answered.max(*last));
            }
            keep
        });
        // The losses of data are kept: they are few, and no excuse is to be missing.
        self.writes.retain(|write| write.by.look >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HoldId = HoldId { place: 3, life: 1, number: 17 };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn began(fence: Option<i64>) -> Record {
        let (asked, sent, answered, look) = (ms(1), ms(2), ms(3), Duration::from_nanos(4_000_001));
        Record::Began { id: ID, key: 2, fence, ttl: ms(400), asked, sent, answered, look }
    }

    #[test]
    fn a_lease_is_believed_in_to_its_end_or_to_the_last_look() {
        let mut history = History::default();
        history.add(began(None));
        assert_eq!(history.holds[&ID].believed_until(), Duration::from_nanos(4_000_001));
        history.add(Record::Polled { id: ID, look: ms(20) });
        assert_eq!(history.holds[&ID].believed_until(), ms(20));
        let end = |standing| Record::Ended { id: ID, look: ms(30), at: ms(40), over: ms(41), standing };
        history.add(end(Standing::Held));
        assert_eq!(history.holds[&ID].believed_until(), ms(40));
        history.add(end(Standing::Expired));
        assert_eq!(history.holds[&ID].believed_until(), ms(30));
        assert_eq!((history.tally.holds, history.tally.lost), (1, 1));
    }

    #[test]
    fn what_is_forgotten_leaves_its_highest_token() {
        let mut history = History::default();
        history.add(began(Some(33)));
        history.forget(ms(1000));
        assert_eq!(history.holds.len(), 1, "it may go on");
        history.close(ID.place, ID.life + 1);
        history.forget(ms(1000));
        assert_eq!(history.holds.len(), 1, "that was another worker");
        history.close(ID.place, ID.life);
        history.forget(ms(2));
        assert_eq!(history.holds.len(), 1, "it was answered after that");
        history.forget(ms(1000));
        assert!(history.holds.is_empty());
        assert_eq!(history.forgotten, BTreeMap::from([(2, (33, ms(3)))]));
        assert_eq!(history.tally.fenced, 1);
    }
}
