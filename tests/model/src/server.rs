//! The server: one key, the counter of fencing tokens, and a clock.

use lock_runtime::Moment;

use crate::network::{Reply, Request, Token};
use crate::protocol::{Protocol, Rule, SERVER_TICK, TTL};

/// Why it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Down {
    pub(crate) ticks: u32,
}

/// What the key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) token: Token,
    /// `None`: never, which no correct protocol brings about.
    pub(crate) expires: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) now: Moment,
    pub(crate) down: Option<Down>,
    pub(crate) key: Option<Key>,
    /// The last fencing token that was given out; 0 before the first.
    pub(crate) counter: u64,
}

impl Server {
    pub(crate) fn new(now: Moment) -> Self {
        Self { now, down: None, key: None, counter: 0 }
    }

    pub(crate) fn tick(&mut self, longest_down: u32) {
        self.now = self.now.plus(SERVER_TICK);
        if let Some(down) = &mut self.down {
            down.ticks = longest_down.min(down.ticks + 1);
        }
        // Redis drops a key a millisecond later than it could: this is the less favourable case.
        self.key = self.key.filter(|key| key.expires.is_none_or(|expires| self.now < expires));
    }

    /// The time as a fencing token has it.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.now.since_origin().as_micros()).unwrap_or(u64::MAX)
    }

    /// Carries out `request`, as the scripts of the runtime do.
    pub(crate) fn carry_out(&mut self, request: Request, protocol: &Protocol) -> Reply {
        let is_ours = self.key.is_some_and(|key| key.token == request.token());
        match request {
            Request::Acquire(token) => match self.key {
                // A repeat: the expiry is left alone.
                Some(_) if is_ours => Reply::Granted(self.raise(protocol)),
                Some(_) => Reply::Busy,
                None => {
                    let fence = self.raise(protocol);
                    self.set(token, protocol);
                    Reply::Granted(fence)
                }
            },
            Request::Renew(_) if is_ours => {
                let until = self.now.plus(TTL);
                if let Some(Key { expires: Some(expires), .. }) = &mut self.key {
                    *expires = until.max(*expires);
                }
                Reply::Done
            }
            Request::Renew(token) => {
                if self.key.is_none() && !protocol.has(Rule::RenewalOfNothingIsDenied) {
                    self.set(token, protocol);
                    return Reply::Done;
                }
                Reply::NotOurs
            }
            Request::Release(_) => {
                if is_ours || !protocol.has(Rule::CompareBeforeDelete) {
                    self.key = None;
                }
                if is_ours { Reply::Done } else { Reply::NotOurs }
            }
        }
    }

    /// Cannot raise the counter, because of a missing right or of what somebody put there: scripts are not rolled back.
    pub(crate) fn refuse(&mut self, token: Token, protocol: &Protocol) -> Reply {
        if self.key.is_none() && !protocol.has(Rule::FenceBeforeTheKey) {
            self.set(token, protocol);
        }
        Reply::Refused
    }

    fn set(&mut self, token: Token, protocol: &Protocol) {
        let expires = protocol.has(Rule::Expiry).then(|| self.now.plus(TTL));
        self.key = Some(Key { token, expires });
    }

    fn raise(&mut self, protocol: &Protocol) -> u64 {
        let clock = if protocol.has(Rule::FenceByTheClock) { self.micros() } else { 0 };
        self.counter = clock.max(self.counter + 1);
        self.counter
    }
}
