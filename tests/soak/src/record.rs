//! The lines of a worker's log.
//!
//! All times are on the machine's clock, which the processes share. A line is written by one call, so that a killed process
//! leaves whole lines, and at most one torn one behind them.

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
    /// A place in the server's line was left, or a lock was made of it.
    Queued(Queued),
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

/// What became of a place in the server's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queued {
    /// How often was asked how it stood, after it had been taken.
    pub asked_again: u64,
    /// How often it went from one task of the worker to another.
    pub passed_on: u64,
    /// How often a call came to nothing: nothing was granted, or it was over.
    pub missed: u64,
    /// It became a lock.
    pub confirmed: bool,
    /// By a call, and without asking.
    pub called: bool,
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
            Self::Queued(Queued { asked_again, passed_on, missed, confirmed, called }) => {
                write!(f, "queued {asked_again} {passed_on} {missed} {confirmed} {called}")
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
            "queued" => Self::Queued(Queued {
                asked_again: word(words)?,
                passed_on: word(words)?,
                missed: word(words)?,
                confirmed: word(words)?,
                called: word(words)?,
            }),
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
            Record::Queued(Queued { asked_again: 3, passed_on: 2, missed: 1, confirmed: true, called: false }),
            Record::Queued(Queued { called: true, ..Queued::default() }),
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
        for line in
            ["", "began", "began 1.2 3", "ended 1.2.3 1 2 3 somehow", "polled 1.2.3 x", "queued 1 2 3 yes", "unknown 1"]
        {
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
}
