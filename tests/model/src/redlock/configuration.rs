//! What is checked: who acquires, what goes wrong, and the rule that a mutant drops.

use std::time::Duration;

use crate::protocol::SERVER_TICK;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;

/// How many of them are a quorum: of the nodes that are configured, whoever answers.
pub(crate) const QUORUM: usize = NODES / 2 + 1;

/// How many have to refuse until a quorum is out of reach.
pub(crate) const VETO: usize = NODES - QUORUM + 1;

/// How many clients there are at most.
pub(crate) const CLIENTS: usize = 3;

/// The length of every lease, in ticks.
pub(crate) const TTL_TICKS: u8 = 2;

/// The length of every lease.
pub(crate) const TTL: Duration = Duration::from_millis(20);

/// How long a tick is.
pub(crate) const TICK: Duration = SERVER_TICK;

/// A rule of the protocol. Each is there because dropping it breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A lease counts from before its requests.
    LeaseFromBeforeTheRequests,
    /// So does a renewal.
    RenewalFromBeforeTheRequests,
    /// A quorum is one of the nodes that are configured, and not of those that have answered.
    QuorumOfTheConfigured,
    /// Who gives up deletes only what holds its own token.
    CompareBeforeDelete,
    /// Who gives up does so on all nodes, those that have not answered included.
    RollbackOnAllNodes,
    /// Every attempt has a token of its own.
    FreshToken,
    /// A key is never without an expiry.
    Expiry,
    /// The fencing token is written back before the hold begins.
    WriteBack,
    /// It is written only where the claim is held.
    WriteBackCompares,
    /// A quorum has to have it before the hold begins.
    WriteBackToAQuorum,
    /// The deadline is checked after that.
    DeadlineAfterTheWriteBack,
    /// A renewal that did not reach a quorum gives nothing back.
    FailedRenewalReleasesNothing,
    /// A node that came back empty is not counted in the renewal that finds out.
    RejoinedDoNotCount,
    /// It is given the fencing token with the lock.
    RejoinWithTheFence,
    /// A release ends what is still under way to take a node again.
    ReleaseEndsRejoins,
    /// A node does not count while its store may still clean up behind an acquisition of the claim that failed there.
    FailedHaveNoSay,
}

/// What must never be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// At most one client believes that it has the lock.
    Disjoint,
    /// A hold begins with a higher fencing token than all before it.
    FencesRise,
    /// A quorum that is gone is noticed by the deadline: no renewal that is sent afterwards extends the lease. It is gone when
    /// fewer nodes than a quorum have the key or are still being asked to take it.
    LossIsNoticed,
    /// A hold is not extended once another has begun.
    NobodyInBetween,
    /// Once nothing is under way, no node has a key that nobody knows of.
    NothingIsLeft,
    /// From here, if nothing more goes wrong and one asks after the other, every client gets the lock: split votes end.
    EverybodyGetsATurn,
}

impl Promise {
    /// All of them, which hold as long as no node forgets and no request is lost.
    pub const ALL: [Self; 6] = [
        Self::Disjoint,
        Self::FencesRise,
        Self::LossIsNoticed,
        Self::NobodyInBetween,
        Self::NothingIsLeft,
        Self::EverybodyGetsATurn,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disjoint => "holds are disjoint",
            Self::FencesRise => "fencing tokens rise from hold to hold",
            Self::LossIsNoticed => "a quorum that is gone is noticed by the deadline",
            Self::NobodyInBetween => "a hold is not extended once another has begun",
            Self::NothingIsLeft => "nothing is left behind",
            Self::EverybodyGetsATurn => "everybody gets a turn",
        }
    }
}

/// One configuration of the model. Time has no bound.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Redlock {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    /// How many acquisitions are begun, by all clients together. `None`: any number.
    pub(crate) attempts: Option<u8>,
    /// How many requests may be under way on a link when an operation is begun.
    pub(crate) room: usize,
    pub(crate) renewals: bool,
    /// How often a node is taken again, with fencing tokens: each time raises its counter. Without them, any number of times.
    pub(crate) rejoins: u8,
    pub(crate) fenced: bool,
    /// How many requests come to nothing.
    pub(crate) refusals: u8,
    /// How many connections break.
    pub(crate) breaks: u8,
    /// How many acquisitions fail on a node, and are cleaned up there, whatever comes of them elsewhere.
    pub(crate) failures: u8,
    /// How often a node loses its data.
    pub(crate) losses: u8,
    /// For how many ticks it is down then, at least.
    pub(crate) down: u8,
    /// Fencing tokens are at least as high as the clocks of the nodes that give them.
    pub(crate) clocks: bool,
    /// By how many ticks the clock of one node is ahead of the others'.
    pub(crate) skew: u8,
    /// What lies beyond a majority of nodes that have all forgotten the latest fencing token is not looked at.
    pub(crate) remembered: bool,
    pub(crate) promises: Vec<Promise>,
    pub(crate) dropped: Option<Rule>,
}

impl Redlock {
    /// Two clients that begin `attempts` acquisitions together; messages of any delay; calls that give up at any time. No
    /// renewals, no fencing tokens, and no faults yet.
    #[must_use]
    pub fn new(name: &'static str, attempts: u8) -> Self {
        Self {
            name,
            clients: 2,
            attempts: Some(attempts),
            room: 2,
            renewals: false,
            rejoins: 2,
            fenced: false,
            refusals: 0,
            breaks: 0,
            failures: 0,
            losses: 0,
            down: 0,
            clocks: true,
            skew: 0,
            remembered: false,
            promises: Promise::ALL.to_vec(),
            dropped: None,
        }
    }

    /// With any number of acquisitions.
    #[must_use]
    pub fn endless(self) -> Self {
        Self { attempts: None, ..self }
    }

    /// With a third client.
    #[must_use]
    pub fn three_clients(self) -> Self {
        Self { clients: 3, ..self }
    }

    /// An operation begins only where no more than `room` requests of the client are under way to any node.
    #[must_use]
    pub fn room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// With leases that are renewed, and nodes that are taken again.
    #[must_use]
    pub fn renewals(self) -> Self {
        Self { renewals: true, ..self }
    }

    /// With so many nodes that are taken again, where there are fencing tokens; 2 unless told.
    #[must_use]
    pub fn rejoins(self, rejoins: u8) -> Self {
        Self { rejoins, ..self }
    }

    /// With fencing tokens.
    #[must_use]
    pub fn fenced(self) -> Self {
        Self { fenced: true, ..self }
    }

    /// With so many requests that come to nothing. A key may then stay until its TTL is over.
    #[must_use]
    pub fn refusals(self, refusals: u8) -> Self {
        Self { refusals, ..self }.without(Promise::NothingIsLeft)
    }

    /// With so many connections that break. A key may then stay until its TTL is over.
    #[must_use]
    pub fn breaks(self, breaks: u8) -> Self {
        Self { breaks, ..self }.without(Promise::NothingIsLeft)
    }

    /// With so many acquisitions that fail on one node, and are cleaned up there. A key may then stay until its TTL is over.
    #[must_use]
    pub fn failures(self, failures: u8) -> Self {
        Self { failures, ..self }.without(Promise::NothingIsLeft)
    }

    /// With nodes that lose their data, so many times, and are there again before the leases that they forgot are over: after a
    /// tick, or a moment.
    #[must_use]
    pub fn forgetful(self, losses: u8) -> Self {
        Self { losses, down: 1, ..self }
    }

    /// With nodes that lose their data, so many times, and are there again when every lease that they forgot is over.
    #[must_use]
    pub fn delayed_restarts(self, losses: u8) -> Self {
        Self { losses, down: TTL_TICKS, ..self }
    }

    /// With fencing tokens that are counters and nothing else: as good as clocks that are worth nothing.
    #[must_use]
    pub fn without_clocks(self) -> Self {
        Self { clocks: false, ..self }
    }

    /// With a node whose clock is so many ticks ahead of the others'.
    #[must_use]
    pub fn skew(self, skew: u8) -> Self {
        Self { skew, ..self }
    }

    /// As long as every majority contains a node that remembers the latest fencing token.
    #[must_use]
    pub fn remembered(self) -> Self {
        Self { remembered: true, ..self }
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
