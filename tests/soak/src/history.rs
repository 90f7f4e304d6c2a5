//! What happened: the lines that workers write, and what is read from them.
//!
//! All times are on the machine's clock, which the processes share. A line is written by one call, so that a killed process
//! leaves whole lines, and at most one torn one behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

/// A hold of a lock: the worker, how many came before it in its place, and the number of the hold among its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId {
    /// The place of the worker.
    pub place: usize,
    /// How many workers were killed in this place before.
    pub life: usize,
    /// Counted by the worker.
    pub number: u64,
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.place, self.life, self.number)
    }
}

impl FromStr for HoldId {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(Unreadable)?.parse::<u64>().map_err(|_| Unreadable);
        let small = |number: u64| usize::try_from(number).map_err(|_| Unreadable);
        Ok(Self { place: small(part()?)?, life: small(part()?)?, number: part()? })
    }
}

/// What is no line of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// One line of a worker's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A body is polled for the first time.
    Began {
        /// Its hold.
        id: HoldId,
        /// The number of its key.
        key: usize,
        /// Its fencing token, if it has one.
        fence: Option<i64>,
        /// The length of its lease.
        ttl: Duration,
        /// When the call was made.
        asked: Duration,
        /// Before the request that won the lock was sent.
        sent: Duration,
        /// When its answer was there.
        answered: Duration,
        /// When the library looked at its clock, right before this poll.
        look: Duration,
    },
    /// A body is polled again. Not every time: a log is no firehose.
    Polled {
        /// Its hold.
        id: HoldId,
        /// When the library looked at its clock, right before this poll.
        look: Duration,
    },
    /// A body is not polled any more.
    Ended {
        /// Its hold.
        id: HoldId,
        /// When the library looked at its clock, right before the last poll.
        look: Duration,
        /// The end of that poll.
        at: Duration,
        /// When the body was over: it had come to its end, or was dropped.
        over: Duration,
        /// How the lease stood then.
        standing: Standing,
    },
    /// A call has returned.
    Called {
        /// The number of its key.
        key: usize,
        /// When it was made.
        asked: Duration,
        /// When it returned.
        returned: Duration,
        /// What came of it.
        outcome: Outcome,
        /// What it said, where that was not to be expected.
        text: String,
    },
    /// After the nemesis had ended, a task got the lock that it waited for.
    Last {
        /// The number of its key.
        key: usize,
        /// When it began to ask.
        asked: Duration,
        /// When it had been given it and had given it back.
        returned: Duration,
    },
}

/// How a lease stood when its body was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was valid.
    Held,
    /// Its time was over.
    Expired,
    /// The store had said that the lock was not ours any more.
    Gone,
    /// Something else had ended it: `max_hold`.
    Given,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The body ran under the lock.
    Done,
    /// Somebody else held it for too long.
    Busy,
    /// The lock was lost on the way.
    Lost,
    /// The store did not answer.
    Unavailable,
    /// The caller gave up and dropped the call.
    Dropped,
    /// What no fault of this test explains.
    Unexpected,
}

/// The words by which lines tell the variants apart.
trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }

    fn read(text: &str) -> Result<Self, Unreadable> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or(Unreadable)
    }
}

impl Word for Standing {
    const WORDS: &'static [(&'static str, Self)] =
        &[("held", Self::Held), ("expired", Self::Expired), ("gone", Self::Gone), ("given", Self::Given)];
}

impl Word for Outcome {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("done", Self::Done),
        ("busy", Self::Busy),
        ("lost", Self::Lost),
        ("unavailable", Self::Unavailable),
        ("dropped", Self::Dropped),
        ("unexpected", Self::Unexpected),
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = Duration::as_nanos;
        match self {
            Self::Began { id, key, fence, ttl, asked, sent, answered, look } => {
                // Zero is no token: they are times of day.
                let (fence, ttl) = (fence.unwrap_or(0), ns(ttl));
                write!(f, "began {id} {key} {fence} {ttl} {} {} {} {}", ns(asked), ns(sent), ns(answered), ns(look))
            }
            Self::Polled { id, look } => write!(f, "polled {id} {}", ns(look)),
            Self::Ended { id, look, at, over, standing } => {
                write!(f, "ended {id} {} {} {} {}", ns(look), ns(at), ns(over), standing.word())
            }
            Self::Called { key, asked, returned, outcome, text } => {
                write!(f, "called {key} {} {} {outcome} {}", ns(asked), ns(returned), text.replace('\n', " "))
            }
            Self::Last { key, asked, returned } => write!(f, "last {key} {} {}", ns(asked), ns(returned)),
        }
    }
}

impl FromStr for Record {
    type Err = Unreadable;

    fn from_str(line: &str) -> Result<Self, Unreadable> {
        let words = &mut line.split_whitespace();
        Ok(match word::<String>(words)?.as_str() {
            "began" => Self::Began {
                id: word(words)?,
                key: word(words)?,
                fence: Some(word(words)?).filter(|fence| *fence != 0),
                ttl: time(words)?,
                asked: time(words)?,
                sent: time(words)?,
                answered: time(words)?,
                look: time(words)?,
            },
            "polled" => Self::Polled { id: word(words)?, look: time(words)? },
            "ended" => Self::Ended {
                id: word(words)?,
                look: time(words)?,
                at: time(words)?,
                over: time(words)?,
                standing: Standing::read(words.next().unwrap_or_default())?,
            },
            "called" => Self::Called {
                key: word(words)?,
                asked: time(words)?,
                returned: time(words)?,
                outcome: Outcome::read(words.next().unwrap_or_default())?,
                text: words.collect::<Vec<_>>().join(" "),
            },
            "last" => Self::Last { key: word(words)?, asked: time(words)?, returned: time(words)? },
            _ => return Err(Unreadable),
        })
    }
}

/// The next word.
pub(crate) fn word<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<T, Unreadable> {
    words.next().and_then(|word| word.parse().ok()).ok_or(Unreadable)
}

/// The next word, nanoseconds.
pub(crate) fn time(words: &mut SplitWhitespace<'_>) -> Result<Duration, Unreadable> {
    Ok(Duration::from_nanos(word(words)?))
}

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

/// The whole lines of `bytes`, which are taken out of it; what follows them may be whole later.
pub fn whole_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let rest = bytes.split_off(end);
    let whole = std::mem::replace(bytes, rest);
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
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
    fn lines_are_read_as_they_were_written() {
        let ended = |standing| Record::Ended { id: ID, look: ms(5), at: ms(6), over: ms(7), standing };
        let called = |outcome, text: &str| Record::Called {
            key: 0,
            asked: ms(8),
            returned: ms(9),
            outcome,
            text: text.to_owned(),
        };
        for record in [
            began(None),
            began(Some(1_700_000_000_000_000)),
            Record::Polled { id: ID, look: ms(4) },
            ended(Standing::Held),
            ended(Standing::Expired),
            ended(Standing::Gone),
            ended(Standing::Given),
            called(Outcome::Done, ""),
            called(Outcome::Busy, ""),
            called(Outcome::Lost, ""),
            called(Outcome::Unavailable, ""),
            called(Outcome::Dropped, ""),
            called(Outcome::Unexpected, "lock `k`: no such thing"),
            Record::Last { key: 1, asked: ms(1), returned: ms(2) },
        ] {
            assert_eq!(record.to_string().parse(), Ok(record));
        }
        for line in ["", "began", "began 1.2 3", "ended 1.2.3 1 2 3 somehow", "polled 1.2.3 x", "unknown 1"] {
            assert_eq!(line.parse::<Record>(), Err(Unreadable), "{line:?}");
        }
    }

    #[test]
    fn a_torn_line_waits_for_its_end() {
        let mut bytes = b"one\ntwo\nthr".to_vec();
        assert_eq!(whole_lines(&mut bytes), ["one", "two"]);
        assert!(whole_lines(&mut bytes).is_empty());
        bytes.extend_from_slice(b"ee\n");
        assert_eq!(whole_lines(&mut bytes), ["three"]);
        assert!(bytes.is_empty());
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
