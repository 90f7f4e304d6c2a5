//! Clean-ups: the compare-and-delete that follows a request whose outcome nobody waited for.

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use super::link::Link;
use super::nodes::Nodes;
use super::refusal::Release;
use super::reply::Fault;
use super::{How, give_back, give_back_each};
use crate::clock::boottime;
use crate::error::StoreErrorKind;
use crate::outstanding::{Outstanding, Ticket};
use crate::store::{Claim, Done};
use crate::telemetry::cleanup;
use crate::timer;
use tracing::Instrument as _;

/// What is known of the claim that is to be cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was acquired, or all that was sent for it was answered: whatever any connection answers is the truth.
    Held,
    /// The request that acquires it may be on its way: only an answer on the same connection, behind that request, or the
    /// deletion itself, is the truth.
    Unknown,
}

/// How often other connections must have said "not yours" before a claim whose own connection died counts as settled.
const DENIALS: u32 = 3;

/// How long a clean-up is left to a runtime that may not be driven by anybody any more.
const IDLE: Duration = Duration::from_secs(1);

/// Starts the clean-up of `claim`, and of the `entries` that it may have in line: behind everything that was sent on `link`, on
/// the runtime that drives it; without a link, on the current runtime and a connection that is yet to be made. The keeper takes
/// it over where there is neither, where the runtime ends before the clean-up is settled, and where it may be idle: a runtime
/// of one thread works only while somebody is blocked on it.
pub(super) fn start(
    nodes: &Arc<Nodes>,
    link: Option<Arc<Link>>,
    outstanding: &Outstanding,
    claim: Claim,
    entries: Vec<String>,
    known: Known,
    done: Done,
) {
    let current = Handle::try_current().ok();
    // Outside of a runtime nobody can tell whether the connection's is still at work.
    let link = link.filter(|_| known == Known::Unknown || current.is_some() || nodes.any().background().is_none());
    let runtime = link.as_ref().map(|link| link.runtime.clone()).or(current);
    let span = cleanup::span(&claim);
    let case = Arc::new(Case { known, entries, open: Mutex::new(Some((claim, outstanding.begin(), done))) });
    let settling = Settling { nodes: nodes.clone(), case: case.clone(), role: Role::First };
    let Some(runtime) = runtime else { return drop(settling) };
    if let (RuntimeFlavor::CurrentThread, Some(background)) = (runtime.runtime_flavor(), nodes.any().background()) {
        let rescue = Settling { nodes: nodes.clone(), case, role: Role::Rescue };
        background.spawn(rescue.settle_if_idle().instrument(span.clone()));
    }
    runtime.spawn(settling.settle(link).instrument(span));
}

/// One clean-up, wherever it is worked on. Two may be at it: to compare and delete is harmless.
struct Case {
    known: Known,
    /// What its waiter may have left in line.
    entries: Vec<String>,
    /// `None` when it is settled.
    open: Mutex<Option<(Claim, Ticket, Done)>>,
}

impl Case {
    fn claim(&self) -> Option<Claim> {
        self.lock().as_ref().map(|(claim, ..)| claim.clone())
    }

    fn close(&self) -> Option<(Claim, Ticket, Done)> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Claim, Ticket, Done)>> {
        // No code that can panic runs under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clean-up under way.
struct Settling {
    nodes: Arc<Nodes>,
    case: Arc<Case>,
    role: Role,
}

/// What becomes of a clean-up that is dropped before it is settled.
#[derive(Clone, Copy)]
enum Role {
    /// It goes to the keeper: its runtime ends, cannot do it, or there was none.
    First,
    /// Nothing: the first one is there still.
    Rescue,
    /// It says that it came to nothing.
    Last,
}

impl Settling {
    async fn settle(mut self, link: Option<Arc<Link>>) {
        let Some(claim) = self.case.claim() else { return };
        match settle(&self.nodes, link.as_ref(), &claim, &self.case).await {
            Some(true) => drop(self.case.close()),
            // Another runtime could do no better.
            Some(false) if matches!(self.role, Role::First) => self.role = Role::Last,
            Some(false) | None => {}
        }
    }

    /// As [`settle`](Self::settle), where the runtime to which it was given has not done it.
    async fn settle_if_idle(self) {
        if let Ok(pause) = timer::sleep(IDLE) {
            pause.await;
        }
        self.settle(None).await;
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        match (self.role, self.nodes.any().background()) {
            (Role::Rescue, _) => {}
            (Role::First, Some(background)) => {
                let Some(claim) = self.case.claim() else { return };
                let last = Settling { nodes: self.nodes.clone(), case: self.case.clone(), role: Role::Last };
                background.spawn(last.settle(None).instrument(cleanup::span(&claim)));
            }
            (Role::First | Role::Last, _) => {
                if let Some((claim, ..)) = self.case.close() {
                    cleanup::gave_up(&claim);
                }
            }
        }
    }
}

/// Deletes `claim`'s keys where they are still ours, until the outcome is certain. `false`: it is not, and will not be. `None`:
/// this runtime has no timers, or no I/O.
async fn settle(nodes: &Arc<Nodes>, link: Option<&Arc<Link>>, claim: &Claim, case: &Case) -> Option<bool> {
    let Case { known: at_first, ref entries, .. } = *case;
    let mut known = at_first;
    let end = boottime().plus(claim.ttl);
    // This request is never given up while the connection lives: behind a stopped server it waits in line with the request
    // that it follows, which may be carried out long after the TTL counted from here, with a fresh one.
    let mut behind = pin!(async {
        match link {
            Some(link) => {
                let how = if at_first == Known::Held { How::Patiently } else { How::Behind };
                give_back(link, claim, entries, how).await
            }
            None => pending().await,
        }
    });
    let mut behind_is_open = link.is_some();
    let mut wait = if behind_is_open { nodes.any().timeouts.operation } else { Duration::ZERO };
    let mut denials = 0_u32;
    loop {
        if behind_is_open {
            let answer = timer::timeout(wait, behind.as_mut()).ok()?;
            match answer.await {
                // Whatever it says: it was executed behind the request that it follows.
                Ok(Ok(_)) => return Some(true),
                // Refused by the server, or the connection died: from here on the other connections have to do.
                Ok(Err(fault)) => {
                    // Turned away behind the request that it follows: that was carried out before, or never will be.
                    if fault.is_elsewhere() {
                        known = Known::Held;
                    }
                    behind_is_open = false;
                    wait = Duration::ZERO;
                }
                Err(_) => {}
            }
        } else {
            timer::sleep(wait).ok()?.await;
        }
        if boottime() >= end {
            return Some(behind_is_open && behind.await.is_ok());
        }
        let answer = match elsewhere(nodes, claim, entries).await {
            Err(Fault::Silent(error)) if error.kind() == StoreErrorKind::Runtime => return None,
            answer => answer,
        };
        match (answer, known) {
            (Ok(true), _) | (Ok(false), Known::Held) => return Some(true),
            // Our request may still be on its way on a connection that is dead to us but not to the server.
            (Ok(false), Known::Unknown) if !behind_is_open => denials += 1,
            (Ok(false), Known::Unknown) => {}
            (Err(fault), _) => match fault.released() {
                Release::Retry => {}
                Release::NotHeld => return Some(true),
                // Somebody has to mend the server's configuration first: the lock ends with its TTL.
                Release::Orphan => return Some(false),
            },
        }
        if denials >= DENIALS {
            return Some(true);
        }
        wait = wait.saturating_mul(2).clamp(Duration::from_secs(1), Duration::from_secs(60));
    }
}

/// Gives `claim` back on whatever connection there is.
async fn elsewhere(nodes: &Nodes, claim: &Claim, entries: &[String]) -> Result<bool, Fault> {
    let mut route = nodes.route(&claim.keys[0]);
    loop {
        let link = route.link().await.map_err(Fault::Silent)?;
        match give_back(&link, claim, entries, How::InTime).await {
            Err(fault) if fault.is_on_the_move() && claim.keys.len() > 1 => {
                return Box::pin(give_back_each(nodes, claim)).await;
            }
            Err(fault) if route.follows(&fault).await => {}
            answer => return answer,
        }
    }
}
