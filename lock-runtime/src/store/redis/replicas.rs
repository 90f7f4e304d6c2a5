//! Locks that count only when replicas have them.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::checkup;
use super::link::{Link, command};
use super::nodes::Nodes;
use super::reply::Fault;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::millis;

/// How many replicas have to have a lock before it counts.
#[derive(Clone)]
pub(super) struct Replicas {
    count: u32,
    within: Duration,
    /// The servers, on connections that acquisitions have to themselves: `WAIT` is about what was written on its own connection,
    /// and keeps everything waiting that comes behind it there. A renewal must not.
    pub(super) nodes: Arc<Nodes>,
}

impl Replicas {
    /// `None`: not on these servers.
    pub(super) fn new(count: u32, within: Duration, nodes: &Nodes) -> Option<Self> {
        Some(Self { count, within, nodes: Arc::new(nodes.beside()?) })
    }

    /// The same with other servers.
    pub(super) fn of(&self, nodes: &Nodes) -> Option<Self> {
        Self::new(self.count, self.within, nodes)
    }

    /// Whether the user may wait: for no replica, which is no wait.
    pub(super) async fn self_test(&self) -> Result<(), StoreError> {
        for pool in self.nodes.all().await? {
            let mut wait = command("WAIT", 0);
            wait.arg(0).arg(1);
            let answer = pool.link().await?.ask(&wait).await;
            checkup::tested("WAIT", answer)?;
        }
        Ok(())
    }

    /// Waits until so many replicas have everything that was written on `link` before.
    pub(super) async fn wait(&self, link: &Link) -> Result<(), Fault> {
        let mut wait = command("WAIT", 0);
        wait.arg(self.count).arg(millis(self.within).max(1));
        match link.ask_for(&wait, self.within).await? {
            Value::Int(count) if count >= i64::from(self.count) => Ok(()),
            Value::Int(count) => {
                let (wanted, within, server) = (self.count, self.within, link.server());
                let text = format!(
                    "redis at {server} has the lock on {count} replicas after {within:?}, and not on {wanted}; it is given back"
                );
                Err(Fault::Silent(StoreError::new(StoreErrorKind::Refused, text)))
            }
            _ => Err(link.unknown_answer()),
        }
    }
}
