//! Release and clean-up: on every node that was ever asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Redlock;
use super::ballot::{Asked, Ballot, Verdict, Vote, verdict};
use super::claims::Left;
use super::outcome::failure;
use crate::error::StoreError;
use crate::store::{Claim, Done, Store};

impl<S: Store> Redlock<S> {
    pub(super) async fn give_back(&self, claim: &Claim) -> Result<bool, StoreError> {
        let nodes = &self.nodes;
        let Left { under_way, asked } = nodes.claims.leave(&claim.token, nodes.all.len());
        let claims = nodes.on_their_clocks(claim);
        let asked = under_way.into_iter().zip(asked).enumerate().map(|(n, (under_way, was_asked))| {
            let (node, claim) = (nodes.all[n].clone(), claims(n));
            match (under_way, was_asked) {
                // It has nothing of ours.
                (_, false) => Asked::Not(Ok(false)),
                (Some(acquiring), true) => Asked::Now(Box::pin(async move {
                    // Mostly it goes down the same connection, behind the acquisition: what is sent after this finds the key free.
                    let released = node.release(&claim).await;
                    // Where it did not, the acquisition may have taken it since; also one that failed only after that.
                    let _ = acquiring.await;
                    match released {
                        Ok(false) => node.release(&claim).await,
                        released => released,
                    }
                })),
                (None, true) => match nodes.refusal(n) {
                    Some(error) => Asked::Not(Err(error)),
                    None => Asked::Now(Box::pin(async move { node.release(&claim).await })),
                },
            }
        });
        let mut ballot = Ballot::new(&nodes.health, asked);
        let quorum = nodes.quorum();
        let decide = |votes: &[Vote<bool>]| verdict(votes, quorum, |ours| *ours);
        let verdict = ballot.until(self.limit(claim.ttl), || nodes.now(), decide).await?;
        if !matches!(verdict, Some(Verdict::Yes | Verdict::No)) {
            // The caller abandons it, on all nodes.
            return Err(failure(ballot.votes(), "no majority of the nodes gave the lock back"));
        }
        // Nobody waits for the others, and they give it back all the same.
        let failed: Vec<_> = ballot.votes().iter().map(|vote| matches!(vote, Vote::Cast(Err(_)))).collect();
        for (n, open) in ballot.leave_open().into_iter().enumerate() {
            let (node, claim) = (nodes.all[n].clone(), claims(n));
            match open {
                _ if failed[n] => node.abandon((*claim).clone(), Done::nothing()),
                Some(open) => nodes.run(async move {
                    if open.await.is_err() {
                        node.abandon((*claim).clone(), Done::nothing());
                    }
                }),
                None => {}
            }
        }
        Ok(verdict == Some(Verdict::Yes))
    }

    /// The claim counts as given back when it is on so many nodes that others can have it.
    pub(super) fn clean_up(&self, claim: &Claim, done: Done) {
        let nodes = &self.nodes;
        let Left { under_way, asked } = nodes.claims.leave(&claim.token, nodes.all.len());
        // Their stores clean up behind them.
        drop(under_way);
        let claims = nodes.on_their_clocks(claim);
        let of_ours = || asked.iter().enumerate().filter(|(_, asked)| **asked).map(|(n, _)| n);
        let done = Arc::new((AtomicUsize::new(nodes.quorum().min(of_ours().count())), Mutex::new(Some(done))));
        for n in of_ours() {
            let done = done.clone();
            let of_node = Done::then(move || {
                let (open, done) = &*done;
                let before = open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(1));
                if before == Ok(1) {
                    // Taken out of the lock: others act on it.
                    let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
                    drop(done);
                }
            });
            nodes.all[n].abandon((*claims(n)).clone(), of_node);
        }
    }
}
