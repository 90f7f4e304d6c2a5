//! What is told to `tracing`. Keys appear as fields; tokens and passwords never do.

use crate::error::StoreError;
use crate::key::LockKey;
use crate::lease::LostCause;
#[cfg(feature = "redis")]
use crate::store::Claim;

/// A clean-up came to nothing; the lock ends with its TTL.
#[cfg(feature = "redis")]
pub(crate) fn cleanup_gave_up(claim: &Claim) {
    tracing::warn!(target: "lock_runtime", keys = ?claim.keys, ttl = ?claim.ttl, "lock not given back; it ends with its ttl");
}

/// A release was not answered after the body had ended; it goes on in the background.
pub(crate) fn release_unanswered(key: &LockKey, error: &StoreError) {
    tracing::warn!(target: "lock_runtime", %key, %error, "release not answered; repeating it in the background");
}

/// The store no longer had a lock that was given back before its lease was over.
pub(crate) fn lost_unnoticed(key: &LockKey) {
    tracing::warn!(target: "lock_runtime", %key, "lock was gone from the store before its lease was over");
}

/// A held lock was lost.
pub(crate) fn lost(key: &LockKey, cause: LostCause) {
    tracing::warn!(target: "lock_runtime", %key, %cause, "lock lost");
}
