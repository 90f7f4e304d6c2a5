//! Which server has a key: the only one, or a node of a cluster.

#![cfg_attr(
    not(feature = "cluster"),
    allow(clippy::unused_async, clippy::unnecessary_wraps, reason = "where there are clusters, they are asked")
)]

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "cluster")]
use super::cluster::{Cluster, Wander};
use super::link::Link;
use super::pool::{Pool, Settings};
use super::reply::Fault;
use crate::error::StoreError;
use crate::keeper::Background;
use crate::key::LockKey;
use crate::store::{Claim, Renewal};

/// The servers of a store.
pub(super) enum Nodes {
    One(Arc<Pool>),
    #[cfg(feature = "cluster")]
    Cluster(Arc<Cluster>),
}

impl Nodes {
    /// The servers again, with other settings. Nothing is known of them yet.
    pub(super) fn with(&self, change: impl Fn(&mut Settings)) -> Self {
        match self {
            Self::One(pool) => {
                let mut settings = pool.settings();
                change(&mut settings);
                Self::One(Arc::new(Pool::new(settings)))
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Self::Cluster(Arc::new(cluster.with(change))),
        }
    }

    /// The same servers, on connections of their own. `None`: not in a cluster.
    pub(super) fn beside(&self) -> Option<Self> {
        match self {
            Self::One(pool) => Some(Self::One(Arc::new(pool.beside(pool.settings())))),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => None,
        }
    }

    /// The connections to one of them, for what all of them have in common: times, notes, and what was learned.
    pub(super) fn any(&self) -> &Arc<Pool> {
        match self {
            Self::One(pool) => pool,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.seed(),
        }
    }

    /// The connections to each of them that takes locks.
    pub(super) async fn all(&self) -> Result<Vec<Arc<Pool>>, StoreError> {
        match self {
            Self::One(pool) => Ok(vec![pool.clone()]),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }

    /// A key like `probe` for each of them that takes locks.
    pub(super) async fn probes(&self, probe: &LockKey) -> Result<Vec<(Arc<Pool>, LockKey)>, StoreError> {
        match self {
            Self::One(pool) => Ok(vec![(pool.clone(), probe.clone())]),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.probes(probe).await,
        }
    }

    /// The way to the server that has `key`.
    pub(super) fn route<'a>(&'a self, key: &'a LockKey) -> Route<'a> {
        match self {
            Self::One(pool) => {
                let _ = key;
                Route::One(pool)
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => Route::Cluster(Wander::new(cluster, key)),
        }
    }

    /// As [`Pool::any_link`], to the server that has `key`, as far as that is known.
    pub(super) fn any_link(&self, key: &LockKey) -> Option<Arc<Link>> {
        match self {
            Self::One(pool) => {
                let _ = key;
                pool.any_link()
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.any_link(key),
        }
    }

    /// The claim with the counter of its fencing tokens where the servers can have it; `None`: as it is.
    pub(super) fn placed(&self, claim: &Claim) -> Option<Box<Claim>> {
        let counter = self.counter(claim.keys.first()?, claim.fence.as_ref()?)?;
        Some(Box::new(claim.clone().fenced_by(counter)))
    }

    /// Where the counter `counter` is for a lock on `key`; `None`: at that name.
    pub(super) fn counter(&self, key: &LockKey, counter: &LockKey) -> Option<LockKey> {
        match self {
            Self::One(_) => {
                let _ = (key, counter);
                None
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Some(super::cluster::counter(key, counter)),
        }
    }

    /// Why `keys` cannot be one lock here.
    pub(super) fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        match self {
            Self::One(_) => {
                let _ = keys;
                None
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => super::cluster::flaw(keys),
        }
    }

    /// The renewals of each slot, with their places in the whole.
    pub(super) fn by_slot<'a>(&self, renewals: &[Renewal<'a>]) -> Vec<(Vec<usize>, Vec<Renewal<'a>>)> {
        match self {
            Self::One(_) => vec![((0..renewals.len()).collect(), renewals.to_vec())],
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => super::cluster::by_slot(renewals),
        }
    }

    pub(super) fn attach(&self, background: &Background) {
        // All nodes have it in common.
        self.any().attach(background);
    }

    pub(super) fn is_cluster(&self) -> bool {
        match self {
            Self::One(_) => false,
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
        }
    }
}

/// The way of one operation to the server that has its key: one step mostly, and more where a cluster says that it is elsewhere.
///
/// **A request that was turned away was not carried out**, and nothing that was sent before it on that connection will be any
/// more: it was, or it was turned away as well. So only the last connection of the way counts for the clean-up behind a
/// request, which goes down that one and no other.
pub(super) enum Route<'a> {
    One(&'a Arc<Pool>),
    #[cfg(feature = "cluster")]
    Cluster(Wander<'a>),
}

impl Route<'_> {
    /// The connection on which to ask next.
    pub(super) async fn link(&mut self) -> Result<Arc<Link>, StoreError> {
        match self {
            Self::One(pool) => pool.link().await,
            // Boxed: it may have to ask where the key is, and its state would be part of every operation's.
            #[cfg(feature = "cluster")]
            Self::Cluster(wander) => Box::pin(wander.link(None)).await,
        }
    }

    /// As [`link`](Self::link), where dialling may take this long at most.
    pub(super) async fn link_within(&mut self, limit: Duration) -> Result<Arc<Link>, StoreError> {
        match self {
            Self::One(pool) => pool.link_within(limit).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(wander) => Box::pin(wander.link(Some(limit))).await,
        }
    }

    /// Whether to ask again, on the [`link`](Self::link) that comes next: the last one answered that the key is elsewhere, or
    /// that it cannot say for a moment. Bounded.
    pub(super) async fn follows(&mut self, fault: &Fault) -> bool {
        match self {
            Self::One(_) => {
                let _ = fault;
                false
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(wander) => fault.is_turned_away() && Box::pin(wander.follows(fault)).await,
        }
    }
}
