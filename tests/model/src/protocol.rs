//! What is checked: the faults of a run, its bounds, and the rule that a mutant drops.

use std::time::Duration;

/// The length of every lease: three ticks of the server's clock.
pub const TTL: Duration = Duration::from_millis(30);

/// How far the server's clock gets in a tick.
pub const SERVER_TICK: Duration = Duration::from_millis(10);

/// How many ticks the server needs for a whole lease.
pub(crate) const TTL_TICKS: u32 = 3;

/// How far the slowest clock that a client may have gets in a tick: so far that its lease ends in the very tick in which the
/// server drops the key. Any slower, and it would end a tick later.
///
/// By what is promised, 1 % of the TTL and 2 ms, and not by what the code takes off.
#[must_use]
pub fn slowest_tick() -> Duration {
    let promised = TTL / 100 + Duration::from_millis(2);
    TTL.saturating_sub(promised) / TTL_TICKS + Duration::from_nanos(1)
}

/// What happens to a server that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is not killed at all.
    Never,
    /// It comes back with everything that it had, after a tick or more.
    WithData,
    /// It comes back empty, after so many ticks or more.
    Empty {
        /// At least 1: no server restarts within a microsecond, the unit of the fencing tokens.
        after: u32,
    },
}

/// A rule of the protocol. Each is there because dropping it breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The lease of an acquisition counts from before its request.
    LeaseFromBeforeTheRequest,
    /// So does that of a renewal.
    RenewalFromBeforeTheRequest,
    /// A lease is believed in for less than its TTL, because clocks drift.
    DriftMargin,
    /// A release deletes the key only if it holds the releaser's own token.
    CompareBeforeDelete,
    /// Every request to acquire has a token of its own.
    FreshToken,
    /// The clean-up follows its request on the same connection.
    CleanUpOnTheSameConnection,
    /// A future that is dropped while it asks for the lock leaves a clean-up behind.
    CleanUpOfADroppedRequest,
    /// A guard that is dropped is released.
    ReleaseOfADroppedGuard,
    /// The fencing token is raised before the key is set.
    FenceBeforeTheKey,
    /// A fencing token is at least the server's clock.
    FenceByTheClock,
    /// A renewal never creates a key that is gone.
    RenewalOfNothingIsDenied,
    /// A key is never without an expiry.
    Expiry,
    /// An acquisition whose answer is missing is unknown: it may have taken the lock.
    UnknownAcquisitionIsNotLost,
    /// And it is not held either.
    UnknownAcquisitionIsNotHeld,
    /// A renewal whose answer is missing is unknown: the lock is not lost.
    UnknownRenewalIsNotLost,
    /// Nor is the lease extended.
    UnknownRenewalIsNotHeld,
    /// A renewal that is denied ends the lease.
    DenialEndsTheLease,
    /// A renewal that is answered after the lease has ended does not bring it back.
    LateRenewalDoesNotCount,
}

/// What must never be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// At most one client believes that it has the lock.
    Disjoint,
    /// A client that believes that it has the lock has it: its key is there, and stays for as long as the belief.
    Kept,
    /// What a client takes for lost because the server said so is not its own, and never will be again.
    LossIsTrue,
    /// A client that was told that the lock is not its own does not believe in it any more.
    LossIsNoticed,
    /// A lock that was lost does not come back.
    LossIsForGood,
    /// A hold begins with a higher fencing token than all holds before it.
    FencesRiseByHold,
    /// The server gives a higher fencing token with each grant.
    FencesRiseByGrant,
    /// Once nothing is under way, nobody but a client that knows of it has the key.
    NothingIsLeft,
    /// The key never lives on for more than the TTL without somebody who extends it.
    FreeAfterTheTtl,
    /// From here, if nothing more goes wrong, every client gets a turn: within the TTL after the server is there.
    EverybodyGetsATurn,
}

impl Promise {
    /// All of them, which hold as long as no data is lost and no connection breaks.
    pub const ALL: [Self; 10] = [
        Self::Disjoint,
        Self::Kept,
        Self::LossIsTrue,
        Self::LossIsNoticed,
        Self::LossIsForGood,
        Self::FencesRiseByHold,
        Self::FencesRiseByGrant,
        Self::NothingIsLeft,
        Self::FreeAfterTheTtl,
        Self::EverybodyGetsATurn,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disjoint => "holds are disjoint",
            Self::Kept => "who believes in the lock has it",
            Self::LossIsTrue => "what was denied is gone",
            Self::LossIsNoticed => "what was denied is not believed in",
            Self::LossIsForGood => "what was lost does not come back",
            Self::FencesRiseByHold => "fencing tokens rise from hold to hold",
            Self::FencesRiseByGrant => "fencing tokens rise from grant to grant",
            Self::NothingIsLeft => "nothing is left behind",
            Self::FreeAfterTheTtl => "a key is free after the ttl",
            Self::EverybodyGetsATurn => "everybody gets a turn",
        }
    }
}

/// One configuration of the model. Neither time nor the number of acquisitions and faults is bounded: the bounds are the
/// number of clients, and that of the connections that have something under way.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub(crate) name: &'static str,
    /// For each client, how far its clock gets in a tick.
    pub(crate) clients: Vec<Duration>,
    /// How many connections may have requests or answers under way: of one client, and of all together.
    pub(crate) connections_of_one: usize,
    pub(crate) connections: usize,
    pub(crate) renewals: bool,
    pub(crate) disconnects: bool,
    pub(crate) crashes: bool,
    pub(crate) restart: Restart,
    pub(crate) promises: Vec<Promise>,
    pub(crate) dropped: Option<Rule>,
}

impl Protocol {
    /// Two clients, one of them with the slowest clock that is allowed; messages of any delay; calls that give up at any
    /// time. No renewals and no other faults yet.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            clients: vec![SERVER_TICK, slowest_tick()],
            connections_of_one: 2,
            connections: 3,
            renewals: false,
            disconnects: false,
            crashes: false,
            restart: Restart::Never,
            promises: Promise::ALL.to_vec(),
            dropped: None,
        }
    }

    /// Clients whose clocks get so far in a tick.
    #[must_use]
    pub fn clients(self, clients: &[Duration]) -> Self {
        Self { clients: clients.to_vec(), ..self }
    }

    /// At most so many connections with something under way: of one client, and of all together.
    #[must_use]
    pub fn connections(self, of_one: usize, of_all: usize) -> Self {
        Self { connections_of_one: of_one, connections: of_all, ..self }
    }

    /// With leases that are renewed.
    #[must_use]
    pub fn renewals(self) -> Self {
        Self { renewals: true, ..self }
    }

    /// With connections that break. A key may then stay until its TTL is over.
    #[must_use]
    pub fn disconnects(self) -> Self {
        Self { disconnects: true, ..self }.without(Promise::NothingIsLeft)
    }

    /// With clients that die and are started anew. A key may then stay until its TTL is over.
    #[must_use]
    pub fn crashes(self) -> Self {
        Self { crashes: true, ..self }.without(Promise::NothingIsLeft)
    }

    /// With a server that is killed and started anew. A key may then stay until its TTL is over.
    #[must_use]
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }.without(Promise::NothingIsLeft)
    }

    /// Does not look whether `promise` holds.
    #[must_use]
    pub fn without(mut self, promise: Promise) -> Self {
        self.promises.retain(|other| *other != promise);
        self
    }

    /// A mutant: the same without `rule`.
    #[must_use]
    pub fn dropping(self, rule: Rule) -> Self {
        Self { dropped: Some(rule), ..self }
    }

    pub(crate) fn has(&self, rule: Rule) -> bool {
        self.dropped != Some(rule)
    }
}
