//! A client: a process that wants the lock again and again.

use lock_runtime::__model::{Event, Lease, Standing};
use lock_runtime::Moment;

/// A renewal whose answers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    pub(crate) sent: Moment,
    /// The quorum was gone already when it was sent.
    pub(crate) in_vain: bool,
}

/// There is a guard; whether its lock is believed in is the lease's to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) attempt: u8,
    pub(crate) lease: Lease,
    pub(crate) fence: u32,
    pub(crate) renewal: Option<Renewal>,
    /// Its quorum is gone.
    pub(crate) gone: bool,
    /// Another hold has begun since it did.
    pub(crate) followed: bool,
}

impl Hold {
    pub(crate) fn standing(mut self, now: Moment) -> Standing {
        self.lease.on(Event::Tick, now)
    }

    pub(crate) fn is_believed(self, now: Moment) -> bool {
        matches!(self.standing(now), Standing::Held { .. })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Idle,
    /// All nodes are asked.
    Asking {
        attempt: u8,
        sent: Moment,
    },
    /// A quorum said yes, and all nodes are told the fencing token.
    Writing {
        attempt: u8,
        sent: Moment,
        fence: u32,
    },
    Holding(Hold),
}

impl Phase {
    pub(crate) fn attempt(&self) -> Option<u8> {
        match *self {
            Self::Idle => None,
            Self::Asking { attempt, .. } | Self::Writing { attempt, .. } | Self::Holding(Hold { attempt, .. }) => {
                Some(attempt)
            }
        }
    }

    pub(crate) fn attempt_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Idle => None,
            Self::Asking { attempt, .. } | Self::Writing { attempt, .. } | Self::Holding(Hold { attempt, .. }) => {
                Some(attempt)
            }
        }
    }

    pub(crate) fn believes(&self, now: Moment) -> bool {
        matches!(self, Self::Holding(hold) if hold.is_believed(now))
    }
}
