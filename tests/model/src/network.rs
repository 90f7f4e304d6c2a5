//! Connections, and what is under way on them.

/// The proof of a hold: fresh for every request to acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token {
    pub(crate) client: usize,
    pub(crate) number: u8,
}

/// What a client asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// `contend.lua` with a fencing token; without one it is a `SET NX PX`, which does the same to the key.
    Acquire(Token),
    /// `renew.lua`.
    Renew(Token),
    /// `release.lua`: compare and delete.
    Release(Token),
}

impl Request {
    pub(crate) fn token(self) -> Token {
        match self {
            Self::Acquire(token) | Self::Renew(token) | Self::Release(token) => token,
        }
    }

    pub(crate) fn token_mut(&mut self) -> &mut Token {
        match self {
            Self::Acquire(token) | Self::Renew(token) | Self::Release(token) => token,
        }
    }
}

/// Requests in a row that the server has not read yet: at most one, and its clean-up. In place, because millions of them are
/// copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Requests {
    pub(crate) first: Option<Request>,
    pub(crate) second: Option<Request>,
}

impl Requests {
    pub(crate) fn push(&mut self, request: Request) {
        let place = if self.first.is_none() { &mut self.first } else { &mut self.second };
        assert_eq!(place.replace(request), None, "more than a request and its clean-up");
    }

    pub(crate) fn pop(&mut self) -> Option<Request> {
        std::mem::replace(&mut self.first, self.second.take())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Request> {
        self.first.into_iter().chain(self.second)
    }
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reply {
    /// The lock was taken, with this fencing token.
    Granted(u64),
    /// Somebody else has it.
    Busy,
    /// The server would not: nothing was done.
    Refused,
    /// Renewed, or released.
    Done,
    /// The lock is not ours.
    NotOurs,
}

/// One connection of a client, as long as something is under way on it: requests in the order in which they were sent, and
/// at most one answer that somebody waits for.
///
/// Operations of their own are on connections of their own, even where the runtime would use the same one again: that allows
/// them any order. Only what has to be behind another request shares its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Connection {
    pub(crate) client: usize,
    /// Somebody waits for the answer to the first request.
    pub(crate) awaited: bool,
    /// Dead for the client. What it had sent may reach the server at any later time, or not at all.
    pub(crate) cut: bool,
    pub(crate) requests: Requests,
    pub(crate) reply: Option<Reply>,
}

impl Connection {
    pub(crate) fn new(client: usize, request: Request, awaited: bool) -> Self {
        Self { client, awaited, cut: false, requests: Requests { first: Some(request), second: None }, reply: None }
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self) {
        self.awaited = false;
        self.reply = None;
    }

    /// What it carries, of 12 possibilities; the token set aside.
    pub(crate) fn kind(&self) -> u32 {
        let requests = match (self.requests.first, self.requests.second) {
            (Some(Request::Acquire(_)), None) => 0,
            (Some(Request::Acquire(_)), Some(_)) => 1,
            (Some(Request::Renew(_)), _) => 2,
            (Some(Request::Release(_)) | None, _) => 3,
        };
        requests + if self.cut { 4 } else { 0 } + if self.awaited { 8 } else { 0 }
    }

    /// Nothing is under way on it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.awaited && self.requests.first.is_none()
    }
}
