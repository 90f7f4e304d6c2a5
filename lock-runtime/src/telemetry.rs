//! What is told to [`tracing`](https://docs.rs/tracing): spans and events under the target `lock_runtime`.
//!
//! Every span and event has the field `lock`: the label of the call, which is the attribute's `name`, else its key template,
//! else (by hand) what [`LockRequest::name`](crate::LockRequest::name) was given, else empty. Labels come from the source
//! code, so there are only as many as there are calls. The key itself, which may hold a customer's data, is a field of the
//! spans alone: a subscriber that drops the field has dropped it everywhere. Tokens and passwords appear nowhere.
//!
//! | span | level | fields | from, to |
//! |---|---|---|---|
//! | `lock.acquire` | info | `lock`, `key` | the request, its guard or its error |
//! | `lock.hold` | info | `lock`, `key` | entered around every poll of a body under the attribute, and around what is told of a guard |
//! | `lock.cleanup` | info | `lock`, `key` | a lock that is given back in the background |
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `lock.waiting` | debug | `holder` | the first time that a lock is found busy by a call that waits |
//! | `lock.acquired` | debug | `waited` | the lock is ours |
//! | `lock.busy` | debug | `waited` | somebody else has it, and the call has given up |
//! | `lock.failed` | warn | `waited`, `error`, `source` | any other end of an acquisition; `source` is what the store said |
//! | `lock.lost` | warn | `cause` | a held lock was lost |
//! | `lock.released` | debug, or warn | `outcome` | a lock was given back: `released`, `handed_over` (to the next caller of this process), `background` (debug), `gone` (it was not ours any more), `unanswered` (repeated in the background; warn) |
//! | `lock.renewal_failed` | debug, or warn | `error` | a renewal was not answered (debug) or is refused (warn); it is tried again until the lease is over |
//! | `lock.stalled` | warn | | a body was not polled for [`max_stall`](crate::LockManagerBuilder::max_stall), and its lock is not renewed meanwhile |
//! | `lock.orphaned` | warn | `ttl` | a clean-up came to nothing; the lock ends with its TTL |
//!
//! Two more events are about no lock, and have no such field. `lock.eviction` (warn; `server`, `policy`): when
//! [`connect`](crate::LockManager::connect) or [`self_test`](crate::LockManager::self_test) finds a server whose
//! `maxmemory-policy` lets it remove locks before their time. A lock has a TTL, and keys that have one are the first to go.
//! `lock.polling` (warn; `server`, `reason`): once, when it turns out that a lock cannot go from one process to the next without
//! polling, because the server is too old or the user lacks a permission. Whoever waits asks every now and then.
//!
//! # Metrics
//!
//! With the feature `metrics`, the same is counted, through the facade of the crate [`metrics`](https://docs.rs/metrics): install
//! an exporter, and it has them. Their labels are the label of the call, `lock`, and what the table names beside it, each of a
//! few words: there are as many series as there are calls in the source code, however many keys they lock. A call without a
//! label counts under the empty one.
//!
//! | metric | kind | labels | what it counts |
//! |---|---|---|---|
//! | `lock_attempts_total` | counter | `lock` | acquisitions that were begun |
//! | `lock_acquisitions_total` | counter | `lock`, `outcome` | acquisitions that ended: `acquired`, `busy`, `cancelled` (the future was dropped), or the sort of the error: `unavailable`, `foreign key`, `already held`, `invalid`, `no manager` |
//! | `lock_wait_seconds` | histogram | `lock`, `outcome` | from the request to its end; `outcome` as above, without `cancelled` |
//! | `lock_waiting` | gauge | `lock` | acquisitions that are under way |
//! | `lock_held` | gauge | `lock` | locks that are held |
//! | `lock_hold_seconds` | histogram | `lock` | from the request that won the lock, from which its lease counts as well, to giving it back |
//! | `lock_lost_total` | counter | `lock`, `cause` | locks that were lost: `expired`, `gone`, `shut_down`, `max_hold` |
//! | `lock_releases_total` | counter | `lock`, `outcome` | locks that were given back, as in `lock.released` |
//!
//! A `#[tracing::instrument]` that stands above the attribute has the body alone in its span; one that stands below has the
//! waiting in it as well.

mod figures;

use std::time::Duration;

use tracing::field::display;
use tracing::{Span, debug, info_span, warn};

use crate::error::LockError;
use crate::holder::Holder;
use crate::keys::Listed;
use crate::lease::LostCause;

pub(crate) use self::figures::{Attempt, Figures, Series};

/// The span of an acquisition.
pub(crate) fn acquiring(lock: &'static str, key: &Listed<'_>) -> Span {
    info_span!(target: "lock_runtime", "lock.acquire", lock, %key)
}

/// The span of a hold: beside that of the acquisition, in the caller's.
pub(crate) fn holding(parent: &Span, lock: &'static str, key: &Listed<'_>) -> Span {
    info_span!(target: "lock_runtime", parent: parent, "lock.hold", lock, %key)
}

pub(crate) fn waiting(lock: &'static str, holder: Option<&Holder>) {
    let holder = holder.map(display);
    debug!(name: "lock.waiting", target: "lock_runtime", lock, holder, "lock busy, waiting for it");
}

/// The end of an acquisition. `waited` is asked for only if somebody listens: it takes a look at the clock.
pub(crate) fn acquired<T>(
    attempt: Attempt<'_>,
    lock: &'static str,
    waited: impl Fn() -> Duration,
    outcome: &Result<T, LockError>,
) {
    attempt.end(outcome.as_ref().map_or_else(LockError::kind, |_| "acquired"), &waited);
    match outcome {
        Ok(_) => debug!(name: "lock.acquired", target: "lock_runtime", lock, waited = ?waited(), "lock acquired"),
        Err(LockError::Busy(_)) => {
            debug!(name: "lock.busy", target: "lock_runtime", lock, waited = ?waited(), "lock busy");
        }
        Err(error) => failed(lock, waited(), error),
    }
}

/// A lock that was refused before the store was asked, maybe because there is no manager.
pub(crate) fn refused(lock: &'static str, error: &LockError) {
    Figures::default().of(lock).attempt().end(error.kind(), || Duration::ZERO);
    failed(lock, Duration::ZERO, error);
}

fn failed(lock: &'static str, waited: Duration, error: &LockError) {
    // The error's own text names the key, which belongs into the span alone; the store's does not.
    let source = if let LockError::Unavailable { source, .. } = error { Some(display(source)) } else { None };
    let error = error.kind();
    warn!(name: "lock.failed", target: "lock_runtime", lock, ?waited, error, source, "lock not acquired");
}

pub(crate) fn lost(series: &Series, lock: &'static str, cause: LostCause) {
    series.lost(cause);
    warn!(name: "lock.lost", target: "lock_runtime", lock, %cause, "lock lost");
}

/// How a lock was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    Released,
    HandedOver,
    Background,
    Gone,
    Unanswered,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::HandedOver => "handed_over",
            Self::Background => "background",
            Self::Gone => "gone",
            Self::Unanswered => "unanswered",
        }
    }
}

pub(crate) fn released(series: &Series, lock: &'static str, outcome: Release) {
    series.released(outcome);
    let in_order = !matches!(outcome, Release::Gone | Release::Unanswered);
    let outcome = outcome.name();
    if in_order {
        debug!(name: "lock.released", target: "lock_runtime", lock, outcome, "lock given back");
    } else {
        warn!(name: "lock.released", target: "lock_runtime", lock, outcome, "lock not given back in order");
    }
}

/// Renewals.
pub(crate) mod keeper {
    use tracing::{debug, warn};

    use crate::error::StoreError;

    /// A renewal whose outcome is unknown.
    pub(crate) fn unanswered(lock: &'static str, error: &StoreError) {
        if error.is_transient() {
            debug!(name: "lock.renewal_failed", target: "lock_runtime", lock, %error, "lock not renewed, trying again");
        } else {
            // Somebody has to mend something, or the lock will be lost.
            warn!(name: "lock.renewal_failed", target: "lock_runtime", lock, %error, "lock not renewed, trying again");
        }
    }

    /// A body that nobody polls any more.
    pub(crate) fn stalled(lock: &'static str) {
        warn!(
            name: "lock.stalled", target: "lock_runtime", lock,
            "lock not renewed any more: nobody polls the future that holds it"
        );
    }
}

/// A server that may remove locks when it runs out of memory.
#[cfg(feature = "redis")]
pub(crate) fn evicting(server: &str, policy: &str, limited: bool) {
    if limited {
        warn!(
            name: "lock.eviction", target: "lock_runtime", server, policy,
            "redis evicts locks when it is out of memory: set `maxmemory-policy noeviction`, or keep them on a server of their own"
        );
    } else {
        warn!(
            name: "lock.eviction", target: "lock_runtime", server, policy,
            "redis would evict locks if it had a memory limit: set `maxmemory-policy noeviction` before `maxmemory`"
        );
    }
}

/// A server that lets nobody wait in line.
#[cfg(feature = "redis")]
pub(crate) fn polling(server: &str, reason: &dyn std::fmt::Display) {
    warn!(
        name: "lock.polling", target: "lock_runtime", server, %reason,
        "locks are not handed from process to process: whoever waits for one asks every now and then"
    );
}

/// The clean-ups of a store.
#[cfg(feature = "redis")]
pub(crate) mod cleanup {
    use tracing::{Span, info_span, warn};

    use crate::store::Claim;

    /// The span of a clean-up.
    pub(crate) fn span(claim: &Claim) -> Span {
        info_span!(target: "lock_runtime", "lock.cleanup", lock = claim.label, key = ?claim.keys)
    }

    /// It came to nothing.
    pub(crate) fn gave_up(claim: &Claim) {
        let ttl = claim.ttl;
        warn!(
            name: "lock.orphaned", target: "lock_runtime", lock = claim.label, ?ttl,
            "lock not given back; it ends with its ttl"
        );
    }
}
