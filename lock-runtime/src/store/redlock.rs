//! Redlock: one lock on several independent servers, of which a majority has to agree.
//!
//! All nodes are asked at the same time, and a question is decided as soon as the rest of the answers cannot change it. What
//! is still open then goes on in the background. A node that does not answer is left alone for a while.

mod ballot;
mod claims;
mod extending;
mod health;
mod leaving;
mod nodes;
mod outcome;
#[cfg(feature = "redis")]
pub(crate) mod servers;
mod taking;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::ballot::{Verdict, Vote, verdict};
use self::nodes::Nodes;
use self::outcome::{Seen, failure, seen_by_most};
use super::{Attempt, Claim, Done, Extension, Reading, RenewFuture, Renewal, Store, StoreFuture, join_all};
use crate::clock::Moment;
use crate::error::{SetupError, StoreError};
use crate::keeper::Background;
use crate::key::LockKey;

/// How long a node may take, as a part of the lock's TTL, and the least and the most of it.
const PART: u32 = 20;
const LIMIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Locks on a majority of independent stores: the Redlock algorithm.
///
/// A lock is held as long as a majority of *all* nodes keeps it, whether the others answer or not: two of three, three of
/// five. An even number is allowed, and no safer than one less. The nodes must not share anything that fails, or replicate to
/// each other; a node that forgets locks while they are held, as one that is restarted without its data, can let two have the same
/// lock. Start it again later than the longest TTL.
///
/// ```no_run
/// use std::time::Duration;
/// use lock_runtime::LockManager;
/// use lock_runtime::store::redis::RedisStore;
/// use lock_runtime::store::redlock::Redlock;
///
/// # fn main() -> Result<(), lock_runtime::SetupError> {
/// let nodes = ["redis://a.example", "redis://b.example", "redis://c.example"];
/// let nodes: Vec<_> = nodes.into_iter().map(RedisStore::open).collect::<Result<_, _>>()?;
/// let locks = LockManager::builder(Redlock::new(nodes)?.node_timeout(Duration::from_millis(100))).build();
/// # Ok(())
/// # }
/// ```
///
/// [`LockManager::redlock`](crate::LockManager::redlock) does the same, and looks at the nodes first.
///
/// # What is different
///
/// - Whoever waits asks again after a random pause: there is no line between processes, and no hand-off. Callers of one
///   process take turns as everywhere.
/// - A failed extension gives nothing back. A node that has lost the lock while a majority keeps it is given it again.
/// - Fencing tokens are the highest that a majority of the counters came to, written back to a majority before the lock is
///   given to its caller.
/// - [`set_ttl`](crate::LockGuard::set_ttl) is [`Unavailable`](crate::LockError::Unavailable) if a single node that was asked
///   leaves it unknown.
pub struct Redlock<S> {
    nodes: Arc<Nodes<S>>,
    limit: Option<Duration>,
}

impl<S: Store> Redlock<S> {
    /// A lock store over `nodes`, which must be independent of each other.
    ///
    /// # Errors
    ///
    /// [`SetupError::Address`] when there is none.
    pub fn new(nodes: impl IntoIterator<Item = S>) -> Result<Self, SetupError> {
        let nodes: Box<[_]> = nodes.into_iter().map(Arc::new).collect();
        if nodes.is_empty() {
            return Err(SetupError::Address { reason: "a Redlock takes at least one node".into() });
        }
        Ok(Self { nodes: Nodes::new(nodes), limit: None })
    }

    /// How long a node may take to answer, in every operation, until it counts as failed. Unless told, a twentieth of the lock's
    /// TTL, at least 50 ms and at most 1 s.
    #[must_use]
    pub fn node_timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How long a node may take over a lock of `ttl`.
    fn limit(&self, ttl: Duration) -> Duration {
        self.limit.unwrap_or_else(|| (ttl / PART).clamp(LIMIT.0, LIMIT.1))
    }

    async fn time_left(&self, claim: &Claim) -> Result<Option<Duration>, StoreError> {
        let nodes = &self.nodes;
        let quorum = nodes.quorum();
        let asked = Arc::new(claim.clone());
        let mut ballot = nodes.ask(|_, node| {
            let claim = asked.clone();
            Box::pin(async move { node.remaining(&claim).await })
        });
        let decide = |votes: &[Vote<Option<Duration>>]| verdict(votes, quorum, Option::is_some);
        match ballot.until(self.limit(claim.ttl), || nodes.now(), decide).await? {
            Some(Verdict::Yes) => {
                let mut left: Vec<Duration> =
                    ballot.votes().iter().filter_map(|vote| vote.answer().copied().flatten()).collect();
                left.sort_unstable();
                // So long there is a quorum: until the first of those ends without which there is none.
                Ok(left.into_iter().rev().nth(quorum - 1))
            }
            Some(Verdict::No) => Ok(None),
            _ => Err(failure(ballot.votes(), "no majority of the nodes told of the lock")),
        }
    }
}

impl<S> Clone for Redlock<S> {
    fn clone(&self) -> Self {
        Self { nodes: self.nodes.clone(), limit: self.limit }
    }
}

impl<S: fmt::Debug> fmt::Debug for Redlock<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nodes { all, claims, .. } = &*self.nodes;
        f.debug_struct("Redlock").field("nodes", all).field("open", &claims.len()).finish_non_exhaustive()
    }
}

impl<S: Store> Store for Redlock<S> {
    fn now(&self) -> Moment {
        self.nodes.now()
    }

    fn fences(&self) -> bool {
        self.nodes.all.iter().all(Store::fences)
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(self.take(claim))
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        Box::pin(self.give_time(claim, ttl, extension))
    }

    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], within: Duration) -> RenewFuture<'a> {
        Box::pin(self.give_more_time(renewals, within))
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(self.time_left(claim))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(self.give_back(claim))
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.clean_up(&claim, done);
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let nodes = &self.nodes;
            let quorum = nodes.quorum();
            let asked = Arc::new(claim.clone());
            let mut ballot = nodes.ask(|_, node| {
                let claim = asked.clone();
                Box::pin(async move { node.raise_fence(&claim, fence).await })
            });
            let decide = |votes: &[Vote<bool>]| verdict(votes, quorum, |written| *written);
            match ballot.until(self.limit(claim.ttl), || nodes.now(), decide).await? {
                Some(Verdict::Yes) => Ok(true),
                Some(Verdict::No) => Ok(false),
                _ => Err(failure(ballot.votes(), "no majority of the nodes wrote the fencing token")),
            }
        })
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.nodes.pending.none().await;
            join_all(self.nodes.all.iter().map(Store::drain)).await;
        })
    }

    /// What a majority has; nothing, if no majority has the same.
    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        Box::pin(async move {
            let nodes = &self.nodes;
            let quorum = nodes.quorum();
            let asked = key.clone();
            let mut ballot = nodes.ask(|_, node| {
                let key = asked.clone();
                Box::pin(async move { node.inspect(&key).await })
            });
            let decide = |votes: &[Vote<Option<Reading>>]| seen_by_most(votes, quorum);
            match ballot.until(LIMIT.1, || nodes.now(), decide).await? {
                Some(Seen::Somebody(reading)) => Ok(Some(reading)),
                Some(Seen::Nobody) => Ok(None),
                None => Err(failure(ballot.votes(), "no majority of the nodes told of the lock")),
            }
        })
    }

    /// A single node that fails is told: a majority is no reason to leave it so.
    fn self_test<'a>(&'a self, probe: &'a LockKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let votes: Vec<_> = join_all(self.nodes.all.iter().map(|node| node.self_test(probe))).await;
            let votes: Vec<_> = votes.into_iter().map(Vote::Cast).collect();
            if votes.iter().all(|vote| vote.answer().is_some()) {
                return Ok(());
            }
            Err(failure(&votes, "nodes failed"))
        })
    }

    fn is_remote(&self) -> bool {
        self.nodes.all.iter().any(Store::is_remote)
    }

    fn attach(&self, background: &Background) {
        // The first manager's. Another one's would do as well.
        let _ = self.nodes.background.set(background.clone());
        for node in &self.nodes.all {
            node.attach(background);
        }
    }
}
