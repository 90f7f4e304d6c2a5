//! Acquisition: a majority of the nodes gives the lock, in time, and knows its fencing token.

use std::sync::Arc;
use std::time::Duration;

use super::Redlock;
use super::ballot::{Answer, Asked, Ballot, Verdict, Vote, verdict};
use super::nodes::{Nodes, leave};
use super::outcome::{Taken, failure, of_acquisition};
use crate::error::{StoreError, StoreErrorKind};
use crate::lease::validity;
use crate::store::{Attempt, Claim, Done, Store};

impl<S: Store> Redlock<S> {
    pub(super) async fn take(&self, claim: &Claim) -> Result<Attempt, StoreError> {
        let nodes = &self.nodes;
        // Once, before the first byte is sent: on no node does the key expire before a lease that counts from here.
        let sent = self.now();
        let mut asked = claim.clone();
        // The tokens of different nodes are no row.
        asked.spare_fences = 0;
        let asked = Arc::new(asked);
        let mut taking = Taking {
            nodes,
            claim: &asked,
            ballot: nodes.ask(|_, node| {
                let claim = asked.clone();
                Box::pin(async move { node.acquire(&claim).await })
            }),
            writes: false,
            is_ours: false,
        };
        let quorum = nodes.quorum();
        let limit = self.limit(claim.ttl);
        let taken = taking.ballot.until(limit, || nodes.now(), |votes| of_acquisition(votes, quorum)).await?;
        match taken {
            Some(Taken::Ours) => {}
            Some(Taken::Not(attempt)) => return Ok(attempt),
            Some(Taken::Failed(error)) => return Err(error),
            None => return Err(undecided()),
        }
        // Mostly empty, and then it takes no memory.
        let mut failed: Vec<usize> = taking.ballot.failed().collect();
        let (open, fence) = if claim.fence.is_some() {
            // Boxed: rare, and its state would be part of every acquisition's.
            let Some((open, fence)) = Box::pin(self.write_back(&mut taking, &mut failed, limit)).await? else {
                // As after a split vote: it may be had again in a moment.
                return Ok(Attempt::busy(None, None));
            };
            (open, Some(fence))
        } else {
            (leave(taking.ballot.leave_open(), nodes), None)
        };
        if self.now().since(sent) >= validity(claim.ttl) {
            let text = "a majority of the nodes gave the lock after its time was over: use a longer ttl, or a shorter node timeout";
            return Err(StoreError::new(StoreErrorKind::Timeout, text));
        }
        taking.is_ours = true;
        let entry = nodes.claims.enter(claim, open, taking.ballot.was_asked(), fence);
        for node in failed {
            entry.failed(node, self.now());
        }
        nodes.work_on(&entry);
        Ok(match fence {
            Some(fence) => Attempt::acquired_with_fence(sent, fence),
            None => Attempt::acquired(sent),
        })
    }

    /// Chooses the fencing token of a claim that a quorum has given to us, and has a quorum know it. The rest, and the token; `None`
    /// if a quorum does not have the claim any more. Acquisitions that come to an end meanwhile may have `failed`, too.
    ///
    /// Any two quorums have a node in common. So whoever has the lock next is told by one of its nodes of a counter that is not
    /// below our token, and is given a higher one.
    async fn write_back(
        &self,
        taking: &mut Taking<'_, S>,
        failed: &mut Vec<usize>,
        limit: Duration,
    ) -> Result<Option<(Vec<Option<Answer<()>>>, i64)>, StoreError> {
        let nodes = taking.nodes;
        let fences = taking.ballot.votes().iter().filter_map(|vote| match vote.answer() {
            Some(Attempt::Acquired { fence, .. }) => Some(*fence),
            _ => None,
        });
        // One without a token may be ahead of all the others.
        let fences: Option<Vec<i64>> = fences.collect();
        let Some(fence) = fences.and_then(|fences| fences.into_iter().max()) else {
            let text = "a node gave the lock without the fencing token that it was asked for";
            return Err(StoreError::new(StoreErrorKind::Protocol, text));
        };
        taking.writes = true;
        let open = taking.ballot.leave_open();
        let asked = taking.ballot.votes().iter().zip(open).zip(&nodes.all).map(|((vote, open), node)| {
            let (node, claim) = (node.clone(), taking.claim.clone());
            match (vote.answer(), open) {
                (Some(Attempt::Acquired { .. }), _) => {
                    Asked::Now(Box::pin(async move { node.raise_fence(&claim, fence).await }))
                }
                // Not waited for before; it may still come in time to know the token.
                (None, Some(acquiring)) => Asked::Now(Box::pin(async move {
                    match acquiring.await? {
                        Attempt::Acquired { .. } => node.raise_fence(&claim, fence).await,
                        _ => Ok(false),
                    }
                })),
                _ => Asked::Not(Ok(false)),
            }
        });
        let mut writing = Ballot::new(&nodes.health, asked);
        let quorum = nodes.quorum();
        let written = writing.until(limit, || nodes.now(), |votes| verdict(votes, quorum, |written| *written)).await?;
        match written {
            Some(Verdict::Yes) => {
                failed.extend(writing.failed().filter(|node| matches!(taking.ballot.votes()[*node], Vote::Open)));
                Ok(Some((leave(writing.leave_open(), nodes), fence)))
            }
            Some(Verdict::No) => Ok(None),
            _ => {
                let text = "the fencing token could not be written to a majority of the nodes";
                Err(failure(writing.votes(), text))
            }
        }
    }
}

/// An acquisition under way. Dropped before it is ours, it is taken back from every node: stores do that by themselves where the
/// question is open, or was not answered by yes.
struct Taking<'a, S: Store> {
    nodes: &'a Arc<Nodes<S>>,
    claim: &'a Arc<Claim>,
    ballot: Ballot<Attempt>,
    /// The fencing token is being written: what was open before may have been taken since.
    writes: bool,
    is_ours: bool,
}

impl<S: Store> Drop for Taking<'_, S> {
    fn drop(&mut self) {
        if self.is_ours {
            return;
        }
        for (node, vote) in self.nodes.all.iter().zip(self.ballot.votes()) {
            let open = self.writes && matches!(vote, Vote::Open);
            if open || matches!(vote.answer(), Some(Attempt::Acquired { .. })) {
                node.abandon((**self.claim).clone(), Done::nothing());
            }
        }
    }
}

fn undecided() -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, "the nodes have answered, and nothing follows from it")
}
