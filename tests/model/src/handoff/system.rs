//! Processes and the server together, and every step that they can take.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use lock_runtime::__model::{Event, Lease, Standing, fits, validity};
use lock_runtime::Moment;

use super::configuration::{Caller, Handoff, LONG, Promise, Rule};
use super::few::Few;
use super::process::{Fences, Hold, Offer, Process, Sent, Turn};
use super::server::{FOREIGN, PROCESSES, Reply, Request, Server};
use crate::network::Token;

/// Where all clocks start. What is older than a TTL still lies behind the origin.
const START: Moment = Moment::from_origin(Duration::from_secs(1));

/// How many tokens of one process are known somewhere at most.
const TOKENS: usize = 16;

/// One step. Processes and their callers are named by their numbers, notes by their place in a sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time passes. All clocks are the same here.
    Tick,
    /// A caller of a process wants the lock, and lines up in it.
    LineUp(usize, usize),
    /// Whoever has the turn in a process is polled.
    Step(usize),
    /// A caller does not wait any longer.
    GiveUp(usize, usize),
    /// An answer is not waited for any longer.
    TimeOut(usize),
    /// A caller has done with the lock: the next of its process may have it, or it is given back.
    Release(usize, usize),
    /// A caller gives the lock back although the next of its process could make use of it: it has gone from hand to hand for
    /// long enough.
    GiveBack(usize, usize),
    /// An offer that was not accepted is taken back.
    Revoke(usize),
    /// Whoever is offered a lease is polled no more.
    Freeze(usize),
    /// The server reads the next request of a process.
    CarryOut(usize),
    /// An answer arrives.
    Deliver(usize),
    /// A note arrives.
    Note(usize),
    /// A note arrives, and will arrive again.
    RepeatedNote(usize),
    /// A note is lost.
    LoseNote(usize),
    /// A connection breaks.
    Disconnect(usize),
    /// The server reads what was sent on a broken connection.
    Stray(usize),
    /// What was sent on a broken connection will not arrive any more.
    LoseStrays(usize),
    /// A process dies.
    Die(usize),
    /// A process is stopped.
    Stop(usize),
    /// A program that knows nothing of lines takes the key,
    ForeignTake,
    /// and deletes it.
    ForeignDelete,
}

/// The state of the whole system. As in the model of the leases, the date is no part of it.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) server: Server,
    pub(crate) processes: Vec<Process>,
    /// The highest fencing token that a hold began with.
    pub(crate) begun: u64,
    /// How many connections broke and processes ended, where that counts.
    faults: u8,
    /// Promises that a step has broken, a bit for each.
    broken: u16,
}

impl System {
    pub(crate) fn new(handoff: &Handoff) -> Self {
        assert!(handoff.processes.len() <= PROCESSES, "there is room for {PROCESSES} processes");
        Self {
            server: Server::new(START),
            processes: handoff.processes.iter().map(|_| Process::new()).collect(),
            begun: 0,
            faults: 0,
            broken: 0,
        }
    }

    /// The steps that are possible.
    pub(crate) fn actions(&self, handoff: &Handoff, actions: &mut Vec<Action>) {
        if handoff.time {
            actions.push(Action::Tick);
        }
        for number in 0..self.processes.len() {
            self.actions_of(number, handoff, actions);
        }
        for (place, note) in self.server.notes.iter().enumerate() {
            // A note that is answered needs room for that.
            let process = &self.processes[note.client];
            if process.knows(note) || process.requests.len() < handoff.room {
                actions.push(Action::Note(place));
                if handoff.repeats_notes {
                    actions.push(Action::RepeatedNote(place));
                }
            }
            if handoff.loses_notes {
                actions.push(Action::LoseNote(place));
            }
        }
        if handoff.foreign {
            match self.server.key {
                None => actions.push(Action::ForeignTake),
                Some(key) if key.token == FOREIGN => actions.push(Action::ForeignDelete),
                Some(_) => {}
            }
        }
    }

    fn actions_of(&self, number: usize, handoff: &Handoff, actions: &mut Vec<Action>) {
        let process = &self.processes[number];
        let room = process.requests.len() < handoff.room;
        if process.strays.first().is_some() {
            actions.push(Action::LoseStrays(number));
            if self.server.has_room(handoff) {
                actions.push(Action::Stray(number));
            }
        }
        if process.gone {
            return;
        }
        for caller in 0..handoff.processes[number].len() {
            let wants = handoff.rounds.is_none_or(|rounds| process.rounds[caller] < rounds);
            if wants && process.is_idle(caller) && (room || !process.line.is_empty()) {
                actions.push(Action::LineUp(number, caller));
            }
            let cornered = process.frozen[caller] && !process.is_waiting(caller);
            if handoff.impatience && (process.is_waiting(caller) || cornered) {
                actions.push(Action::GiveUp(number, caller));
            }
            if process.holds[caller].is_some() {
                actions.push(Action::Release(number, caller));
                if matches!(process.turn, Turn::Here) && process.offer.is_none() {
                    actions.push(Action::GiveBack(number, caller));
                }
            }
        }
        if self.may_step(number, handoff) {
            actions.push(Action::Step(number));
        }
        if handoff.impatience && matches!(process.turn, Turn::Trying { .. } | Turn::Asking | Turn::Confirming { .. }) {
            actions.push(Action::TimeOut(number));
        }
        if process.offer.is_some() {
            if handoff.has(Rule::OffersAreTakenBack) {
                actions.push(Action::Revoke(number));
            }
            if handoff.freezes && process.line.first().is_some_and(|first| !process.frozen[first]) {
                actions.push(Action::Freeze(number));
            }
        }
        if process.requests.first().is_some() && self.server.has_room(handoff) {
            actions.push(Action::CarryOut(number));
        }
        if process.reply.is_some() {
            actions.push(Action::Deliver(number));
        }
        // What it sends on a new connection is not mixed with the strays of two.
        if process.strays.is_empty() && handoff.faults.is_none_or(|faults| self.faults < faults) {
            if handoff.disconnects && (process.listens || !process.is_quiet()) {
                actions.push(Action::Disconnect(number));
            }
            if handoff.deaths {
                actions.push(Action::Die(number));
            }
            if handoff.stops {
                actions.push(Action::Stop(number));
            }
        }
    }

    /// Whether whoever has the turn in a process has something to do.
    pub(crate) fn may_step(&self, number: usize, handoff: &Handoff) -> bool {
        let process = &self.processes[number];
        if process.gone || process.line.first().is_none_or(|first| process.frozen[first]) {
            return false;
        }
        if matches!(process.turn, Turn::Here) && process.offer.is_some() {
            return true;
        }
        let wakes = match process.turn {
            Turn::Ready => true,
            // Who has no place in line, or has been called, does not wait for the next look.
            Turn::Paused => process.place.is_none() || process.bell || handoff.polls(),
            Turn::Here => !process.holds_here(self.server.now),
            Turn::Trying { .. } | Turn::Asking | Turn::Confirming { .. } => false,
        };
        wakes && (process.requests.len() < handoff.room || process.holds_here(self.server.now))
    }

    /// Takes the step `action`, which is possible.
    pub(crate) fn take(&mut self, action: Action, handoff: &Handoff) {
        self.act(action, handoff);
        if handoff.is_symmetric() {
            self.sort_processes();
        }
        if handoff.has(Rule::FreshToken) {
            self.rename_tokens();
        }
        self.server.notes.sort_unstable();
    }

    /// As [`take`](Self::take), and leaves the names of tokens as they are.
    pub(crate) fn act(&mut self, action: Action, handoff: &Handoff) {
        match action {
            Action::Tick => self.tick(),
            Action::LineUp(number, caller) => {
                let process = &mut self.processes[number];
                let is_first = process.line.is_empty();
                process.line.push(caller);
                if is_first {
                    process.turn = Turn::Ready;
                    self.step(number, handoff);
                }
            }
            Action::Step(number) => self.step(number, handoff),
            Action::GiveUp(number, caller) => self.give_up(number, caller, handoff),
            Action::TimeOut(number) => self.time_out(number),
            Action::Release(number, caller) => self.release(number, caller, true, handoff),
            Action::GiveBack(number, caller) => self.release(number, caller, false, handoff),
            Action::Revoke(number) => self.revoke(number, handoff),
            Action::Freeze(number) => {
                let process = &mut self.processes[number];
                if let Some(first) = process.line.first() {
                    process.frozen[first] = true;
                }
            }
            Action::CarryOut(number) => {
                let Some(Sent { request, awaited }) = self.processes[number].requests.pop() else { return };
                let reply = self.carry_out(number, request, handoff);
                if awaited {
                    self.processes[number].reply = Some(reply);
                }
            }
            Action::Deliver(number) => {
                if let Some(reply) = self.processes[number].reply.take() {
                    self.deliver(number, reply, handoff);
                }
            }
            Action::Note(place) => {
                if let Some(token) = self.server.notes.remove(place) {
                    self.note(token, handoff);
                }
            }
            Action::RepeatedNote(place) => {
                let token = self.server.notes.iter().nth(place);
                if let Some(token) = token {
                    self.note(token, handoff);
                }
            }
            Action::LoseNote(place) => drop(self.server.notes.remove(place)),
            Action::Disconnect(number) => self.disconnect(number, handoff),
            Action::Stray(number) => {
                if let Some(request) = self.processes[number].strays.pop() {
                    self.carry_out(number, request, handoff);
                }
            }
            Action::LoseStrays(number) => self.processes[number].strays = Few::new(),
            Action::Die(number) => {
                self.end(number, handoff);
                self.server.listens[number] = false;
            }
            Action::Stop(number) => self.end(number, handoff),
            Action::ForeignTake => self.server.set(FOREIGN, LONG),
            Action::ForeignDelete => {
                self.server.key = None;
                self.server.lapsed = true;
            }
        }
    }

    fn promise(&mut self, promise: Promise, kept: bool) {
        self.broken |= u16::from(!kept) << promise as u16;
    }

    /// Whether no step so far has broken `promise`.
    pub(crate) fn has_kept(&self, promise: Promise) -> bool {
        self.broken & 1 << promise as u16 == 0
    }

    /// How many callers believe that they have the lock.
    pub(crate) fn believers(&self) -> impl Iterator<Item = &Hold> {
        let now = self.server.now;
        self.processes.iter().flat_map(|process| process.holds.iter().flatten()).filter(move |hold| hold.believes(now))
    }

    /// Whether somebody knows of `token`.
    pub(crate) fn knows(&self, token: Token) -> bool {
        token == FOREIGN || self.processes[token.client].knows(token)
    }

    fn tick(&mut self) {
        self.server.tick();
        let now = self.server.now;
        // Older than the TTL is old enough: it comes too late in any case.
        let oldest = Moment::from_origin(now.since_origin().saturating_sub(LONG));
        for process in &mut self.processes {
            if let Turn::Trying { sent, .. } | Turn::Confirming { sent } = &mut process.turn {
                *sent = oldest.max(*sent);
            }
        }
    }

    fn carry_out(&mut self, number: usize, request: Request, handoff: &Handoff) -> Reply {
        let (reply, broken) = self.server.carry_out(number, request, handoff);
        // Nobody reads those.
        self.server.notes.retain(|note| !self.processes[note.client].gone);
        if let Some(broken) = broken {
            self.promise(broken, false);
        }
        reply
    }

    /// `while_held_here`, then `ask_store`: one poll of whoever has the turn.
    fn step(&mut self, number: usize, handoff: &Handoff) {
        if self.processes[number].offer.is_some() {
            return self.accept(number, handoff);
        }
        let now = self.server.now;
        let process = &mut self.processes[number];
        if process.holds_here(now) {
            process.turn = Turn::Here;
            return;
        }
        let Some(first) = process.line.first() else { return };
        match process.place {
            None => {
                let token = self.fresh_token(number, handoff);
                let process = &mut self.processes[number];
                process.turn = Turn::Trying { token, sent: now };
                process.send(Request::Try(token, handoff.processes[number][first]), true);
            }
            // A call mostly means that the lock was granted: no need to ask first.
            Some(token) if process.bell => self.confirm(number, token, handoff),
            Some(token) => self.ask(number, token, handoff),
        }
    }

    fn ask(&mut self, number: usize, token: Token, handoff: &Handoff) {
        let process = &mut self.processes[number];
        process.bell = false;
        process.turn = Turn::Asking;
        let listens = std::mem::replace(&mut process.listens, true);
        if !listens && handoff.has(Rule::ListensFirst) {
            process.send(Request::Listen, false);
        }
        process.send(Request::Ask(token), true);
        if !listens && !handoff.has(Rule::ListensFirst) {
            process.send(Request::Listen, false);
        }
    }

    fn confirm(&mut self, number: usize, token: Token, handoff: &Handoff) {
        let sent = self.server.now;
        let process = &mut self.processes[number];
        process.bell = false;
        let Some(first) = process.line.first() else { return };
        let caller = handoff.processes[number][first];
        if !handoff.has(Rule::Confirm) {
            process.place = None;
            return self.won(number, token, sent, None, handoff);
        }
        process.turn = Turn::Confirming { sent };
        process.send(Request::Confirm(token, caller), true);
    }

    /// An answer arrives for whoever has the turn.
    fn deliver(&mut self, number: usize, reply: Reply, handoff: &Handoff) {
        let now = self.server.now;
        let place = self.processes[number].place;
        match (self.processes[number].turn, reply, place) {
            (Turn::Trying { token, sent }, Reply::Ours(fence), _) => {
                self.won(number, token, sent, Some(fence), handoff);
            }
            (Turn::Trying { .. }, Reply::NotOurs, _) => {
                let token = self.fresh_token(number, handoff);
                self.processes[number].place = Some(token);
                self.ask(number, token, handoff);
            }
            (Turn::Asking, Reply::Ours(_), Some(token)) => self.confirm(number, token, handoff),
            (Turn::Asking, Reply::NotOurs, _) => self.processes[number].turn = Turn::Paused,
            (Turn::Confirming { sent }, Reply::Ours(fence), Some(token)) => {
                self.processes[number].place = None;
                self.processes[number].bell = false;
                let sent = if handoff.has(Rule::LeaseFromBeforeTheConfirmation) { sent } else { now };
                self.won(number, token, sent, Some(fence), handoff);
            }
            (Turn::Confirming { .. }, Reply::NotOurs, Some(token)) => self.ask(number, token, handoff),
            (turn, ..) => unreachable!("nobody waits for {reply:?} at {turn:?}"),
        }
    }

    /// A lease that counts from `sent` begins, unless it is too short already to be of use.
    fn won(&mut self, number: usize, token: Token, sent: Moment, fence: Option<u64>, handoff: &Handoff) {
        let now = self.server.now;
        let process = &mut self.processes[number];
        let Some(first) = process.line.first() else { return };
        let caller = handoff.processes[number][first];
        let lease = Lease::granted(sent, caller.ttl);
        if lease.remaining(now) < validity(caller.ttl) / 2 {
            process.turn = Turn::Ready;
            process.send(Request::Release(token), false);
            return;
        }
        let fence = fence.filter(|_| caller.fenced);
        self.begin(number, first, token, lease, fence.map(Fences::behind).unwrap_or_default(), handoff);
        if let Some(fence) = fence {
            self.begin_with(fence);
        }
        self.pass_on(number, handoff);
    }

    /// Somebody has the lock with the token `fence`.
    fn begin_with(&mut self, fence: u64) {
        self.promise(Promise::FencesRise, fence > self.begun);
        self.begun = self.begun.max(fence);
    }

    fn begin(&mut self, number: usize, caller: usize, token: Token, lease: Lease, fences: Fences, handoff: &Handoff) {
        let process = &mut self.processes[number];
        process.rounds[caller] += u8::from(handoff.rounds.is_some());
        process.holds.iter_mut().flatten().for_each(|hold| hold.latest = false);
        process.holds[caller] = Some(Hold { token, lease, fences, latest: true, stale: false });
    }

    /// Hands the turn to the next in line, with the place in the server's line, and with what is on offer if that suits.
    fn pass_on(&mut self, number: usize, handoff: &Handoff) {
        let now = self.server.now;
        let process = &mut self.processes[number];
        process.line.pop();
        process.bell = false;
        process.turn = Turn::Ready;
        let next = process.line.first().map(|next| handoff.processes[number][next]);
        if let Some(offer) = process.offer {
            if next.is_some_and(|next| suits(offer.until, offer.fences, now, next, handoff)) {
                process.turn = Turn::Here;
            } else {
                process.offer = None;
                process.send(Request::Release(offer.token), false);
            }
        }
        if next.is_none()
            && let Some(token) = process.place.take()
            && handoff.has(Rule::CancelOfADroppedFuture)
        {
            process.send(Request::Cancel(token), false);
        }
    }

    /// Takes over what is on offer, if it has still enough of its time.
    fn accept(&mut self, number: usize, handoff: &Handoff) {
        let now = self.server.now;
        let process = &mut self.processes[number];
        let (Some(first), Some(offer)) = (process.line.first(), process.offer.take()) else { return };
        let Offer { token, until, mut fences } = offer;
        let caller = handoff.processes[number][first];
        let within = handoff.has(Rule::HandOverWithinTheDeadline);
        if within && !fits(until.since(now), caller.ttl) {
            process.turn = Turn::Ready;
            process.send(Request::Release(token), false);
            return;
        }
        let until = until.min(now.plus(validity(caller.ttl)));
        let lease = if within { Lease::handed_over(until) } else { Lease::granted(now, caller.ttl) };
        let fence = caller.fenced.then(|| fences.take(handoff));
        self.begin(number, first, token, lease, fences, handoff);
        if let Some(fence) = fence {
            self.begin_with(fence);
        }
        self.pass_on(number, handoff);
    }

    /// Takes the turn from whoever has not accepted what it was offered, and offers that to the next.
    fn revoke(&mut self, number: usize, handoff: &Handoff) {
        let process = &mut self.processes[number];
        let (Some(first), Some(offer)) = (process.line.first(), process.offer) else { return };
        self.pass_on(number, handoff);
        let process = &mut self.processes[number];
        if !handoff.has(Rule::LapsedOffersAreGone) && !process.frozen[first] {
            let lease = Lease::handed_over(offer.until);
            process.holds[first] =
                Some(Hold { token: offer.token, lease, fences: offer.fences, latest: false, stale: false });
        } else if !process.frozen[first] {
            // When it is polled, it lines up anew.
            process.line.push(first);
        }
    }

    fn give_up(&mut self, number: usize, caller: usize, handoff: &Handoff) {
        let process = &mut self.processes[number];
        process.frozen[caller] = false;
        if process.line.first() != Some(caller) {
            process.line.retain(|other| other != caller);
            return;
        }
        self.time_out(number);
        self.pass_on(number, handoff);
    }

    /// What was asked for may have been done, or may yet be done, or neither.
    fn time_out(&mut self, number: usize) {
        let process = &mut self.processes[number];
        process.forget();
        match process.turn {
            Turn::Trying { token, .. } => {
                process.turn = Turn::Ready;
                process.send(Request::Release(token), false);
            }
            Turn::Asking | Turn::Confirming { .. } => process.turn = Turn::Ready,
            Turn::Ready | Turn::Paused | Turn::Here => {}
        }
    }

    /// A guard is dropped: its lease goes to the next in line of the process, if that can make use of it, or back.
    fn release(&mut self, number: usize, caller: usize, hands_over: bool, handoff: &Handoff) {
        let now = self.server.now;
        let process = &mut self.processes[number];
        let Some(mut hold) = process.holds[caller].take() else { return };
        let before = hold.lease.on(Event::Tick, now);
        hold.lease.on(Event::Released, now);
        // Only to somebody who is not asking the server.
        let next = process.line.first().filter(|_| matches!(process.turn, Turn::Here) && process.offer.is_none());
        let next =
            next.map(|next| handoff.processes[number][next]).filter(|_| hands_over && hold.latest && !hold.stale);
        let until = match before {
            Standing::Held { until } => Some(until),
            Standing::Lost(_) if handoff.has(Rule::HandOverWithinTheDeadline) => None,
            Standing::Lost(_) => Some(now),
        };
        match (next, until) {
            (Some(next), Some(until)) if suits(until, hold.fences, now, next, handoff) => {
                process.offer = Some(Offer { token: hold.token, until, fences: hold.fences });
                if !handoff.has(Rule::StaleGuardsDoNothing) {
                    process.holds[caller] = Some(Hold { latest: false, stale: true, ..hold });
                }
            }
            (_, None) if !handoff.has(Rule::LostIsGivenBack) => {}
            _ => process.send(Request::Release(hold.token), false),
        }
    }

    fn note(&mut self, token: Token, handoff: &Handoff) {
        let process = &mut self.processes[token.client];
        if process.place == Some(token) {
            process.bell = true;
        } else if !process.knows(token) && handoff.has(Rule::GhostsAreLaid) {
            process.send(Request::Release(token), false);
        }
    }

    fn disconnect(&mut self, number: usize, handoff: &Handoff) {
        self.lose_connection(number, handoff);
        self.server.listens[number] = false;
        let process = &mut self.processes[number];
        // What gives something back is repeated on another connection.
        for request in process.strays.iter().filter(|request| request.gives_back()) {
            process.requests.push(Sent { request, awaited: false });
        }
        if !handoff.strays {
            process.strays = Few::new();
        }
        process.listens = false;
        self.time_out(number);
        let process = &mut self.processes[number];
        if process.place.is_some() && handoff.has(Rule::BrokenConnectionCalls) {
            process.bell = true;
        }
    }

    /// A process does nothing any more.
    fn end(&mut self, number: usize, handoff: &Handoff) {
        self.lose_connection(number, handoff);
        let strays = self.processes[number].strays;
        self.processes[number] = Process { gone: true, strays, ..Process::new() };
    }

    /// What was sent may be carried out later, and what was answered is lost.
    fn lose_connection(&mut self, number: usize, handoff: &Handoff) {
        self.faults += u8::from(handoff.faults.is_some());
        let process = &mut self.processes[number];
        let sent = std::mem::replace(&mut process.requests, Few::new());
        // Nobody listens on a connection that is gone.
        for Sent { request, .. } in sent.iter().filter(|sent| sent.request != Request::Listen) {
            process.strays.push(request);
        }
        process.reply = None;
        self.server.notes.retain(|note| note.client != number);
    }

    /// A token that nobody knows.
    fn fresh_token(&mut self, number: usize, handoff: &Handoff) -> Token {
        let mut known = [false; TOKENS];
        for token in self.tokens_mut().filter(|token| token.client == number) {
            known[usize::from(token.number)] = handoff.has(Rule::FreshToken);
        }
        let place = known.iter().position(|known| !known);
        let fresh = place.expect("there are more tokens than places where they are known");
        Token { client: number, number: u8::try_from(fresh).unwrap_or(u8::MAX) }
    }

    fn tokens_mut(&mut self) -> impl Iterator<Item = &mut Token> {
        let Server { key, line, notes, .. } = &mut self.server;
        let processes = self.processes.iter_mut().flat_map(Process::tokens_mut);
        let key = key.as_mut().map(|key| &mut key.token);
        let tokens = key.into_iter().chain(line.iter_mut()).chain(processes).chain(notes.iter_mut());
        tokens.filter(|token| token.client < PROCESSES)
    }

    /// Numbers the tokens of each process anew, by where they occur first: which of two was drawn first makes no difference.
    fn rename_tokens(&mut self) {
        let mut names = [[None; TOKENS]; PROCESSES];
        let mut count = [0_u8; PROCESSES];
        for token in self.tokens_mut() {
            let Token { client, number } = token;
            let name = names[*client][usize::from(*number)].get_or_insert_with(|| {
                count[*client] += 1;
                count[*client] - 1
            });
            *number = *name;
        }
    }

    /// Brings processes that are alike into an order: which of them it is that something happens to makes no difference.
    fn sort_processes(&mut self) {
        let key = self.server.key.map_or(FOREIGN, |key| key.token);
        let line = |number| {
            let own = self.server.line.iter().map(|token| token.client == number);
            own.fold(0, |line, own| line << 1 | u64::from(own))
        };
        let features = self.processes.iter().enumerate().map(|(number, process)| {
            let mut features = vec![line(number), u64::from(key.client == number)];
            self.view_of(process, self.server.listens[number], |number| features.push(number));
            features
        });
        let features: Vec<_> = features.collect();
        if features.is_sorted() {
            return;
        }
        let mut order: [usize; PROCESSES] = std::array::from_fn(|number| number);
        let order = &mut order[..features.len()];
        order.sort_by_key(|number| &features[*number]);
        let before = self.clone();
        let mut names = [0; PROCESSES];
        for (name, number) in order.iter().copied().enumerate() {
            self.processes[name].clone_from(&before.processes[number]);
            self.server.listens[name] = before.server.listens[number];
            names[number] = name;
        }
        self.tokens_mut().for_each(|token| token.client = names[token.client]);
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(64);
        self.view(|number| numbers.push(number));
        numbers
    }

    /// Everything that matters for what can happen from here on, as numbers.
    fn view(&self, mut put: impl FnMut(u64)) {
        let Server { now, key, lapsed, counter, line, listens, notes } = &self.server;
        // Of the fencing tokens only the order matters.
        let replies = self.processes.iter().filter_map(|process| match process.reply {
            Some(Reply::Ours(fence)) => Some(fence),
            _ => None,
        });
        let kept = self.processes.iter().flat_map(|process| {
            let held = process.holds.iter().map(|hold| hold.map(|hold| hold.fences));
            held.chain([process.offer.map(|offer| offer.fences)]).map(Option::unwrap_or_default)
        });
        let fences = [*counter, self.begun].into_iter().chain(kept.clone().map(|fences| fences.next)).chain(replies);
        kept.for_each(|fences| put(fences.left));
        for fence in fences.clone() {
            put(if fence == 0 { u64::MAX } else { fences.clone().filter(|other| *other < fence).count() as u64 });
        }
        put(u64::from(self.faults) << 32 | u64::from(self.broken) << 1 | u64::from(*lapsed));
        put(key.map_or(u64::MAX, |key| whole_name(key.token)));
        put(key.and_then(|key| key.expires).map_or(0, |expires| nanos(expires.since(*now))));
        put(line.len() as u64);
        line.iter().for_each(|token| put(whole_name(token)));
        put(notes.len() as u64);
        notes.iter().for_each(|token| put(whole_name(token)));
        for (process, listens) in self.processes.iter().zip(listens) {
            self.view_of(process, *listens, &mut put);
        }
    }

    /// What of this is one process's. All its tokens are its own.
    fn view_of(&self, process: &Process, listens: bool, mut put: impl FnMut(u64)) {
        let now = self.server.now;
        let flags = [process.gone, process.listens, process.bell, listens, process.frozen[0], process.frozen[1]];
        let flags = flags.into_iter().fold(0, |bits, flag| bits << 1 | u64::from(flag));
        let rounds = process.rounds.into_iter().fold(0, |rounds, of_one| rounds << 8 | u64::from(of_one));
        let line = process.line.iter().fold(0, |line, caller| line << 8 | (caller as u64 + 1));
        put(flags << 48 | rounds << 24 | line);
        put(process.requests.len() as u64);
        process.requests.iter().for_each(|sent| put(number_of(sent.request) << 1 | u64::from(sent.awaited)));
        put(process.strays.len() as u64);
        process.strays.iter().for_each(|stray| put(number_of(stray)));
        put(match process.reply {
            None => 0,
            Some(Reply::NotOurs) => 1,
            Some(Reply::Ours(_)) => 2,
        });
        let (turn, sent) = match process.turn {
            Turn::Ready => (0, now),
            Turn::Paused => (1, now),
            Turn::Here => (2, now),
            Turn::Asking => (3, now),
            Turn::Trying { token, sent } => (4 << 8 | name(token), sent),
            Turn::Confirming { sent } => (5, sent),
        };
        put(turn);
        put(nanos(now.since(sent)));
        put(process.place.map_or(u64::MAX, name));
        put(process.offer.map_or(u64::MAX, |offer| name(offer.token)));
        put(process.offer.map_or(0, |offer| nanos(offer.until.since(now))));
        for hold in &process.holds {
            put(hold
                .map_or(u64::MAX, |hold| name(hold.token) << 2 | u64::from(hold.latest) << 1 | u64::from(hold.stale)));
            put(match hold.map(|hold| hold.standing(now)) {
                Some(Standing::Held { until }) => nanos(until.since(now)),
                Some(Standing::Lost(_)) | None => 0,
            });
        }
    }
}

/// A token among those of its process.
fn name(token: Token) -> u64 {
    u64::from(token.number)
}

/// A token among all.
fn whole_name(token: Token) -> u64 {
    (token.client as u64) << 8 | name(token)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn number_of(request: Request) -> u64 {
    match request {
        Request::Try(token, caller) => 1 << 32 | caller.number() << 16 | name(token),
        Request::Listen => 2 << 32,
        Request::Ask(token) => 3 << 32 | name(token),
        Request::Confirm(token, caller) => 4 << 32 | caller.number() << 16 | name(token),
        Request::Release(token) => 5 << 32 | name(token),
        Request::Cancel(token) => 6 << 32 | name(token),
    }
}

/// Whether a lease until `until`, with these fencing tokens, may go to `next`.
fn suits(until: Moment, fences: Fences, now: Moment, next: Caller, handoff: &Handoff) -> bool {
    let any = !next.fenced || fences.left > 0 || !handoff.has(Rule::FencedTakeWhatIsReserved);
    any && (fits(until.since(now), next.ttl) || !handoff.has(Rule::HandOverWithinTheDeadline))
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
