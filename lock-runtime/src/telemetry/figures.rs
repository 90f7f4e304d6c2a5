//! What is counted of acquisitions and holds, for the facade `metrics`. Without the feature, nothing is, and nothing of this is
//! left.

use std::time::Duration;

use super::Release;
use crate::lease::LostCause;

/// An acquisition that is under way. Dropped before its end, it was cancelled.
#[derive(Debug)]
pub(crate) struct Attempt {
    #[cfg(feature = "metrics")]
    lock: &'static str,
    #[cfg(feature = "metrics")]
    ended: bool,
}

/// A lock that is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    #[cfg(feature = "metrics")]
    lock: &'static str,
}

#[cfg(feature = "metrics")]
mod counted {
    use metrics::{counter, gauge, histogram};

    use super::{Attempt, Duration, Holding, LostCause, Release};

    impl Attempt {
        pub(crate) fn begin(lock: &'static str) -> Self {
            counter!("lock_attempts_total", "lock" => lock).increment(1);
            gauge!("lock_waiting", "lock" => lock).increment(1);
            Self { lock, ended: false }
        }

        pub(crate) fn end(mut self, outcome: &'static str, waited: impl Fn() -> Duration) {
            self.ended = true;
            histogram!("lock_wait_seconds", "lock" => self.lock, "outcome" => outcome).record(waited());
            counter!("lock_acquisitions_total", "lock" => self.lock, "outcome" => outcome).increment(1);
        }
    }

    impl Drop for Attempt {
        fn drop(&mut self) {
            gauge!("lock_waiting", "lock" => self.lock).decrement(1);
            if !self.ended {
                counter!("lock_acquisitions_total", "lock" => self.lock, "outcome" => "cancelled").increment(1);
            }
        }
    }

    impl Holding {
        pub(crate) fn begin(lock: &'static str) -> Self {
            gauge!("lock_held", "lock" => lock).increment(1);
            Self { lock }
        }

        pub(crate) fn end(self, held: Duration) {
            histogram!("lock_hold_seconds", "lock" => self.lock).record(held);
        }
    }

    impl Drop for Holding {
        fn drop(&mut self) {
            gauge!("lock_held", "lock" => self.lock).decrement(1);
        }
    }

    pub(crate) fn lost(lock: &'static str, cause: LostCause) {
        let cause = match cause {
            LostCause::Expired => "expired",
            LostCause::Gone => "gone",
            LostCause::ShutDown => "shut_down",
            LostCause::MaxHold => "max_hold",
            // Nobody is told of it as of a loss.
            LostCause::Released => return,
        };
        counter!("lock_lost_total", "lock" => lock, "cause" => cause).increment(1);
    }

    pub(crate) fn released(lock: &'static str, outcome: Release) {
        counter!("lock_releases_total", "lock" => lock, "outcome" => outcome.name()).increment(1);
    }
}

#[cfg(feature = "metrics")]
pub(crate) use counted::{lost, released};

#[cfg(not(feature = "metrics"))]
impl Attempt {
    pub(crate) fn begin(_lock: &'static str) -> Self {
        Self {}
    }

    #[allow(clippy::unused_self, reason = "with the feature, there is something to it")]
    pub(crate) fn end(self, _outcome: &'static str, _waited: impl Fn() -> Duration) {}
}

#[cfg(not(feature = "metrics"))]
impl Holding {
    pub(crate) fn begin(_lock: &'static str) -> Self {
        Self {}
    }

    #[allow(clippy::unused_self, reason = "with the feature, there is something to it")]
    pub(crate) fn end(self, _held: Duration) {}
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn lost(_lock: &'static str, _cause: LostCause) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn released(_lock: &'static str, _outcome: Release) {}
