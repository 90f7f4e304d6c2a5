//! What is checked: who waits, what goes wrong, and the rule that a mutant drops.

use std::time::Duration;

use crate::protocol::{SERVER_TICK, TTL};

/// The longer of the two TTLs: three ticks.
pub const LONG: Duration = TTL;

/// The shorter one: two ticks. What is left of a long lease after a tick is enough for one of these.
pub const SHORT: Duration = Duration::from_millis(20);

/// For how long the key is kept for whoever it was granted to: a tick.
pub(crate) const WINDOW: Duration = SERVER_TICK;

/// A rule of the protocol. Each is there because dropping it breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What was granted is confirmed before it is a lock.
    Confirm,
    /// The lease of a confirmed grant counts from before the confirmation was sent.
    LeaseFromBeforeTheConfirmation,
    /// A confirmation looks whether the key holds the waiter's own token.
    ConfirmationCompares,
    /// A confirmation does not shorten what another has given.
    ConfirmationNeverShortens,
    /// A confirmation raises the fencing token.
    ConfirmationRaisesTheFence,
    /// A waiter who asks again, and has the key already, does not touch its expiry.
    RepeatLeavesTheExpiry,
    /// Every acquisition has a token of its own.
    FreshToken,
    /// A release leaves a key alone that is somebody else's.
    ReleaseCompares,
    /// Nobody believes in a lease that was handed over for longer than the one did who won it.
    HandOverWithinTheDeadline,
    /// Whoever wants a fencing token takes over only what comes with one that nobody has had.
    FencedTakeWhatIsReserved,
    /// No token of a row is given out twice.
    ReservedTokensAreTakenOnce,
    /// The counter is raised by all the tokens of a row.
    CounterCountsTheRow,
    /// A guard whose lease went to somebody else does nothing any more.
    StaleGuardsDoNothing,
    /// An offer that was taken back is accepted by nobody.
    LapsedOffersAreGone,
    /// An offer that nobody accepts is taken back.
    OffersAreTakenBack,
    /// Whoever leaves the line gives back what may have been granted to it.
    CancelGivesBack,
    /// And its place in line.
    CancelLeavesTheLine,
    /// A future that is dropped while it waits says that it leaves.
    CancelOfADroppedFuture,
    /// A lock that is lost is given back, too.
    LostIsGivenBack,
    /// Whoever waits asks now and then, although it would be called.
    Polls,
    /// Whoever waits asks when its connection broke.
    BrokenConnectionCalls,
    /// Whoever is in line on a connection listens on it before.
    ListensFirst,
    /// Who lines up before a key that is free is granted it in the same step.
    LiningUpTries,
    /// Whoever finds the key free grants it to the first in line.
    WhoAsksKeepsTheOrder,
    /// A grant is short until it is confirmed.
    GrantsAreShort,
    /// A grant to somebody unknown is given back. A matter of time only: a grant is short in any case.
    GhostsAreLaid,
    /// Whoever does not listen is passed over. A matter of time as well: each of the dead costs the time of a grant.
    TheDeadArePassedOver,
}

/// What must never be otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// At most one caller believes that it has the lock.
    Disjoint,
    /// Who believes that it has the lock has it: the key holds its token.
    Kept,
    /// A hold begins with a higher fencing token than all before it.
    FencesRise,
    /// Nobody is given the lock past somebody who listens and stood in line before, as long as the lock was given back each time.
    FirstInFirstOut,
    /// Once nothing is under way, nobody has the key or a place in line but for somebody who knows of it.
    NothingIsLeft,
    /// From here, if nothing more goes wrong, everybody who waits and lives gets the lock, within the bound.
    Served,
}

impl Promise {
    /// All of them, which hold as long as no connection breaks and nobody dies.
    pub const ALL: [Self; 6] =
        [Self::Disjoint, Self::Kept, Self::FencesRise, Self::FirstInFirstOut, Self::NothingIsLeft, Self::Served];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disjoint => "holds are disjoint",
            Self::Kept => "who believes in the lock has it",
            Self::FencesRise => "fencing tokens rise from hold to hold",
            Self::FirstInFirstOut => "first in, first out",
            Self::NothingIsLeft => "nothing is left behind",
            Self::Served => "everybody who waits is served",
        }
    }
}

/// Somebody who wants the lock again and again: a task of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    pub(crate) ttl: Duration,
    pub(crate) fenced: bool,
}

impl Caller {
    /// Wants the lock for `ttl`.
    #[must_use]
    pub const fn new(ttl: Duration) -> Self {
        Self { ttl, fenced: false }
    }

    /// And a fencing token with it.
    #[must_use]
    pub const fn fenced(self) -> Self {
        Self { fenced: true, ..self }
    }

    /// As a number, different for each.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.ttl == LONG) << 1 | u64::from(self.fenced)
    }
}

/// One configuration of the model. Time is not bounded, and the number of acquisitions and faults need not be: the bounds are the
/// callers, and how many requests and notes are under way.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Handoff {
    pub(crate) name: &'static str,
    /// Those of each process.
    pub(crate) processes: Vec<Vec<Caller>>,
    pub(crate) time: bool,
    pub(crate) polls: bool,
    pub(crate) impatience: bool,
    /// How many requests of a process may be under way when it sends another.
    pub(crate) room: usize,
    /// How many notes may be under way when the server sends another.
    pub(crate) notes: usize,
    /// How often each caller has the lock; without a bound, again and again.
    pub(crate) rounds: Option<u8>,
    /// How many connections break and processes end; without a bound, any number.
    pub(crate) faults: Option<u8>,
    pub(crate) loses_notes: bool,
    pub(crate) repeats_notes: bool,
    pub(crate) disconnects: bool,
    /// What was sent on a broken connection may be carried out.
    pub(crate) strays: bool,
    pub(crate) deaths: bool,
    pub(crate) stops: bool,
    pub(crate) freezes: bool,
    pub(crate) foreign: bool,
    /// Within how many ticks everybody is served.
    pub(crate) served_within: u32,
    pub(crate) promises: Vec<Promise>,
    pub(crate) dropped: Option<Rule>,
}

impl Handoff {
    /// Processes with so many callers each; messages of any delay, and callers who give up at any time. No faults yet.
    #[must_use]
    pub fn new(name: &'static str, processes: &[&[Caller]]) -> Self {
        Self {
            name,
            processes: processes.iter().map(|callers| callers.to_vec()).collect(),
            time: true,
            polls: true,
            impatience: true,
            room: 1,
            notes: 2,
            rounds: None,
            faults: None,
            loses_notes: false,
            repeats_notes: false,
            disconnects: false,
            strays: true,
            deaths: false,
            stops: false,
            freezes: false,
            foreign: false,
            // What is left of a lease that nobody gives back.
            served_within: 3,
            promises: Promise::ALL.to_vec(),
            dropped: None,
        }
    }

    /// Without time: nothing expires.
    #[must_use]
    pub fn timeless(self) -> Self {
        Self { time: false, served_within: 0, ..self }
    }

    /// Nobody in line asks without being called.
    #[must_use]
    pub fn without_polls(self) -> Self {
        Self { polls: false, ..self }
    }

    /// Nobody gives up, and every answer is waited for.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { impatience: false, ..self }
    }

    /// A process sends another request while up to `room` of its own are under way, besides what it gives back.
    #[must_use]
    pub fn room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// The server sends a note while fewer than so many are under way.
    #[must_use]
    pub fn notes(self, notes: usize) -> Self {
        Self { notes, ..self }
    }

    /// Each caller has the lock so often, and does not want it any more.
    #[must_use]
    pub fn rounds(self, rounds: u8) -> Self {
        Self { rounds: Some(rounds), ..self }
    }

    /// Together, so many connections break and processes end.
    #[must_use]
    pub fn faults(self, faults: u8) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// With notes that are lost.
    #[must_use]
    pub fn lost_notes(self) -> Self {
        Self { loses_notes: true, ..self }
    }

    /// With notes that arrive any number of times.
    #[must_use]
    pub fn repeated_notes(self) -> Self {
        Self { repeats_notes: true, ..self }
    }

    /// With connections that break. What was sent on them may be carried out at any later time.
    #[must_use]
    pub fn disconnects(self) -> Self {
        Self { disconnects: true, ..self }.without(Promise::NothingIsLeft)
    }

    /// What was sent on connections that break is carried out before, or not at all.
    #[must_use]
    pub fn without_strays(self) -> Self {
        Self { strays: false, ..self }
    }

    /// With processes that die; all that they leave is what they had sent.
    #[must_use]
    pub fn deaths(self) -> Self {
        Self { deaths: true, ..self }.without(Promise::NothingIsLeft)
    }

    /// With processes that are stopped: as if they had died, but they listen still.
    #[must_use]
    pub fn stops(self) -> Self {
        Self { stops: true, ..self }.without(Promise::NothingIsLeft)
    }

    /// With callers who are never polled again once they were offered a lease.
    #[must_use]
    pub fn freezes(self) -> Self {
        Self { freezes: true, ..self }
    }

    /// With a program that knows nothing of lines: it takes the key when it is free, and deletes it.
    #[must_use]
    pub fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }

    /// Everybody has to be served within so many ticks.
    #[must_use]
    pub fn served_within(self, ticks: u32) -> Self {
        Self { served_within: ticks, ..self }
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

    /// Whether all processes are alike.
    pub(crate) fn is_symmetric(&self) -> bool {
        self.processes.windows(2).all(|two| two[0] == two[1])
    }

    /// Whether whoever is in line asks without being called.
    pub(crate) fn polls(&self) -> bool {
        self.polls && self.has(Rule::Polls)
    }
}
