//! One question, put to every node at the same time.

use std::future::{Future, poll_fn};
use std::mem::replace;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::health::Health;
use crate::clock::Moment;
use crate::error::{StoreError, StoreErrorKind};
use crate::timer;

/// What one node will say.
pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// What one node has said.
#[derive(Debug)]
pub(super) enum Vote<T> {
    /// Nothing yet.
    Open,
    /// Its answer; or why there is none.
    Cast(Result<T, StoreError>),
}

impl<T> Vote<T> {
    pub(super) fn answer(&self) -> Option<&T> {
        match self {
            Self::Cast(Ok(answer)) => Some(answer),
            Self::Cast(Err(_)) | Self::Open => None,
        }
    }
}

/// Whether a node is asked.
pub(super) enum Asked<T> {
    Now(Answer<T>),
    /// It is not, and counts as having said this.
    Not(Result<T, StoreError>),
}

/// Which way a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A quorum said yes.
    Yes,
    /// So many said no that no quorum can say yes any more.
    No,
    /// As before, because of those that failed.
    Unknown,
}

/// One question to all nodes, and their answers so far.
pub(super) struct Ballot<T> {
    health: Arc<Health>,
    asked: Vec<Option<Answer<T>>>,
    votes: Vec<Vote<T>>,
    was_asked: Vec<bool>,
}

impl<T> Ballot<T> {
    /// Puts the question to the nodes that are asked; of the others, it is known what they would say.
    pub(super) fn new(health: &Arc<Health>, nodes: impl Iterator<Item = Asked<T>>) -> Self {
        let (asked, votes): (Vec<_>, _) = nodes
            .map(|node| match node {
                Asked::Now(answer) => (Some(answer), Vote::Open),
                Asked::Not(said) => (None, Vote::Cast(said)),
            })
            .unzip();
        let was_asked = asked.iter().map(Option::is_some).collect();
        Self { health: health.clone(), asked, votes, was_asked }
    }

    /// By node, whether the question was put to it at all.
    pub(super) fn was_asked(&self) -> Vec<bool> {
        self.was_asked.clone()
    }

    /// The nodes that were asked and have failed.
    pub(super) fn failed(&self) -> impl Iterator<Item = usize> {
        let failed = |(vote, asked): (&Vote<T>, &bool)| *asked && matches!(vote, Vote::Cast(Err(_)));
        self.votes.iter().zip(&self.was_asked).enumerate().filter(move |(_, node)| failed(*node)).map(|(n, _)| n)
    }

    pub(super) fn votes(&self) -> &[Vote<T>] {
        &self.votes
    }

    /// Waits until `decide` has come to something, or for `limit`: from then on, whoever has not answered has failed.
    pub(super) async fn until<R>(
        &mut self,
        limit: Duration,
        now: impl Fn() -> Moment,
        mut decide: impl FnMut(&[Vote<T>]) -> Option<R>,
    ) -> Result<Option<R>, StoreError> {
        // Made when there is something to wait for: a memory answers at once.
        let mut late = pin!(None);
        poll_fn(|cx| {
            if let Some(decided) = self.poll(cx, &now, &mut decide) {
                return Poll::Ready(Ok(Some(decided)));
            }
            if self.asked.iter().all(Option::is_none) {
                return Poll::Ready(Ok(None));
            }
            if late.is_none() {
                match timer::sleep(limit) {
                    Ok(timer) => late.set(Some(timer)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            let Some(timer) = late.as_mut().as_pin_mut() else { return Poll::Pending };
            timer.poll(cx).map(|()| {
                self.give_up(limit, &now);
                Ok(decide(&self.votes))
            })
        })
        .await
    }

    /// Whoever has not answered has failed.
    fn give_up(&mut self, limit: Duration, now: &impl Fn() -> Moment) {
        for (node, vote) in self.votes.iter_mut().enumerate().filter(|(_, vote)| matches!(vote, Vote::Open)) {
            let error = StoreError::new(StoreErrorKind::Timeout, format!("no answer within {limit:?}"));
            self.health.silent(node, &error, now());
            *vote = Vote::Cast(Err(error));
        }
    }

    fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        now: &impl Fn() -> Moment,
        decide: &mut impl FnMut(&[Vote<T>]) -> Option<R>,
    ) -> Option<R> {
        for (node, (asked, vote)) in self.asked.iter_mut().zip(&mut self.votes).enumerate() {
            if let Some(Poll::Ready(answer)) = asked.as_mut().map(|asked| asked.as_mut().poll(cx)) {
                *asked = None;
                note(&self.health, node, &answer, now);
                *vote = Vote::Cast(answer);
            }
        }
        decide(&self.votes)
    }

    /// The questions that are still open, by their nodes. They go on only if somebody polls them.
    pub(super) fn leave_open(&mut self) -> Vec<Option<Answer<T>>> {
        let none = (0..self.asked.len()).map(|_| None).collect();
        replace(&mut self.asked, none)
    }
}

/// Whether a node answers is learned from every answer.
pub(super) fn note<T>(health: &Health, node: usize, answer: &Result<T, StoreError>, now: impl Fn() -> Moment) {
    match answer {
        Err(error) if matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Connection) => {
            health.silent(node, error, now());
        }
        _ => health.answered(node),
    }
}

/// Which way a question of yes or no goes, as soon as the rest cannot change it.
///
/// Invariant: a quorum is one of all nodes, whether they answer or not. Two of those that answer may have none in common.
pub(super) fn verdict<T>(votes: &[Vote<T>], quorum: usize, is_yes: impl Fn(&T) -> bool) -> Option<Verdict> {
    let (mut yes, mut no, mut open) = (0, 0, 0);
    for vote in votes {
        match vote {
            Vote::Open => open += 1,
            Vote::Cast(Ok(answer)) if is_yes(answer) => yes += 1,
            Vote::Cast(Ok(_)) => no += 1,
            Vote::Cast(Err(_)) => {}
        }
    }
    // So many can do nothing about the others.
    let minority = votes.len() - quorum;
    if yes >= quorum {
        Some(Verdict::Yes)
    } else if no > minority {
        Some(Verdict::No)
    } else if yes + open < quorum && no + open <= minority {
        Some(Verdict::Unknown)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(said: &str) -> Vec<Vote<bool>> {
        let failed = || StoreError::new(StoreErrorKind::Timeout, "no answer");
        let vote = |said| match said {
            'y' => Vote::Cast(Ok(true)),
            'n' => Vote::Cast(Ok(false)),
            'x' => Vote::Cast(Err(failed())),
            _ => Vote::Open,
        };
        said.chars().map(vote).collect()
    }

    /// Promise: the quorum is one of all nodes, and not of those that answered; and a question is decided as soon as the rest
    /// cannot change it.
    ///
    /// Turned red by: a majority of the answers; a half that counts as a majority; waiting for everybody.
    #[test]
    fn a_quorum_is_one_of_all_nodes() {
        use Verdict::{No, Unknown, Yes};
        for (said, decided) in [
            ("y", Some(Yes)),
            ("n", Some(No)),
            ("x", Some(Unknown)),
            ("y.", None),
            ("yy", Some(Yes)),
            ("yx", Some(Unknown)),
            ("yn", Some(No)),
            ("y..", None),
            ("yy.", Some(Yes)),
            ("nn.", Some(No)),
            ("yxx", Some(Unknown)),
            ("ynx", Some(Unknown)),
            ("yyx", Some(Yes)),
            ("yy..", None),
            ("yynn", Some(No)),
            ("yyxx", Some(Unknown)),
            ("yyy.", Some(Yes)),
            ("yyn..", None),
            ("nnn..", Some(No)),
            // The last one may still say no, and then it was not because of those that failed.
            ("xxnn.", None),
            ("xxnnn", Some(No)),
            ("xxnny", Some(Unknown)),
            ("xxx..", Some(Unknown)),
        ] {
            let quorum = said.len() / 2 + 1;
            assert_eq!(verdict(&votes(said), quorum, |yes| *yes), decided, "{said}");
        }
    }
}
