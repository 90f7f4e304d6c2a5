//! A process: callers in line for the lock, one place in the server's line, and one connection.

use lock_runtime::__model::{Event, Lease, Standing};
use lock_runtime::Moment;

use super::configuration::{Handoff, Rule};
use super::few::Few;
use super::server::{Reply, Request, SPARES};
use crate::network::Token;

/// How many callers a process has at most.
pub(crate) const CALLERS: usize = 2;

/// How many requests are under way on one connection at most.
pub(crate) const REQUESTS: usize = 8;

/// A request that the server has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    /// Somebody waits for the answer. To one request at most.
    pub(crate) awaited: bool,
}

/// What the first in line, who has the turn, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing keeps it from asking.
    Ready,
    /// It was told to wait: it asks when it is called, or after a while.
    Paused,
    /// It waits for another caller of the process, who has the lock.
    Here,
    /// It tries to take the lock.
    Trying { token: Token, sent: Moment },
    /// It lines up, or asks how things stand.
    Asking,
    /// It makes a lock of what was granted.
    Confirming { sent: Moment },
}

/// The fencing tokens that were taken in a row with a lease, behind the one of its first holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fences {
    pub(crate) next: u64,
    pub(crate) left: u64,
}

impl Fences {
    /// Those behind `first`.
    pub(crate) fn behind(first: u64) -> Self {
        Self { next: first + 1, left: SPARES }
    }

    /// The next one; without the rule, whether it was taken or not.
    pub(crate) fn take(&mut self, handoff: &Handoff) -> u64 {
        let fence = self.next;
        if handoff.has(Rule::ReservedTokensAreTakenOnce) {
            self.next += 1;
            self.left = self.left.saturating_sub(1);
        }
        // Of no interest any more.
        if self.left == 0 && handoff.has(Rule::FencedTakeWhatIsReserved) {
            self.next = 0;
        }
        fence
    }
}

/// A lock that a caller was given; whether it is believed in is the lease's to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) token: Token,
    pub(crate) lease: Lease,
    pub(crate) fences: Fences,
    /// It is the latest that the process has won.
    pub(crate) latest: bool,
    /// The lease has gone to somebody else, or is on offer. In a mutant alone: the guard of such a lease does nothing.
    pub(crate) stale: bool,
}

impl Hold {
    pub(crate) fn standing(&self, now: Moment) -> Standing {
        let mut lease = self.lease;
        lease.on(Event::Tick, now)
    }

    pub(crate) fn believes(&self, now: Moment) -> bool {
        matches!(self.standing(now), Standing::Held { .. })
    }
}

/// A lease that its holder has done with, for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) token: Token,
    pub(crate) until: Moment,
    pub(crate) fences: Fences,
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Dead, or stopped for good.
    pub(crate) gone: bool,
    pub(crate) requests: Few<Sent, REQUESTS>,
    pub(crate) reply: Option<Reply>,
    /// What was sent on a connection that broke.
    pub(crate) strays: Few<Request, REQUESTS>,
    /// Has asked, on this connection, to be called.
    pub(crate) listens: bool,
    /// The callers who wait. The first has the turn.
    pub(crate) line: Few<usize, CALLERS>,
    pub(crate) turn: Turn,
    /// The place in the server's line.
    pub(crate) place: Option<Token>,
    /// It was called, and has not answered to that.
    pub(crate) bell: bool,
    pub(crate) offer: Option<Offer>,
    pub(crate) holds: [Option<Hold>; CALLERS],
    /// Callers who are not polled any more.
    pub(crate) frozen: [bool; CALLERS],
    /// How often each has had the lock, where that counts.
    pub(crate) rounds: [u8; CALLERS],
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            gone: false,
            requests: Few::new(),
            reply: None,
            strays: Few::new(),
            listens: false,
            line: Few::new(),
            turn: Turn::Ready,
            place: None,
            bell: false,
            offer: None,
            holds: [None; CALLERS],
            frozen: [false; CALLERS],
            rounds: [0; CALLERS],
        }
    }

    pub(crate) fn send(&mut self, request: Request, awaited: bool) {
        self.requests.push(Sent { request, awaited });
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self) {
        self.reply = None;
        self.requests.iter_mut().for_each(|sent| sent.awaited = false);
    }

    /// Whether a caller of it holds the lock, as far as the process knows.
    pub(crate) fn holds_here(&self, now: Moment) -> bool {
        self.holds.iter().flatten().any(|hold| hold.latest && hold.believes(now))
    }

    /// Whether it knows of `token`: gives it back some time.
    pub(crate) fn knows(&self, token: Token) -> bool {
        let trying = matches!(self.turn, Turn::Trying { token: own, .. } if own == token);
        let offered = self.offer.is_some_and(|offer| offer.token == token);
        trying
            || offered
            || self.place == Some(token)
            || self.holds.iter().flatten().any(|hold| hold.token == token && !hold.stale)
    }

    pub(crate) fn is_waiting(&self, caller: usize) -> bool {
        self.line.contains(caller)
    }

    pub(crate) fn is_idle(&self, caller: usize) -> bool {
        !self.is_waiting(caller) && self.holds[caller].is_none() && !self.frozen[caller]
    }

    /// Nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let asks = matches!(self.turn, Turn::Trying { .. } | Turn::Asking | Turn::Confirming { .. });
        self.requests.is_empty() && self.reply.is_none() && self.strays.is_empty() && !asks
    }

    pub(crate) fn tokens_mut(&mut self) -> impl Iterator<Item = &mut Token> {
        let turn = match &mut self.turn {
            Turn::Trying { token, .. } => Some(token),
            _ => None,
        };
        let offer = self.offer.as_mut().map(|offer| &mut offer.token);
        let holds = self.holds.iter_mut().flatten().map(|hold| &mut hold.token);
        let sent = self.requests.iter_mut().filter_map(|sent| sent.request.token_mut());
        let strays = self.strays.iter_mut().filter_map(Request::token_mut);
        turn.into_iter().chain(&mut self.place).chain(offer).chain(holds).chain(sent).chain(strays)
    }
}
