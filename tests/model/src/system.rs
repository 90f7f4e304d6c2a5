//! Clients, connections and the server together, and every step that they can take.

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use lock_runtime::__model::{Event, Lease, Standing, drift, validity};
use lock_runtime::{LostCause, Moment};

use crate::network::{Connection, Reply, Request, Requests, Token};
use crate::protocol::{Promise, Protocol, Restart, Rule, TTL};
use crate::server::{Down, Server};

/// Where all clocks start. What is older than a TTL still lies behind the origin.
const START: Moment = Moment::from_origin(Duration::from_secs(1));

/// How many tokens of one client are known somewhere at most: to the key, to the client, and on each of its connections; and
/// one more, that is about to be drawn.
const TOKENS: usize = 8;

/// One client: a process that wants the lock again and again.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) now: Moment,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Idle,
    /// A request to acquire was sent, and nothing is known yet.
    Asking {
        token: Token,
        sent: Moment,
    },
    /// There is a guard; whether its lock is believed in is the lease's to say.
    Holding {
        token: Token,
        lease: Lease,
        renewal: Option<Moment>,
    },
    /// The lock is given back, and the answer is waited for.
    Releasing {
        token: Token,
    },
}

impl Phase {
    pub(crate) fn token(&self) -> Option<Token> {
        match *self {
            Self::Idle => None,
            Self::Asking { token, .. } | Self::Holding { token, .. } | Self::Releasing { token } => Some(token),
        }
    }
}

impl Client {
    /// How its lease stands; `None` without one.
    pub(crate) fn standing(&self) -> Option<Standing> {
        match self.phase {
            Phase::Holding { mut lease, .. } => Some(lease.on(Event::Tick, self.now)),
            _ => None,
        }
    }

    /// Whether its body may be polled.
    pub(crate) fn believes(&self) -> bool {
        matches!(self.standing(), Some(Standing::Held { .. }))
    }
}

/// One step. Clients are named by their number, connections by their place in a sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time passes, on all clocks.
    Tick,
    /// A client asks for the lock.
    Ask(usize),
    /// A client renews its lease.
    Renew(usize),
    /// A client gives the lock back and waits for the answer.
    Release(usize),
    /// A guard is dropped, by a call that was cancelled or because the lock is lost.
    DropGuard(usize),
    /// A client does not wait for an answer any longer.
    TimeOut(usize),
    /// The future of a client that asks for the lock is dropped.
    DropFuture(usize),
    /// The server reads the next request of a connection.
    CarryOut(usize),
    /// The server cannot raise the counter of fencing tokens, which the next request needs.
    Refuse(usize),
    /// An answer arrives.
    Deliver(usize),
    /// A connection breaks.
    Disconnect(usize),
    /// What was sent on a broken connection will not arrive any more.
    Lose(usize),
    /// A client dies, and a new process takes its place.
    Crash(usize),
    /// The server dies.
    Kill,
    /// It is started again.
    Restart,
}

/// The state of the whole system.
///
/// Two states are one where they differ in nothing but the date: all that counts is how far moments lie apart. So time needs
/// no bound.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client>,
    /// Sorted.
    pub(crate) connections: Vec<Connection>,
    /// The highest fencing token that the server gave, and the highest that a hold began with.
    pub(crate) granted: u64,
    pub(crate) begun: u64,
    /// Promises that a step has broken, a bit for each.
    broken: u16,
}

impl System {
    pub(crate) fn new(protocol: &Protocol) -> Self {
        Self {
            server: Server::new(START),
            clients: protocol.clients.iter().map(|_| Client { now: START, phase: Phase::Idle }).collect(),
            connections: Vec::new(),
            granted: 0,
            begun: 0,
            broken: 0,
        }
    }

    /// The steps that are possible.
    pub(crate) fn actions(&self, protocol: &Protocol, actions: &mut Vec<Action>) {
        let up = self.server.down.is_none();
        actions.push(Action::Tick);
        for (number, client) in self.clients.iter().enumerate() {
            // Whoever cannot send because the bound is reached waits until there is room; behind a server that is down there is
            // nothing to wait for.
            let room = self.has_room(number, protocol);
            match &client.phase {
                Phase::Idle => {
                    if up && room {
                        actions.push(Action::Ask(number));
                    }
                }
                Phase::Asking { .. } => actions.extend([Action::TimeOut(number), Action::DropFuture(number)]),
                Phase::Holding { renewal, .. } => {
                    if renewal.is_some() {
                        actions.push(Action::TimeOut(number));
                    } else if up && room {
                        // One after the other: a release waits for the answer to a renewal, or until nobody waits for that.
                        actions.push(Action::Release(number));
                        if protocol.renewals && client.believes() {
                            actions.push(Action::Renew(number));
                        }
                    }
                    if room || !up {
                        actions.push(Action::DropGuard(number));
                    }
                }
                Phase::Releasing { .. } => {
                    if room || !up {
                        actions.push(Action::TimeOut(number));
                    }
                }
            }
            let has_connection =
                self.connections.iter().any(|connection| connection.client == number && !connection.cut);
            if protocol.crashes && (has_connection || client.phase.token().is_some()) {
                actions.push(Action::Crash(number));
            }
        }
        for (place, connection) in self.connections.iter().enumerate() {
            if let Some(first) = connection.requests.first.filter(|_| up) {
                actions.push(Action::CarryOut(place));
                if matches!(first, Request::Acquire(_)) {
                    actions.push(Action::Refuse(place));
                }
            }
            if connection.reply.is_some() {
                actions.push(Action::Deliver(place));
            }
            if connection.cut && connection.requests.first.is_some() {
                actions.push(Action::Lose(place));
            }
            // A clean-up goes on on another connection, beside what is left on this one.
            let room = connection.requests.first.is_none() || self.has_room(connection.client, protocol);
            if protocol.disconnects && up && !connection.cut && room {
                actions.push(Action::Disconnect(place));
            }
        }
        match (self.server.down, protocol.restart) {
            (_, Restart::Never) => {}
            (None, _) => actions.push(Action::Kill),
            (Some(Down { ticks }), _) => {
                if ticks >= longest_down(protocol) {
                    actions.push(Action::Restart);
                }
            }
        }
    }

    /// Takes the step `action`, which is possible.
    pub(crate) fn take(&mut self, action: Action, protocol: &Protocol) {
        match action {
            Action::Tick => self.tick(protocol),
            Action::Ask(client) => {
                let token = self.fresh_token(client, protocol);
                self.clients[client].phase = Phase::Asking { token, sent: self.clients[client].now };
                self.send(client, Request::Acquire(token), true);
            }
            Action::Renew(client) => {
                let now = self.clients[client].now;
                if let Phase::Holding { token, renewal, .. } = &mut self.clients[client].phase {
                    *renewal = Some(now);
                    let request = Request::Renew(*token);
                    self.send(client, request, true);
                }
            }
            Action::Release(client) => self.release(client),
            Action::DropGuard(client) => self.drop_guard(client, protocol),
            Action::TimeOut(client) | Action::DropFuture(client) => {
                let behind = self.connections.iter().position(|other| other.client == client && other.awaited);
                self.give_up(client, behind, action, protocol);
            }
            Action::CarryOut(place) => {
                let connection = &mut self.connections[place];
                let Some(request) = connection.requests.pop() else { return };
                let reply = self.server.carry_out(request, protocol);
                connection.reply = Some(reply).filter(|_| connection.awaited);
                if let Reply::Granted(fence) = reply {
                    self.promise(Promise::FencesRiseByGrant, fence > self.granted);
                    self.granted = self.granted.max(fence);
                }
            }
            Action::Refuse(place) => {
                let connection = &mut self.connections[place];
                let Some(request) = connection.requests.pop() else { return };
                let reply = self.server.refuse(request.token(), protocol);
                connection.reply = Some(reply).filter(|_| connection.awaited);
            }
            Action::Deliver(place) => {
                let connection = &mut self.connections[place];
                let (client, reply) = (connection.client, connection.reply);
                connection.forget();
                if let Some(reply) = reply {
                    self.deliver(client, reply, protocol);
                }
            }
            Action::Disconnect(place) => self.disconnect(place, protocol),
            Action::Lose(place) => self.connections[place].requests = Requests::default(),
            Action::Crash(client) => {
                for connection in self.connections.iter_mut().filter(|connection| connection.client == client) {
                    connection.forget();
                    connection.cut = true;
                }
                self.clients[client].phase = Phase::Idle;
            }
            Action::Kill => {
                self.server.down = Some(Down { ticks: 0 });
                // What was sent to a process that is gone reaches no other. What it had answered may still arrive.
                for connection in &mut self.connections {
                    connection.cut = true;
                    connection.requests = Requests::default();
                }
            }
            Action::Restart => {
                self.server.down = None;
                if matches!(protocol.restart, Restart::Empty { .. }) {
                    self.server.key = None;
                    self.server.counter = 0;
                }
            }
        }
        self.connections.retain(|connection| !connection.is_idle());
        if protocol.has(Rule::FreshToken) {
            for client in 0..self.clients.len() {
                self.rename_tokens(client);
            }
        }
        self.connections.sort_unstable();
    }

    fn promise(&mut self, promise: Promise, kept: bool) {
        self.broken |= u16::from(!kept) << promise as u16;
    }

    /// Whether no step so far has broken `promise`.
    pub(crate) fn has_kept(&self, promise: Promise) -> bool {
        self.broken & 1 << promise as u16 == 0
    }

    fn tick(&mut self, protocol: &Protocol) {
        self.server.tick(longest_down(protocol));
        for (client, tick) in self.clients.iter_mut().zip(&protocol.clients) {
            client.now = client.now.plus(*tick);
            // Older than the TTL is old enough: it comes too late in any case.
            let oldest = Moment::from_origin(client.now.since_origin().saturating_sub(TTL));
            match &mut client.phase {
                Phase::Asking { sent, .. } | Phase::Holding { renewal: Some(sent), .. } => *sent = oldest.max(*sent),
                _ => {}
            }
        }
    }

    /// An answer arrives at a client that waits for it.
    fn deliver(&mut self, client: usize, reply: Reply, protocol: &Protocol) {
        let now = self.clients[client].now;
        let held_before = self.clients[client].believes();
        match (&mut self.clients[client].phase, reply) {
            (&mut Phase::Asking { token, sent }, Reply::Granted(fence)) => {
                let counted = if protocol.has(Rule::LeaseFromBeforeTheRequest) { sent } else { now };
                self.begin(client, token, counted, Some(fence), protocol);
            }
            // Refused: not done, so there is nothing to clean up.
            (Phase::Asking { .. } | Phase::Releasing { .. }, _) => self.clients[client].phase = Phase::Idle,
            (Phase::Holding { lease, renewal, .. }, reply) => {
                let sent = renewal.take().expect("it waits for a renewal's answer");
                let sent = if protocol.has(Rule::RenewalFromBeforeTheRequest) { sent } else { now };
                let counted = counted(sent, protocol);
                match reply {
                    Reply::Done if !held_before && !protocol.has(Rule::LateRenewalDoesNotCount) => {
                        *lease = Lease::granted(counted, TTL);
                    }
                    Reply::Done => drop(lease.on(Event::Extended { sent: counted, ttl: TTL }, now)),
                    _ if !protocol.has(Rule::DenialEndsTheLease) => {}
                    _ => drop(lease.on(Event::NotOurs, now)),
                }
                let held = self.clients[client].believes();
                self.promise(Promise::LossIsNoticed, reply == Reply::Done || !held);
                self.promise(Promise::LossIsForGood, held_before || !held);
            }
            (Phase::Idle, _) => unreachable!("nobody waits for {reply:?}"),
        }
    }

    /// A lease that counts from `sent` begins, unless it is too short already to be of use.
    fn begin(&mut self, client: usize, token: Token, sent: Moment, fence: Option<u64>, protocol: &Protocol) {
        let lease = Lease::granted(counted(sent, protocol), TTL);
        self.clients[client].phase = Phase::Holding { token, lease, renewal: None };
        if lease.remaining(self.clients[client].now) < validity(TTL) / 2 {
            self.release(client);
        } else if let Some(fence) = fence {
            self.promise(Promise::FencesRiseByHold, fence > self.begun);
            self.begun = self.begun.max(fence);
        }
    }

    /// Gives the lock back and waits for the answer, if there is a server to ask.
    fn release(&mut self, client: usize) {
        let Client { now, phase } = &mut self.clients[client];
        if let Phase::Holding { token, lease, .. } = phase {
            let token = *token;
            lease.on(Event::Released, *now);
            if self.send(client, Request::Release(token), true) {
                self.clients[client].phase = Phase::Releasing { token };
            } else {
                self.clients[client].phase = Phase::Idle;
            }
        }
    }

    /// Gives the lock back in the background. A renewal that is under way stays so.
    fn drop_guard(&mut self, client: usize, protocol: &Protocol) {
        for connection in self.connections.iter_mut().filter(|connection| connection.client == client) {
            connection.forget();
        }
        let Client { now, phase } = &mut self.clients[client];
        if let Phase::Holding { token, lease, .. } = phase {
            let token = *token;
            lease.on(Event::Released, *now);
            *phase = Phase::Idle;
            if protocol.has(Rule::ReleaseOfADroppedGuard) {
                self.send(client, Request::Release(token), false);
            }
        }
    }

    /// A client stops waiting for an answer: what it asked for may have been done, or may yet be done, or neither. The clean-up
    /// goes behind it on the connection `behind`, or on one of its own if that is dead.
    fn give_up(&mut self, client: usize, behind: Option<usize>, why: Action, protocol: &Protocol) {
        if let Some(place) = behind {
            self.connections[place].forget();
        }
        let now = self.clients[client].now;
        match &mut self.clients[client].phase {
            Phase::Idle => {}
            &mut Phase::Asking { token, sent } => {
                if !protocol.has(Rule::UnknownAcquisitionIsNotHeld) {
                    return self.begin(client, token, sent, None, protocol);
                }
                self.clients[client].phase = Phase::Idle;
                let forgotten = match why {
                    Action::DropFuture(_) => !protocol.has(Rule::CleanUpOfADroppedRequest),
                    _ => !protocol.has(Rule::UnknownAcquisitionIsNotLost),
                };
                if !forgotten {
                    self.clean_up(token, behind, protocol);
                }
            }
            Phase::Holding { lease, renewal, .. } => {
                let sent = renewal.take().expect("it waits for a renewal's answer");
                // Unknown: the deadline decides.
                if !protocol.has(Rule::UnknownRenewalIsNotLost) {
                    lease.on(Event::NotOurs, now);
                }
                if !protocol.has(Rule::UnknownRenewalIsNotHeld) {
                    lease.on(Event::Extended { sent: counted(sent, protocol), ttl: TTL }, now);
                }
            }
            &mut Phase::Releasing { token } => {
                self.clients[client].phase = Phase::Idle;
                self.send(client, Request::Release(token), false);
            }
        }
    }

    fn clean_up(&mut self, token: Token, behind: Option<usize>, protocol: &Protocol) {
        let same = behind.filter(|_| protocol.has(Rule::CleanUpOnTheSameConnection));
        match same.map(|place| &mut self.connections[place]).filter(|connection| !connection.cut) {
            Some(connection) => connection.requests.push(Request::Release(token)),
            None => {
                self.send(token.client, Request::Release(token), false);
            }
        }
    }

    /// A connection breaks, and the client knows it.
    fn disconnect(&mut self, place: usize, protocol: &Protocol) {
        let connection = &mut self.connections[place];
        connection.cut = true;
        let client = connection.client;
        if connection.awaited {
            self.give_up(client, Some(place), Action::TimeOut(client), protocol);
        } else if let Some(Request::Release(token)) = connection.requests.iter().last() {
            // A clean-up whose connection died is repeated.
            self.send(client, Request::Release(token), false);
        }
    }

    /// Sends `request` on a connection of its own. `false`: there is no server to send it to.
    fn send(&mut self, client: usize, request: Request, awaited: bool) -> bool {
        let up = self.server.down.is_none();
        if up {
            self.connections.push(Connection::new(client, request, awaited));
        }
        up
    }

    fn has_room(&self, client: usize, protocol: &Protocol) -> bool {
        let own = self.connections.iter().filter(|connection| connection.client == client).count();
        own < protocol.connections_of_one && self.connections.len() < protocol.connections
    }

    /// A token that nobody knows: neither the key, nor the client, nor anything under way.
    fn fresh_token(&self, client: usize, protocol: &Protocol) -> Token {
        let known = |token: &Token| {
            self.server.key.is_some_and(|key| key.token == *token)
                || self.under_way().any(|request| request.token() == *token)
        };
        let mut tokens = (0..).take(TOKENS).map(|number| Token { client, number });
        let token = tokens.find(|token| !protocol.has(Rule::FreshToken) || !known(token));
        token.expect("there are more tokens than places where they are known")
    }

    /// Numbers the tokens of a client anew, by where they occur: which of two was drawn first makes no difference.
    fn rename_tokens(&mut self, client: usize) {
        // Where each number occurs: in the client itself, in the key, on which kinds of connections. Two that occur in the same
        // places can be exchanged, since a connection carries a single token.
        let mut places = [0_u64; TOKENS];
        let mut found = |token: Token, place: u64| {
            if token.client == client {
                places[usize::from(token.number)] += place;
            }
        };
        for connection in self.connections.iter().filter(|connection| connection.client == client) {
            if let Some(first) = connection.requests.first {
                found(first.token(), 1 << (4 * connection.kind()));
            }
        }
        if let Some(key) = self.server.key {
            found(key.token, 1 << 62);
        }
        if let Some(token) = self.clients[client].phase.token() {
            found(token, 1 << 63);
        }
        let mut order: [u8; TOKENS] = std::array::from_fn(|number| u8::try_from(number).unwrap_or(u8::MAX));
        order.sort_unstable_by_key(|number| Reverse(places[usize::from(*number)]));
        if order.is_sorted() {
            return;
        }
        let mut names = [0; TOKENS];
        for (name, number) in (0..).zip(order) {
            names[usize::from(number)] = name;
        }
        let rename = |token: &mut Token| {
            if token.client == client {
                token.number = names[usize::from(token.number)];
            }
        };
        for connection in &mut self.connections {
            let Requests { first, second } = &mut connection.requests;
            first.iter_mut().chain(second).for_each(|request| rename(request.token_mut()));
        }
        if let Some(key) = &mut self.server.key {
            rename(&mut key.token);
        }
        match &mut self.clients[client].phase {
            Phase::Idle => {}
            Phase::Asking { token, .. } | Phase::Holding { token, .. } | Phase::Releasing { token } => rename(token),
        }
    }

    /// The requests that the server has not read yet.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = Request> {
        self.connections.iter().flat_map(|connection| connection.requests.iter())
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.view(|number| numbers.push(number));
        numbers
    }

    /// Everything that matters for what can happen from here on, as numbers.
    fn view(&self, mut put: impl FnMut(u64)) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let name = |token: Token| (token.client as u64) << 8 | u64::from(token.number);
        // Of the fencing tokens only the order matters, and where in it the server's clock stands, and 0: the counter of a server
        // that lost its data.
        let replies = self.connections.iter().filter_map(|connection| match connection.reply {
            Some(Reply::Granted(fence)) => Some(fence),
            _ => None,
        });
        let fences =
            [0, self.server.counter, self.server.micros(), self.granted, self.begun].into_iter().chain(replies);
        put(fences.clone().count() as u64);
        for fence in fences.clone() {
            put(fences.clone().filter(|other| *other < fence).count() as u64);
        }
        put(u64::from(self.broken));
        put(self.server.down.map_or(u64::MAX, |down| u64::from(down.ticks)));
        match self.server.key {
            Some(key) => {
                put(name(key.token));
                put(key.expires.map_or(u64::MAX, |expires| nanos(expires.since(self.server.now))));
            }
            None => put(u64::MAX),
        }
        for client in &self.clients {
            match (&client.phase, client.standing()) {
                (Phase::Idle, _) => put(0),
                (Phase::Asking { token, sent }, _) => {
                    put(1);
                    put(name(*token));
                    put(nanos(client.now.since(*sent)));
                }
                (Phase::Releasing { token }, _) => {
                    put(2);
                    put(name(*token));
                }
                (Phase::Holding { token, renewal, .. }, standing) => {
                    put(3);
                    put(name(*token));
                    put(renewal.map_or(u64::MAX, |sent| nanos(client.now.since(sent))));
                    match standing {
                        Some(Standing::Held { until }) => put(nanos(until.since(client.now))),
                        lost => put(if lost == Some(Standing::Lost(LostCause::Gone)) { u64::MAX } else { 0 }),
                    }
                }
            }
        }
        for connection in &self.connections {
            put(connection.client as u64);
            put(u64::from(connection.awaited) << 1 | u64::from(connection.cut));
            put(match connection.reply {
                None => 0,
                Some(Reply::Granted(_)) => 1,
                Some(Reply::Busy) => 2,
                Some(Reply::Refused) => 3,
                Some(Reply::Done) => 4,
                Some(Reply::NotOurs) => 5,
            });
            for request in [connection.requests.first, connection.requests.second] {
                match request {
                    None => put(0),
                    Some(Request::Acquire(token)) => put(1 << 32 | name(token)),
                    Some(Request::Renew(token)) => put(2 << 32 | name(token)),
                    Some(Request::Release(token)) => put(3 << 32 | name(token)),
                }
            }
        }
    }
}

/// From when a lease of a request sent at `sent` counts.
fn counted(sent: Moment, protocol: &Protocol) -> Moment {
    // What `Lease` takes off for the drift is put on again.
    if protocol.has(Rule::DriftMargin) { sent } else { sent.plus(drift(TTL)) }
}

/// How many ticks a server is down at least. More make no difference.
fn longest_down(protocol: &Protocol) -> u32 {
    match protocol.restart {
        Restart::Never | Restart::WithData => 1,
        Restart::Empty { after } => after,
    }
}

impl Hash for System {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view(|number| state.write_u64(number));
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
    }
}
