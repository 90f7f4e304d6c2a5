//! What the answers of the nodes come to.

use std::fmt::Write as _;
use std::time::Duration;

use super::ballot::Vote;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Attempt, Reading};

/// What an acquisition came to.
#[derive(Debug)]
pub(super) enum Taken {
    /// A quorum has given it to us.
    Ours,
    /// It cannot any more: somebody else has it, or nobody.
    Not(Attempt),
    /// As before, because of nodes that failed.
    Failed(StoreError),
}

/// What an acquisition has come to, as soon as the rest cannot change it.
pub(super) fn of_acquisition(votes: &[Vote<Attempt>], quorum: usize) -> Option<Taken> {
    let count = |is: fn(&Vote<Attempt>) -> bool| votes.iter().filter(|vote| is(vote)).count();
    let ours = count(|vote| matches!(vote.answer(), Some(Attempt::Acquired { .. })));
    if ours >= quorum {
        return Some(Taken::Ours);
    }
    let open = count(|vote| matches!(vote, Vote::Open));
    if ours + open >= quorum {
        return None;
    }
    let minority = votes.len() - quorum;
    let foreign = count(|vote| matches!(vote.answer(), Some(Attempt::Foreign { .. })));
    let busy = count(|vote| matches!(vote.answer(), Some(Attempt::Busy { .. })));
    let failed = count(|vote| matches!(vote, Vote::Cast(Err(_))));
    if foreign > minority {
        let key = votes.iter().find_map(|vote| match vote.answer() {
            Some(Attempt::Foreign { key }) => Some(key.clone()),
            _ => None,
        });
        return key.map(|key| Taken::Not(Attempt::foreign(key)));
    }
    if busy + foreign > minority || failed == 0 {
        return Some(Taken::Not(busiest(votes, quorum)));
    }
    if busy + foreign + open > minority {
        // It is not ours. Whether somebody has it, or nobody knows, is up to those that have not answered.
        return None;
    }
    Some(Taken::Failed(failure(votes, "no majority of the nodes gave the lock")))
}

/// Who is in the way, if it is somebody who has a quorum; after a split vote, it is nobody.
fn busiest(votes: &[Vote<Attempt>], quorum: usize) -> Attempt {
    let busy = || {
        votes.iter().filter_map(|vote| match vote.answer() {
            Some(Attempt::Busy { value, remaining, key }) => Some((value, remaining, key)),
            _ => None,
        })
    };
    let same = |one: &Option<String>| busy().filter(|(value, ..)| *value == one).count();
    let Some((value, _, key)) = busy().max_by_key(|(value, ..)| same(value)) else { return Attempt::busy(None, None) };
    // Votes that were not waited for any more may be for the same one.
    let open = votes.iter().filter(|vote| matches!(vote, Vote::Open)).count();
    if same(value) + open < quorum {
        return Attempt::busy(None, None);
    }
    let mut times: Vec<Duration> = busy().filter(|(v, ..)| *v == value).filter_map(|(_, left, _)| *left).collect();
    times.sort_unstable();
    // When so many of its nodes are free that it has no quorum any more.
    let remaining = times.get((times.len() + open).saturating_sub(quorum).min(times.len().saturating_sub(1))).copied();
    Attempt::Busy { value: value.clone(), remaining, key: key.clone() }
}

/// What a quorum sees.
#[derive(Debug)]
pub(super) enum Seen {
    Somebody(Reading),
    /// Also where all have answered, and no quorum sees the same.
    Nobody,
}

/// What a quorum sees, as soon as the rest cannot change it.
pub(super) fn seen_by_most(votes: &[Vote<Option<Reading>>], quorum: usize) -> Option<Seen> {
    let seen = || votes.iter().filter_map(Vote::answer);
    for reading in seen().flatten() {
        let same = seen().flatten().filter(|other| other.value == reading.value);
        let mut times: Vec<_> = same.map(|other| other.remaining.unwrap_or(Duration::MAX)).collect();
        if times.len() >= quorum {
            // So long there is a quorum.
            times.sort_unstable();
            let remaining = Some(times[times.len() - quorum]).filter(|left| *left < Duration::MAX);
            return Some(Seen::Somebody(Reading::new(reading.value.clone(), remaining, None)));
        }
    }
    let nobody = seen().filter(|reading| reading.is_none()).count() >= quorum || seen().count() == votes.len();
    nobody.then_some(Seen::Nobody)
}

/// The error of nodes that failed: which they are, and what each of them said.
pub(super) fn failure<T>(votes: &[Vote<T>], what: &str) -> StoreError {
    let mut kinds = Vec::new();
    let mut text = what.to_owned();
    for (node, vote) in votes.iter().enumerate() {
        if let Vote::Cast(Err(error)) = vote {
            kinds.push(error);
            // Writing to a `String` cannot fail.
            let _ = write!(text, "; node {} of {}: {error}", node + 1, votes.len());
        }
    }
    // What passes by itself may do so on enough of them.
    let kind = kinds.iter().find(|error| error.is_transient()).or(kinds.first()).map(|error| error.kind());
    StoreError::new(kind.unwrap_or(StoreErrorKind::Protocol), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;

    fn votes(said: &str) -> Vec<Vote<Attempt>> {
        let vote = |said: char| match said {
            'y' => Vote::Cast(Ok(Attempt::acquired(Moment::default()))),
            'f' => Vote::Cast(Ok(Attempt::foreign("k".into()))),
            'x' => Vote::Cast(Err(StoreError::new(StoreErrorKind::Connection, "it is down"))),
            'd' => Vote::Cast(Err(StoreError::new(StoreErrorKind::Denied, "it is denied"))),
            '.' => Vote::Open,
            // Different holders, by letters; of each, one second more than of the one before.
            holder => Vote::Cast(Ok(Attempt::busy(Some(holder.to_string()), None))),
        };
        let mut votes: Vec<_> = said.chars().map(vote).collect();
        for (n, vote) in votes.iter_mut().enumerate() {
            if let Vote::Cast(Ok(Attempt::Busy { remaining, .. })) = vote {
                *remaining = Some(Duration::from_secs(1 + u64::try_from(n).expect("few")));
            }
        }
        votes
    }

    fn shown(said: &str) -> String {
        match of_acquisition(&votes(said), said.len() / 2 + 1) {
            None => "open".to_owned(),
            Some(Taken::Ours) => "ours".to_owned(),
            Some(Taken::Failed(error)) => format!("{:?}", error.kind()),
            Some(Taken::Not(Attempt::Busy { value, remaining, .. })) => {
                format!("{} {}", value.unwrap_or_default(), remaining.map_or(0, |left| left.as_secs()))
            }
            Some(Taken::Not(other)) => format!("{other:?}").chars().take(7).collect(),
        }
    }

    /// Promise: what is said of a lock that was not got is what decided it: another holder, with the time until it has no quorum
    /// any more; nobody, after a split vote; nodes that failed, where it might have been ours with them.
    ///
    /// Turned red by: the first answer that is no; an error because one node is down, or was the first to answer.
    #[test]
    fn what_decided_it_is_told() {
        for (said, outcome) in [
            ("y", "ours"),
            ("a", "a 1"),
            ("yy.", "ours"),
            ("y..", "open"),
            ("yxx", "Connection"),
            ("xaa", "a 2"),
            ("xa.", "open"),
            ("xf.", "open"),
            ("xx.", "Connection"),
            ("xxaa.", "open"),
            ("xxya.", "Connection"),
            ("xxxa.", "Connection"),
            ("a..", "open"),
            ("xax", "Connection"),
            ("aaa", "a 2"),
            ("aaaaa", "a 3"),
            ("aaa..", "a 3"),
            ("yyaa", " 0"),
            ("yyab", " 0"),
            ("aabb", " 0"),
            ("yaaa", "a 2"),
            ("ffy", "Foreign"),
            ("fay", " 0"),
            ("ddy", "Denied"),
            ("dxy", "Connection"),
        ] {
            assert_eq!(shown(said), outcome, "{said}");
        }
    }

    /// Promise: a lock is shown as held by whom a quorum has, for as long as that has it.
    ///
    /// Turned red by: the first answer; the longest of the nodes' times; waiting for everybody.
    #[test]
    fn what_most_see_is_shown() {
        let seen = |said: &str| -> Vec<Vote<Option<Reading>>> {
            let vote = |(n, said): (usize, char)| match said {
                '-' => Vote::Cast(Ok(None)),
                'x' => Vote::Cast(Err(StoreError::new(StoreErrorKind::Connection, "it is down"))),
                '.' => Vote::Open,
                holder => {
                    let left = Duration::from_secs(1 + u64::try_from(n).expect("few"));
                    Vote::Cast(Ok(Some(Reading::new(Some(holder.to_string()), Some(left), None))))
                }
            };
            said.chars().enumerate().map(vote).collect()
        };
        for (said, outcome) in [
            ("aa.", Some("a 1")),
            ("baaab", Some("a 2")),
            ("aaaaa", Some("a 3")),
            ("a-a", Some("a 1")),
            ("--a", Some("nobody")),
            ("--.", Some("nobody")),
            ("abc", Some("nobody")),
            ("ab.", None),
            ("axx", None),
        ] {
            let shown = seen_by_most(&seen(said), said.len() / 2 + 1).map(|seen| match seen {
                Seen::Somebody(Reading { value: Some(value), remaining: Some(left), .. }) => {
                    format!("{value} {}", left.as_secs())
                }
                Seen::Somebody(other) => format!("{other:?}"),
                Seen::Nobody => "nobody".to_owned(),
            });
            assert_eq!(shown.as_deref(), outcome, "{said}");
        }
    }

    #[test]
    fn an_error_names_the_nodes() {
        let error = failure(&votes("yxd"), "nothing");
        assert_eq!(error.to_string(), "nothing; node 2 of 3: it is down; node 3 of 3: it is denied");
    }
}
