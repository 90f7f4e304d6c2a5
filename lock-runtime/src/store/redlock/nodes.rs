//! The nodes: how they are asked, and what becomes of questions for whose answers nobody waits.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

use super::ballot::{Answer, Asked, Ballot, note};
use super::claims::{Claims, Entry};
use super::health::Health;
use crate::clock::Moment;
use crate::error::{StoreError, StoreErrorKind};
use crate::keeper::Background;
use crate::outstanding::Outstanding;
use crate::store::{Claim, Store};

/// The nodes of one Redlock, and what its operations have in common.
pub(super) struct Nodes<S> {
    pub(super) all: Box<[Arc<S>]>,
    pub(super) health: Arc<Health>,
    pub(super) claims: Claims,
    pub(super) background: OnceLock<Background>,
    /// What goes on in the background.
    pub(super) pending: Outstanding,
}

impl<S: Store> Nodes<S> {
    pub(super) fn new(all: Box<[Arc<S>]>) -> Arc<Self> {
        let health = Arc::new(Health::new(all.len(), quorum_of(all.len())));
        let (claims, background, pending) = (Claims::default(), OnceLock::new(), Outstanding::default());
        Arc::new(Self { all, health, claims, background, pending })
    }

    pub(super) fn now(&self) -> Moment {
        self.all[0].now()
    }

    pub(super) fn quorum(&self) -> usize {
        quorum_of(self.all.len())
    }

    /// Why the node is left alone, if it is.
    pub(super) fn refusal(&self, node: usize) -> Option<StoreError> {
        self.health.refusal(node, || self.now())
    }

    /// Puts a question to all nodes that are not left alone.
    pub(super) fn ask<T>(&self, ask: impl Fn(usize, Arc<S>) -> Answer<T>) -> Ballot<T> {
        self.ask_unless(&[], ask)
    }

    /// As [`ask`](Self::ask), but for those on which something is `unsettled`.
    pub(super) fn ask_unless<T>(&self, unsettled: &[bool], ask: impl Fn(usize, Arc<S>) -> Answer<T>) -> Ballot<T> {
        let asked = self.all.iter().enumerate().map(|(n, node)| {
            if unsettled.get(n) == Some(&true) {
                return Asked::Not(Err(not_settled()));
            }
            match self.refusal(n) {
                Some(error) => Asked::Not(Err(error)),
                None => Asked::Now(ask(n, node.clone())),
            }
        });
        Ballot::new(&self.health, asked)
    }

    /// Has what is under way for a claim go on.
    pub(super) fn work_on(self: &Arc<Self>, entry: &Arc<Entry>) {
        let nodes = self.clone();
        if let Some(work) = entry.work(move || nodes.now()) {
            self.run(work);
        }
    }

    /// Lets what was left open come to its end, for which nobody waits.
    pub(super) fn detach<T: Send + 'static>(self: &Arc<Self>, open: Vec<Option<Answer<T>>>) {
        for open in leave(open, self).into_iter().flatten() {
            self.run(async move {
                let _ = open.await;
            });
        }
    }

    /// Runs `work` where it goes on when its caller does not: on the current runtime, or else the manager's own.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ticket = self.pending.begin();
        let work = async move {
            work.await;
            drop(ticket);
        };
        match (Handle::try_current(), self.background.get()) {
            (Ok(runtime), _) => drop(runtime.spawn(work)),
            (Err(_), Some(background)) => background.spawn(work),
            // Dropped: stores follow an acquisition with a clean-up then.
            (Err(_), None) => {}
        }
    }

    /// `claim` for each node: what it says of a time is said on the clock of that node.
    pub(super) fn on_their_clocks<'a>(&'a self, claim: &Claim) -> impl Fn(usize) -> Arc<Claim> + 'a {
        let (shared, now) = (Arc::new(claim.clone()), self.now());
        move |node| {
            let Some(until) = shared.keep_until else { return shared.clone() };
            let mut claim = (*shared).clone();
            claim.keep_until = Some(self.all[node].now().plus(until.since(now)));
            Arc::new(claim)
        }
    }
}

/// How many have to agree: more than half of all. Any two such groups have one in common.
pub(super) fn quorum_of(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Why a node has no say about a claim.
pub(super) fn not_settled() -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, "what came of asking it for the lock is not settled")
}

/// What is left open.
pub(super) fn leave<S: Store, T: Send + 'static>(
    open: Vec<Option<Answer<T>>>,
    nodes: &Arc<Nodes<S>>,
) -> Vec<Option<Answer<()>>> {
    let leave = |(node, open): (usize, Option<Answer<T>>)| open.map(|open| leave_one(node, open, nodes));
    open.into_iter().enumerate().map(leave).collect()
}

/// A question for whose answer nobody waits; whether the node answers, and whether it falls behind, is of interest.
pub(super) fn leave_one<S: Store, T: Send + 'static>(
    node: usize,
    open: Answer<T>,
    nodes: &Arc<Nodes<S>>,
) -> Answer<()> {
    nodes.health.left_behind(node, || nodes.now());
    let behind = Behind { nodes: nodes.clone(), node };
    Box::pin(async move {
        let answer = open.await;
        note(&behind.nodes.health, node, &answer, || behind.nodes.now());
        answer.map(drop)
    })
}

/// A node that has been left behind with a question, until that has come to an end.
struct Behind<S> {
    nodes: Arc<Nodes<S>>,
    node: usize,
}

impl<S> Drop for Behind<S> {
    fn drop(&mut self) {
        self.nodes.health.caught_up(self.node);
    }
}
