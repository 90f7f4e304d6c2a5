//! Clean-ups: the compare-and-delete that follows a request whose outcome nobody waited for.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::connection::{Link, Pool};
use super::refusal::Release;
use super::reply::Fault;
use super::{compare_and_delete, compare_and_delete_behind};
use crate::clock::boottime;
use crate::outstanding::{Outstanding, Ticket};
use crate::store::{Claim, Done};
use crate::telemetry::cleanup;
use crate::timer;
use tracing::Instrument as _;

/// What is known of the claim that is to be cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was acquired: whatever any connection answers is the truth.
    Held,
    /// The request that acquires it may be on its way: only an answer on the same connection, behind that request, or the
    /// deletion itself, is the truth.
    Unknown,
}

/// How often other connections must have said "not yours" before a claim whose own connection died counts as settled.
const DENIALS: u32 = 3;

/// Starts the clean-up of `claim`: behind everything that was sent on `link`, on the runtime that drives it; without a
/// link, on the current runtime and a connection that is yet to be made; on the keeper's where there is neither, and where
/// the runtime ends before the clean-up is settled.
pub(super) fn start(
    pool: Arc<Pool>,
    link: Option<Arc<Link>>,
    outstanding: &Outstanding,
    claim: Claim,
    known: Known,
    done: Done,
) {
    let current = Handle::try_current().ok();
    // Outside of a runtime nobody can tell whether the connection's is still at work.
    let link = link.filter(|_| known == Known::Unknown || current.is_some() || pool.background().is_none());
    let runtime = link.as_ref().map(|link| link.runtime.clone()).or(current);
    let span = cleanup::span(&claim);
    let settling = Settling { pool, known, open: Some((claim, outstanding.begin(), done)), last: false };
    match runtime {
        Some(runtime) => drop(runtime.spawn(settling.settle(link).instrument(span))),
        None => drop(settling),
    }
}

/// A clean-up under way. Dropped before it is settled, because its runtime ends or there was none, it goes to the keeper;
/// dropped there, it says so.
struct Settling {
    pool: Arc<Pool>,
    known: Known,
    open: Option<(Claim, Ticket, Done)>,
    /// Whether it is with the keeper already.
    last: bool,
}

impl Settling {
    async fn settle(mut self, link: Option<Arc<Link>>) {
        let Some((claim, ..)) = &self.open else { return };
        if settle(&self.pool, link.as_deref(), claim, self.known).await {
            self.open = None;
        } else {
            // Another runtime could do no better.
            self.last = true;
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        match self.pool.background() {
            Some(background) if !self.last => {
                let span = cleanup::span(&open.0);
                let settling = Settling { pool: self.pool.clone(), known: self.known, open: Some(open), last: true };
                background.spawn(settling.settle(None).instrument(span));
            }
            _ => cleanup::gave_up(&open.0),
        }
    }
}

/// Deletes `claim`'s keys where they are still ours, until the outcome is certain. `false`: it is not, and will not be.
async fn settle(pool: &Arc<Pool>, link: Option<&Link>, claim: &Claim, known: Known) -> bool {
    let end = boottime().plus(claim.ttl);
    // This request is never given up while the connection lives: behind a stopped server it waits in line with the request
    // that it follows, which may be carried out long after the TTL counted from here, with a fresh one.
    let mut behind = pin!(async {
        match link {
            Some(link) => compare_and_delete_behind(link, claim, known).await,
            None => pending().await,
        }
    });
    let mut behind_is_open = link.is_some();
    let mut wait = if behind_is_open { pool.timeouts.operation } else { Duration::ZERO };
    let mut denials = 0_u32;
    loop {
        if behind_is_open {
            let Ok(answer) = timer::timeout(wait, behind.as_mut()) else { return false };
            match answer.await {
                // Whatever it says: it was executed behind the request that it follows.
                Ok(Ok(_)) => return true,
                // Refused by the server, or the connection died: from here on the other connections have to do.
                Ok(Err(_)) => {
                    behind_is_open = false;
                    wait = Duration::ZERO;
                }
                Err(_) => {}
            }
        } else {
            let Ok(pause) = timer::sleep(wait) else { return false };
            pause.await;
        }
        if boottime() >= end {
            return behind_is_open && behind.await.is_ok();
        }
        let answer = match pool.link().await {
            Ok(other) => compare_and_delete(&other, claim).await,
            Err(error) => Err(Fault::Silent(error)),
        };
        match (answer, known) {
            (Ok(true), _) | (Ok(false), Known::Held) => return true,
            // Our request may still be on its way on a connection that is dead to us but not to the server.
            (Ok(false), Known::Unknown) if !behind_is_open => denials += 1,
            (Ok(false), Known::Unknown) => {}
            (Err(fault), _) => match fault.released() {
                Release::Retry => {}
                Release::NotHeld => return true,
                // Somebody has to mend the server's configuration first: the lock ends with its TTL.
                Release::Orphan => return false,
            },
        }
        if denials >= DENIALS {
            return true;
        }
        wait = wait.saturating_mul(2).clamp(Duration::from_secs(1), Duration::from_secs(60));
    }
}
