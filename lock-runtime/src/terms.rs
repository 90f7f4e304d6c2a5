//! What a lock is held on, beside its TTL: renewal, the longest and the shortest hold, a fencing token.

use std::time::Duration;

use crate::lease::validity;

/// What a call asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) renew: Option<Renew>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) min_hold: Duration,
    pub(crate) fence: bool,
}

/// How often a lease is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renew {
    /// Three times in its length: two renewals may fail before it ends.
    Thirds,
    /// By hand.
    Every(Duration),
}

impl Renew {
    /// The time from one renewal to the next, of a lease of `ttl`.
    pub(crate) fn interval(self, ttl: Duration) -> Duration {
        match self {
            Self::Thirds => ttl / 3,
            Self::Every(interval) => interval,
        }
    }
}

impl Terms {
    /// What is wrong with asking for this together with `ttl`.
    pub(crate) fn flaw(&self, ttl: Duration) -> Option<&'static str> {
        if self.min_hold > ttl {
            return Some("`min_hold` is longer than `ttl`: the key would be gone before it is over");
        }
        match (self.renew, self.max_hold) {
            (Some(renew), _) if renew.interval(ttl) < Duration::from_millis(1) => {
                Some("a renewal more often than once in a millisecond would do nothing else")
            }
            // The lease is believed in for a little less than its TTL.
            (Some(renew), _) if renew.interval(ttl) >= validity(ttl) => Some(
                "the interval of `renew` is not below `ttl`, less what is taken off for drift (1 % and 2 ms): the lease would \
                 end before its first renewal",
            ),
            (None, Some(_)) => Some("`max_hold` limits renewals, and there are none: add `renew`, or leave it out"),
            (Some(_), Some(max_hold)) if max_hold < ttl => {
                Some("`max_hold` is shorter than `ttl`: use a shorter `ttl`, without `renew`")
            }
            _ => None,
        }
    }
}
