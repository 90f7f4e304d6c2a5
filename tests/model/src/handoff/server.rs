//! The server: a key, the line before it, the counter of fencing tokens, and who listens.

use std::time::Duration;

use lock_runtime::Moment;

use super::configuration::{Caller, Handoff, LONG, Promise, Rule, WINDOW};
use super::few::Few;
use crate::network::Token;
use crate::protocol::SERVER_TICK;
use crate::server::Key;

/// How many processes there are at most.
pub(crate) const PROCESSES: usize = 3;

/// How many entries there are in line at most: strays may line up beside the processes that have sent them.
const LINE: usize = 8;

/// How many notes are under way at most, and some more while it is found out who is served.
const NOTES: usize = 8;

/// The token of the program that knows nothing of lines.
pub(crate) const FOREIGN: Token = Token { client: PROCESSES, number: 0 };

/// What a process asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// A `SET NX PX`, or `contend.lua` with a fencing token.
    Try(Token, Caller),
    /// Listens to notes from here on.
    Listen,
    /// `enqueue.lua`.
    Ask(Token),
    /// `confirm.lua`.
    Confirm(Token, Caller),
    /// `release.lua`, of a lock.
    Release(Token),
    /// `release.lua`, of a place in line and of what may have been granted to it.
    Cancel(Token),
}

impl Request {
    pub(crate) fn token_mut(&mut self) -> Option<&mut Token> {
        match self {
            Self::Try(token, _)
            | Self::Ask(token)
            | Self::Confirm(token, _)
            | Self::Release(token)
            | Self::Cancel(token) => Some(token),
            Self::Listen => None,
        }
    }

    pub(crate) fn gives_back(self) -> bool {
        matches!(self, Self::Release(_) | Self::Cancel(_))
    }
}

/// How many fencing tokens are taken with a lease for those who have it next. By the code, a few for each who waits, or none
/// where the counter is ahead of the clock: as when they are used up.
pub(crate) const SPARES: u64 = 1;

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Ours: taken, granted, confirmed, or given back. With a fencing token where there is one, else 0.
    Ours(u64),
    /// Somebody else's.
    NotOurs,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) now: Moment,
    pub(crate) key: Option<Key>,
    /// The key is free although nobody has given it back.
    pub(crate) lapsed: bool,
    /// The last fencing token that was given out; 0 before the first.
    pub(crate) counter: u64,
    /// Whoever waits, by the tokens of their entries. The channel of an entry is that of its process.
    pub(crate) line: Few<Token, LINE>,
    pub(crate) listens: [bool; PROCESSES],
    /// What was sent to the owners of these tokens. To have two of a kind makes no difference.
    pub(crate) notes: Few<Token, NOTES>,
}

impl Server {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            now,
            key: None,
            lapsed: false,
            counter: 0,
            line: Few::new(),
            listens: [false; PROCESSES],
            notes: Few::new(),
        }
    }

    pub(crate) fn tick(&mut self) {
        self.now = self.now.plus(SERVER_TICK);
        let now = self.now;
        if self.key.is_some_and(|key| key.expires.is_some_and(|expires| expires <= now)) {
            self.key = None;
            self.lapsed = true;
        }
    }

    /// Whether there is room for the note that a request may bring about.
    pub(crate) fn has_room(&self, handoff: &Handoff) -> bool {
        self.notes.len() < handoff.notes
    }

    /// Carries out `request` of `process`. The promise that was broken by it, if one was.
    pub(crate) fn carry_out(
        &mut self,
        process: usize,
        request: Request,
        handoff: &Handoff,
    ) -> (Reply, Option<Promise>) {
        match request {
            Request::Listen => {
                self.listens[process] = true;
                (Reply::Ours(0), None)
            }
            Request::Try(token, caller) => self.try_once(token, caller, handoff),
            Request::Ask(token) => self.ask(token, handoff),
            Request::Confirm(token, caller) => (self.confirm(token, caller, handoff), None),
            Request::Release(token) => (self.release(token, handoff), None),
            Request::Cancel(token) => {
                if handoff.has(Rule::CancelLeavesTheLine) {
                    self.line.retain(|other| other != token);
                }
                if !handoff.has(Rule::CancelGivesBack) {
                    return (Reply::NotOurs, None);
                }
                (self.release(token, handoff), None)
            }
        }
    }

    fn try_once(&mut self, token: Token, caller: Caller, handoff: &Handoff) -> (Reply, Option<Promise>) {
        match self.key {
            Some(key) if key.token != token => return (Reply::NotOurs, None),
            // A repeat: the expiry is left alone.
            Some(_) => {}
            None => {
                // Where the key was given back, it went to whoever stood in line.
                let past = !self.lapsed && self.line.iter().any(|other| self.listens[other.client]);
                self.set(token, caller.ttl);
                if past {
                    return (Reply::Ours(self.raise(caller, handoff)), Some(Promise::FirstInFirstOut));
                }
            }
        }
        (Reply::Ours(self.raise(caller, handoff)), None)
    }

    fn ask(&mut self, token: Token, handoff: &Handoff) -> (Reply, Option<Promise>) {
        if let Some(key) = self.key.as_mut().filter(|key| key.token == token) {
            if !handoff.has(Rule::RepeatLeavesTheExpiry) {
                key.expires = Some(self.now.plus(WINDOW));
            }
            return (Reply::Ours(0), None);
        }
        if !self.line.contains(token) {
            self.line.push(token);
        }
        if self.key.is_some() || !handoff.has(Rule::LiningUpTries) {
            return (Reply::NotOurs, None);
        }
        if !handoff.has(Rule::WhoAsksKeepsTheOrder) {
            let before = self.line.iter().take_while(|other| *other != token);
            let past = before.filter(|other| self.listens[other.client]).count() > 0;
            self.line.retain(|other| other != token);
            self.set(token, WINDOW);
            return (Reply::Ours(0), past.then_some(Promise::FirstInFirstOut));
        }
        self.grant(Some(token), handoff);
        let granted = self.key.is_some_and(|key| key.token == token);
        (if granted { Reply::Ours(0) } else { Reply::NotOurs }, None)
    }

    fn confirm(&mut self, token: Token, caller: Caller, handoff: &Handoff) -> Reply {
        let is_ours = self.key.is_some_and(|key| key.token == token);
        if !is_ours && handoff.has(Rule::ConfirmationCompares) {
            return Reply::NotOurs;
        }
        let fence =
            if handoff.has(Rule::ConfirmationRaisesTheFence) { self.raise(caller, handoff) } else { self.counter };
        let until = self.now.plus(caller.ttl);
        if let Some(key) = &mut self.key {
            let longer = key.expires.map_or(until, |expires| expires.max(until));
            key.expires = Some(if handoff.has(Rule::ConfirmationNeverShortens) { longer } else { until });
        }
        Reply::Ours(if caller.fenced { fence } else { 0 })
    }

    fn release(&mut self, token: Token, handoff: &Handoff) -> Reply {
        let is_ours = self.key.is_some_and(|key| key.token == token);
        if !is_ours && (handoff.has(Rule::ReleaseCompares) || self.key.is_none()) {
            return Reply::NotOurs;
        }
        self.key = None;
        self.lapsed = false;
        self.grant(None, handoff);
        Reply::Ours(0)
    }

    /// `grant.lua`: gives the key, which is free, to the first in line who is there. `own` need not be called.
    fn grant(&mut self, own: Option<Token>, handoff: &Handoff) {
        while let Some(first) = self.line.pop() {
            let is_own = Some(first) == own;
            let listens = self.listens[first.client];
            if is_own || listens || !handoff.has(Rule::TheDeadArePassedOver) {
                if !is_own && listens && !self.notes.contains(first) {
                    self.notes.push(first);
                }
                self.set(first, if handoff.has(Rule::GrantsAreShort) { WINDOW } else { LONG });
                return;
            }
        }
    }

    pub(crate) fn set(&mut self, token: Token, time: Duration) {
        self.key = Some(Key { token, expires: Some(self.now.plus(time)) });
        self.lapsed = false;
    }

    /// `fence.lua`: the first of a row of tokens.
    fn raise(&mut self, caller: Caller, handoff: &Handoff) -> u64 {
        if !caller.fenced {
            return 0;
        }
        let first = self.counter + 1;
        self.counter = if handoff.has(Rule::CounterCountsTheRow) { first + SPARES } else { first };
        first
    }
}
