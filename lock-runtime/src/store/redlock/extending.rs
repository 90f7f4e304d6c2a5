//! Extension: a majority keeps the lock for longer; nodes that have lost it are given it again.

use std::sync::Arc;
use std::time::Duration;

use super::Redlock;
use super::ballot::{Answer, Verdict, Vote, verdict};
use super::nodes::{leave_one, not_settled};
use super::outcome::failure;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Attempt, Claim, Extension, Renewal, Store};

impl<S: Store> Redlock<S> {
    pub(super) async fn give_time(
        &self,
        claim: &Claim,
        ttl: Duration,
        extension: Extension,
    ) -> Result<bool, StoreError> {
        let nodes = &self.nodes;
        let quorum = nodes.quorum();
        let asked = Arc::new(claim.clone());
        let unsettled = self.unsettled(claim);
        let mut ballot = nodes.ask_unless(&unsettled, |_, node| {
            let claim = asked.clone();
            Box::pin(async move { node.extend(&claim, ttl, extension).await })
        });
        let was_asked = ballot.was_asked();
        let decide = |votes: &[Vote<bool>]| {
            // An exact time that was sent and not answered may be carried out at any later time, also after what a quorum
            // agrees on then; on enough nodes, it would end the lock before its holder knows.
            let is_unknown =
                |(vote, asked): (&Vote<bool>, &bool)| *asked && matches!(vote, Vote::Open | Vote::Cast(Err(_)));
            let unknown = extension == Extension::Exactly && votes.iter().zip(&was_asked).any(is_unknown);
            if !unknown {
                return verdict(votes, quorum, |ours| *ours);
            }
            votes.iter().all(|vote| matches!(vote, Vote::Cast(_))).then_some(Verdict::Unknown)
        };
        let verdict = ballot.until(self.limit(claim.ttl), || nodes.now(), decide).await?;
        if verdict == Some(Verdict::Yes) {
            for (node, vote) in ballot.votes().iter().enumerate() {
                if vote.answer() == Some(&false) {
                    self.rejoin(node, claim, ttl);
                }
            }
        }
        nodes.detach(ballot.leave_open());
        match verdict {
            Some(Verdict::Yes) => Ok(true),
            Some(Verdict::No) => Ok(false),
            _ => Err(failure(ballot.votes(), "no majority of the nodes extended the lock")),
        }
    }

    /// Extends many: one request to each node.
    pub(super) async fn give_more_time(
        &self,
        renewals: &[Renewal<'_>],
        within: Duration,
    ) -> Vec<Result<bool, StoreError>> {
        let nodes = &self.nodes;
        let quorum = nodes.quorum();
        let owned: Arc<[(Claim, Duration)]> =
            renewals.iter().map(|renewal| (renewal.claim.clone(), renewal.ttl)).collect();
        let mut ballot = nodes.ask(|_, node| {
            let owned = owned.clone();
            Box::pin(async move {
                let renewals: Vec<_> = owned.iter().map(|(claim, ttl)| Renewal::new(claim, *ttl)).collect();
                let answers = node.renew(&renewals, within).await;
                if answers.len() == renewals.len() {
                    // If nobody was told anything, the node has failed, and not each of them.
                    return match answers.iter().find_map(|answer| answer.as_ref().err()) {
                        Some(error) if answers.iter().all(Result::is_err) => Err(error.clone()),
                        _ => Ok(answers),
                    };
                }
                Err(StoreError::new(StoreErrorKind::Protocol, "the store left out an answer"))
            })
        });
        let unsettled: Vec<_> = renewals.iter().map(|renewal| self.unsettled(renewal.claim)).collect();
        let of_one = |votes: &[Vote<Vec<Result<bool, StoreError>>>], n: usize| -> Vec<Vote<bool>> {
            let of_node = |(node, vote): (usize, &Vote<Vec<Result<bool, StoreError>>>)| match vote {
                // It may be about to take the lock, and not know its fencing token yet; or to have it taken back.
                _ if unsettled[n].get(node) == Some(&true) => Vote::Cast(Err(not_settled())),
                Vote::Open => Vote::Open,
                Vote::Cast(Ok(answers)) => Vote::Cast(answers[n].clone()),
                Vote::Cast(Err(error)) => Vote::Cast(Err(error.clone())),
            };
            votes.iter().enumerate().map(of_node).collect()
        };
        let decided = |votes: &[Vote<_>]| {
            let all: Option<Vec<_>> =
                (0..renewals.len()).map(|n| verdict(&of_one(votes, n), quorum, |ours| *ours)).collect();
            all.map(drop)
        };
        if let Err(error) = ballot.until(within, || nodes.now(), decided).await {
            return renewals.iter().map(|_| Err(error.clone())).collect();
        }
        let outcome = (0..renewals.len()).map(|n| {
            let Renewal { claim, ttl } = renewals[n];
            let votes = of_one(ballot.votes(), n);
            match verdict(&votes, quorum, |ours| *ours) {
                Some(Verdict::Yes) => {
                    for (node, vote) in votes.iter().enumerate() {
                        if vote.answer() == Some(&false) {
                            self.rejoin(node, claim, ttl);
                        }
                    }
                    Ok(true)
                }
                Some(Verdict::No) => Ok(false),
                Some(Verdict::Unknown) | None => Err(failure(&votes, "no majority of the nodes extended the lock")),
            }
        });
        let outcome = outcome.collect();
        nodes.detach(ballot.leave_open());
        outcome
    }

    /// By node, whether it is not settled what came of an acquisition of `claim` there. None, if nothing is known of the claim.
    fn unsettled(&self, claim: &Claim) -> Vec<bool> {
        self.nodes.claims.get(&claim.token).map(|entry| entry.unsettled(self.nodes.now())).unwrap_or_default()
    }

    /// Takes `claim` again on a node that has lost it, for `ttl`, while a quorum keeps it. It counts for the next extension, and
    /// not for the one that has found this out.
    fn rejoin(&self, node: usize, claim: &Claim, ttl: Duration) {
        let nodes = &self.nodes;
        let Some(entry) = nodes.claims.get(&claim.token) else { return };
        let mut claim = claim.clone();
        (claim.ttl, claim.spare_fences) = (ttl, 0);
        // Nobody is told what it answers.
        claim.asks_who = false;
        let of_node = nodes.all[node].clone();
        let begins = entry.begin(node, ttl, nodes.now(), |fence| {
            let taking: Answer<()> = Box::pin(async move {
                if let (Attempt::Acquired { .. }, Some(fence)) = (of_node.acquire(&claim).await?, fence) {
                    // Whoever counts this node among a quorum later finds the token there.
                    of_node.raise_fence(&claim, fence).await?;
                }
                Ok(())
            });
            leave_one(node, taking, nodes)
        });
        if begins {
            nodes.work_on(&entry);
        }
    }
}
