//! A node: a key, the counter of fencing tokens, and what clients have under way to it.

use super::configuration::{CLIENTS, Redlock, Rule, TTL_TICKS};
use crate::handoff::few::Few;

/// How many requests there are on a link at most.
const QUEUE: usize = 8;

/// How far a node's clock gets in a tick, in fencing tokens: further than the counters do.
pub(crate) const CLOCK_TICK: u32 = 16;

/// The fencing token of a hold that was before all others, and that all nodes know. So one that has lost its data is told from
/// one that was not asked yet.
const EARLIER: u32 = CLOCK_TICK / 2;

/// What a client asks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A claim, with a fencing token where those are wanted.
    Acquire,
    /// Writes a fencing token back.
    Write,
    Extend,
    /// A claim on a node that came back empty.
    Rejoin,
    Release,
}

/// A request. Which client it is from, the link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    /// The client's attempt that it belongs to: its token.
    pub(crate) attempt: u8,
    /// The fencing token that is to be written.
    pub(crate) fence: u32,
    /// Somebody waits for its answer.
    pub(crate) awaited: bool,
}

impl Request {
    fn takes(self) -> bool {
        matches!(self.kind, Kind::Acquire | Kind::Rejoin)
    }
}

/// What a node said, and has arrived or will arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// With a fencing token where one was asked for, else 0.
    Yes(u32),
    No,
}

/// One connection of a client to a node: nothing overtakes anything on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) requests: Few<Request, QUEUE>,
    /// The answer that somebody waits for. The client may look at it now or later, or never.
    pub(crate) answer: Option<Answer>,
    /// Left on a connection that broke: it may be carried out at any later time, or never.
    pub(crate) aside: Option<Request>,
    /// For how many ticks the store may still clean up behind an acquisition that failed: that of the claim which the client has.
    pub(crate) cleaned: Option<u8>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { requests: Few::new(), answer: None, aside: None, cleaned: None }
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self) {
        self.answer = None;
        self.requests.iter_mut().for_each(|request| request.awaited = false);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Request> + '_ {
        self.requests.iter().chain(self.aside)
    }

    pub(crate) fn is_cleaned_up(&self) -> bool {
        self.cleaned.is_some()
    }

    /// The acquisition for `attempt` fails.
    pub(crate) fn fail(&mut self, attempt: u8) {
        let mut kept = Few::new();
        for request in self.requests.iter() {
            if request.kind == Kind::Acquire && request.attempt == attempt {
                self.aside = Some(Request { awaited: false, ..request });
            } else {
                kept.push(Request { awaited: false, ..request });
            }
        }
        self.requests = kept;
        self.answer = None;
        self.cleaned = Some(TTL_TICKS);
    }

    /// Whether a request is under way that may take the node for `attempt`.
    pub(crate) fn may_take(&self, attempt: u8) -> bool {
        self.all().any(|request| request.takes() && request.attempt == attempt)
    }
}

/// Who has a node, and for how many ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) client: usize,
    pub(crate) attempt: u8,
    /// `None`: for ever, which no correct protocol brings about.
    pub(crate) left: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) key: Option<Key>,
    /// The last fencing token that it knows of.
    pub(crate) counter: u32,
    /// The highest fencing token that was written to it, by a write-back or with a lock: as far as `remembered` asks for it.
    pub(crate) told: u32,
    /// Down, and for how many ticks still.
    pub(crate) down: Option<u8>,
    /// Its clock is ahead.
    pub(crate) ahead: bool,
    pub(crate) links: [Link; CLIENTS],
}

impl Node {
    pub(crate) fn new(ahead: bool) -> Self {
        Self { key: None, counter: EARLIER, told: EARLIER, down: None, ahead, links: [Link::new(); CLIENTS] }
    }

    pub(crate) fn tick(&mut self) {
        if let Some(Key { left: Some(left), .. }) = &mut self.key {
            *left -= 1;
        }
        self.key = self.key.filter(|key| key.left != Some(0));
        self.down = self.down.map(|ticks| ticks.saturating_sub(1));
        for link in &mut self.links {
            link.cleaned = link.cleaned.map(|ticks| ticks - 1).filter(|ticks| *ticks > 0);
        }
    }

    /// Loses everything that it had. What is under way to it is not lost.
    pub(crate) fn forget(&mut self) {
        self.key = None;
        self.counter = 0;
        self.told = 0;
    }

    pub(crate) fn is_of(&self, client: usize, attempt: u8) -> bool {
        self.key.is_some_and(|key| key.client == client && key.attempt == attempt)
    }

    /// Its clock, as a fencing token has it.
    pub(crate) fn clock(&self, time: u32, redlock: &Redlock) -> u32 {
        if !redlock.clocks {
            return 0;
        }
        time + if self.ahead { CLOCK_TICK * u32::from(redlock.skew) } else { 0 }
    }

    /// The fencing token that it would give.
    pub(crate) fn next_fence(&self, time: u32, redlock: &Redlock) -> u32 {
        self.clock(time, redlock).max(self.counter + 1)
    }

    /// Carries out `request` of `client`.
    pub(crate) fn carry_out(&mut self, client: usize, request: Request, time: u32, redlock: &Redlock) -> Answer {
        let Request { kind, attempt, fence, .. } = request;
        let is_ours = self.is_of(client, attempt);
        match kind {
            Kind::Acquire | Kind::Rejoin => {
                if self.key.is_some() && !is_ours {
                    return Answer::No;
                }
                if kind == Kind::Rejoin && !redlock.has(Rule::RejoinWithTheFence) {
                    // By what the mutant believes.
                    self.tell(fence, redlock);
                }
                let given = if redlock.fenced { self.next_fence(time, redlock) } else { 0 };
                self.counter = self.counter.max(given);
                // A repeat leaves the expiry alone.
                if !is_ours {
                    self.take(client, attempt, redlock);
                }
                Answer::Yes(given)
            }
            Kind::Write => {
                if !is_ours && redlock.has(Rule::WriteBackCompares) {
                    return Answer::No;
                }
                self.counter = self.counter.max(fence);
                self.tell(fence, redlock);
                Answer::Yes(0)
            }
            Kind::Extend => {
                if let Some(key) = self.key.as_mut().filter(|_| is_ours) {
                    key.left = key.left.map(|left| left.max(TTL_TICKS));
                    return Answer::Yes(0);
                }
                if self.key.is_none() && !redlock.has(Rule::RejoinedDoNotCount) {
                    self.take(client, attempt, redlock);
                    self.counter = self.counter.max(fence);
                    return Answer::Yes(0);
                }
                Answer::No
            }
            Kind::Release => {
                if is_ours || !redlock.has(Rule::CompareBeforeDelete) {
                    self.key = None;
                }
                Answer::No
            }
        }
    }

    fn tell(&mut self, fence: u32, redlock: &Redlock) {
        if redlock.remembered {
            self.told = self.told.max(fence);
        }
    }

    fn take(&mut self, client: usize, attempt: u8, redlock: &Redlock) {
        let left = redlock.has(Rule::Expiry).then_some(TTL_TICKS);
        self.key = Some(Key { client, attempt, left });
    }

    /// Takes away what would come to nothing, whenever it is carried out: it is for a token that the node does not have, and
    /// will not have.
    pub(crate) fn drop_idle_requests(&mut self, redlock: &Redlock) {
        for client in 0..redlock.clients {
            let link = &self.links[client];
            let before = link.requests;
            let aside = link.aside.filter(|request| request.takes());
            let mut kept = Few::new();
            for request in before.iter() {
                let takes = |other: Request| other.takes() && other.attempt == request.attempt;
                let may_hold = self.is_of(client, request.attempt) || kept.iter().chain(aside).any(takes);
                let matters = match request.kind {
                    Kind::Acquire | Kind::Rejoin => true,
                    Kind::Release => !redlock.has(Rule::CompareBeforeDelete),
                    Kind::Write => !redlock.has(Rule::WriteBackCompares),
                    Kind::Extend => request.awaited || !redlock.has(Rule::RejoinedDoNotCount),
                };
                if may_hold || matters {
                    kept.push(request);
                }
            }
            let holds = |request: &Request| {
                request.takes()
                    || self.is_of(client, request.attempt)
                    || kept.iter().any(|other: Request| other.takes() && other.attempt == request.attempt)
            };
            let aside = link.aside.filter(holds);
            self.links[client].requests = kept;
            self.links[client].aside = aside;
        }
    }
}
