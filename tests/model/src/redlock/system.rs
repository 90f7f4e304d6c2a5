//! Clients and nodes together, and every step that they can take.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use lock_runtime::__model::{Event, Lease};
use lock_runtime::Moment;

use super::action::Action;
use super::client::{Hold, Phase, Renewal};
use super::configuration::{CLIENTS, NODES, Promise, QUORUM, Redlock, Rule, TICK, TTL};
use super::node::{Answer, CLOCK_TICK, Kind, Link, Node, Request};

/// Where all clocks start.
const START: Moment = Moment::from_origin(Duration::from_secs(1));

/// The state of the whole system. As in the other models, the date is no part of it.
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) now: Moment,
    /// The clock of most nodes, as a fencing token has it.
    pub(crate) time: u32,
    pub(crate) nodes: [Node; NODES],
    pub(crate) clients: [Phase; CLIENTS],
    /// How many acquisitions and faults there were.
    pub(crate) attempts: u8,
    pub(crate) refusals: u8,
    pub(crate) breaks: u8,
    pub(crate) failures: u8,
    pub(crate) losses: u8,
    /// How many nodes were taken again, where that counts.
    pub(crate) rejoins: u8,
    /// The highest fencing token that a hold began with.
    pub(crate) begun: u32,
    /// Promises that a step has broken, a bit for each.
    pub(crate) broken: u16,
    /// What sets it apart from other states.
    pub(crate) view: Vec<u64>,
}

impl System {
    pub(crate) fn new(redlock: &Redlock) -> Self {
        assert!(redlock.clients <= CLIENTS, "there is room for {CLIENTS} clients");
        let mut nodes = [Node::new(false); NODES];
        nodes[0].ahead = redlock.skew > 0;
        let mut system = Self {
            now: START,
            time: CLOCK_TICK,
            nodes,
            clients: [Phase::Idle; CLIENTS],
            attempts: 0,
            refusals: 0,
            breaks: 0,
            failures: 0,
            losses: 0,
            rejoins: 0,
            begun: 0,
            broken: 0,
            view: Vec::new(),
        };
        system.make_canonical(redlock);
        system
    }

    /// The fencing tokens with which a client can win, by which of the answers it has seen: each is the highest of a quorum.
    pub(crate) fn quorum_fences(&self, client: usize, redlock: &Redlock) -> [Option<u32>; NODES] {
        let mut fences = self.nodes.each_ref().map(|node| match node.links[client].answer {
            Some(Answer::Yes(fence)) => Some(fence),
            Some(Answer::No) | None => None,
        });
        // Those that are there come last.
        fences.sort_unstable();
        let yes = fences.iter().flatten().count();
        let answered = self.nodes.iter().filter(|node| node.links[client].answer.is_some()).count();
        let quorum = if redlock.has(Rule::QuorumOfTheConfigured) { QUORUM } else { answered / 2 + 1 };
        let mut winning = [None; NODES];
        if yes >= quorum && yes > 0 {
            let first = NODES - yes + quorum - 1;
            winning[first..].copy_from_slice(&fences[first..]);
            for place in first + 1..NODES {
                if winning[place] == winning[place - 1] {
                    winning[place - 1] = None;
                }
            }
        }
        winning
    }

    pub(crate) fn yes(&self, client: usize) -> usize {
        self.nodes.iter().filter(|node| matches!(node.links[client].answer, Some(Answer::Yes(_)))).count()
    }

    pub(crate) fn no(&self, client: usize) -> usize {
        self.nodes.iter().filter(|node| node.links[client].answer == Some(Answer::No)).count()
    }

    /// Takes the step `action`, which is possible, and puts everything in order.
    pub(crate) fn take(&mut self, action: Action, redlock: &Redlock) {
        self.step(action, redlock);
        self.make_canonical(redlock);
    }

    /// Takes the step `action`. Clients and nodes stay where they are.
    pub(crate) fn step(&mut self, action: Action, redlock: &Redlock) {
        match action {
            Action::Tick => {
                self.now = self.now.plus(TICK);
                self.time += CLOCK_TICK;
                self.nodes.iter_mut().for_each(Node::tick);
            }
            Action::Ask(client) => {
                let attempt = self.fresh_attempt(client, redlock);
                self.attempts += 1;
                self.clients[client] = Phase::Asking { attempt, sent: self.now };
                self.send(client, Kind::Acquire, attempt, 0, true);
            }
            Action::CarryOut { node, client } => {
                let time = self.time;
                let node = &mut self.nodes[node];
                let request = node.links[client].requests.pop().expect("there is a request");
                let answer = node.carry_out(client, request, time, redlock);
                // That a claim was not granted makes no difference to a client, who may give up at any time.
                let matters =
                    answer != Answer::No || request.kind == Kind::Extend || !redlock.has(Rule::QuorumOfTheConfigured);
                if request.awaited && matters {
                    node.links[client].answer = Some(answer);
                }
            }
            Action::CarryOutLate { node, client } => {
                let time = self.time;
                let node = &mut self.nodes[node];
                let request = node.links[client].aside.take().expect("something was left");
                node.carry_out(client, request, time, redlock);
            }
            Action::Refuse { node, client } => {
                self.refusals += 1;
                self.nodes[node].links[client].requests.pop();
            }
            Action::Break { node, client } => {
                self.breaks += 1;
                let link = &mut self.nodes[node].links[client];
                link.aside = link.requests.pop().map(|request| Request { awaited: false, ..request });
            }
            Action::Fail { node, client } => {
                self.failures += 1;
                if let Some(attempt) = self.clients[client].attempt() {
                    self.nodes[node].links[client].fail(attempt);
                }
            }
            // Whenever it was sent.
            Action::CleanUp { node, .. } => self.nodes[node].key = None,
            Action::Lose { node, client } => self.nodes[node].links[client].aside = None,
            Action::Win { client, fence } => self.win(client, fence, redlock),
            Action::Begin(client) => self.begin(client, redlock),
            Action::GiveUp(client) => self.give_up(client, redlock),
            Action::Renew(client) => self.renew(client, redlock),
            Action::Extended { client, rejoins } => self.extended(client, rejoins, redlock),
            Action::Denied(client) => {
                self.forget_answers(client);
                let now = self.now;
                if let Phase::Holding(hold) = &mut self.clients[client] {
                    hold.renewal = None;
                    hold.lease.on(Event::NotOurs, now);
                }
            }
            Action::TimeOut(client) => {
                self.forget_answers(client);
                if let Phase::Holding(hold) = &mut self.clients[client] {
                    hold.renewal = None;
                    let attempt = hold.attempt;
                    if !redlock.has(Rule::FailedRenewalReleasesNothing) {
                        self.send(client, Kind::Release, attempt, 0, false);
                    }
                }
            }
            Action::Release(client) => self.release(client),
            Action::Forget(node) => {
                self.losses += 1;
                self.nodes[node].forget();
                self.nodes[node].down = Some(redlock.down);
            }
            Action::Restart(node) => self.nodes[node].down = None,
        }
        self.end_what_is_over(redlock);
        self.forget_clean_ups();
        self.nodes.iter_mut().for_each(|node| node.drop_idle_requests(redlock));
        self.look_for_lost_quorums();
    }

    /// Whether an acquisition of `client` can fail on `node`: it is under way, or was answered and the answer is lost.
    pub(crate) fn may_fail(&self, node: usize, client: usize) -> bool {
        let link = &self.nodes[node].links[client];
        let Some(attempt) = self.clients[client].attempt() else { return false };
        let is_asking = matches!(self.clients[client], Phase::Asking { .. });
        let mut requests = link.requests.iter();
        let under_way = requests.any(|request| request.kind == Kind::Acquire && request.attempt == attempt);
        let answered = is_asking && matches!(link.answer, Some(Answer::Yes(_)));
        link.cleaned.is_none() && link.aside.is_none() && (under_way || answered)
    }

    /// Sends a request to all nodes.
    fn send(&mut self, client: usize, kind: Kind, attempt: u8, fence: u32, awaited: bool) {
        for node in &mut self.nodes {
            node.links[client].requests.push(Request { kind, attempt, fence, awaited });
        }
    }

    fn forget_answers(&mut self, client: usize) {
        self.nodes.iter_mut().for_each(|node| node.links[client].forget());
    }

    /// A quorum has the key for `client`.
    fn win(&mut self, client: usize, fence: u32, redlock: &Redlock) {
        let Phase::Asking { attempt, sent } = self.clients[client] else { return };
        let sent = if redlock.has(Rule::LeaseFromBeforeTheRequests) { sent } else { self.now };
        // What is still under way to take a node goes on.
        self.forget_answers(client);
        self.clients[client] = Phase::Writing { attempt, sent, fence };
        if redlock.fenced && redlock.has(Rule::WriteBack) {
            self.send(client, Kind::Write, attempt, fence, true);
            self.ignore_failed(client, redlock);
        } else {
            self.begin(client, redlock);
        }
    }

    /// The body of `client` starts.
    fn begin(&mut self, client: usize, redlock: &Redlock) {
        let Phase::Writing { attempt, sent, fence } = self.clients[client] else { return };
        self.forget_answers(client);
        let lease = Lease::granted(sent, TTL);
        let hold = Hold { attempt, lease, fence, renewal: None, gone: false, followed: false };
        self.clients[client] = Phase::Holding(hold);
        if redlock.fenced {
            self.promise(Promise::FencesRise, fence > self.begun);
            self.begun = self.begun.max(fence);
        }
        for (other, phase) in self.clients.iter_mut().enumerate() {
            if let Phase::Holding(hold) = phase {
                hold.followed |= other != client;
            }
        }
    }

    fn give_up(&mut self, client: usize, redlock: &Redlock) {
        if let Some(attempt) = self.clients[client].attempt() {
            for node in &mut self.nodes {
                let link = &mut node.links[client];
                let said_yes = matches!(link.answer, Some(Answer::Yes(_)));
                if said_yes || redlock.has(Rule::RollbackOnAllNodes) {
                    link.requests.push(Request { kind: Kind::Release, attempt, fence: 0, awaited: false });
                }
            }
            self.forget_answers(client);
            self.clients[client] = Phase::Idle;
        }
    }

    fn renew(&mut self, client: usize, redlock: &Redlock) {
        let sent = self.now;
        if let Phase::Holding(hold) = &mut self.clients[client] {
            hold.renewal = Some(Renewal { sent, in_vain: hold.gone });
            let (attempt, fence) = (hold.attempt, hold.fence);
            self.send(client, Kind::Extend, attempt, fence, true);
            self.ignore_failed(client, redlock);
        }
    }

    /// Nobody waits for the answers of nodes where the acquisition failed.
    fn ignore_failed(&mut self, client: usize, redlock: &Redlock) {
        if redlock.has(Rule::FailedHaveNoSay) {
            let links = self.nodes.iter_mut().map(|node| &mut node.links[client]);
            links.filter(|link| link.is_cleaned_up()).for_each(Link::forget);
        }
    }

    /// A quorum extended the lease of `client`. Nodes that do not have it are taken again, and do not count.
    fn extended(&mut self, client: usize, rejoins: bool, redlock: &Redlock) {
        let now = self.now;
        let Phase::Holding(hold) = &mut self.clients[client] else { return };
        let Some(Renewal { sent, in_vain }) = hold.renewal.take() else { return };
        let sent = if redlock.has(Rule::RenewalFromBeforeTheRequests) { sent } else { now };
        hold.lease.on(Event::Extended { sent, ttl: TTL }, now);
        hold.gone = false;
        let Hold { attempt, fence, followed, .. } = *hold;
        let request = |kind| Request { kind, attempt, fence, awaited: false };
        for node in &mut self.nodes {
            let link = &mut node.links[client];
            if rejoins && link.answer == Some(Answer::No) {
                self.rejoins += u8::from(redlock.fenced);
                if redlock.has(Rule::ReleaseEndsRejoins) {
                    link.requests.push(request(Kind::Rejoin));
                } else {
                    // On a connection of its own, where a release does not find it.
                    link.aside = Some(request(Kind::Rejoin));
                }
                if redlock.fenced && redlock.has(Rule::RejoinWithTheFence) {
                    link.requests.push(request(Kind::Write));
                }
            }
        }
        self.forget_answers(client);
        self.promise(Promise::LossIsNoticed, !in_vain);
        self.promise(Promise::NobodyInBetween, !followed);
    }

    fn release(&mut self, client: usize) {
        if let Phase::Holding(Hold { attempt, .. }) = self.clients[client] {
            self.forget_answers(client);
            self.send(client, Kind::Release, attempt, 0, false);
            self.clients[client] = Phase::Idle;
        }
    }

    /// Whoever cannot get the lock in time any more gives up, and whoever has lost it gives it back. To do so later makes no
    /// difference: what is sent may take any time.
    fn end_what_is_over(&mut self, redlock: &Redlock) {
        for client in 0..redlock.clients {
            match self.clients[client] {
                Phase::Idle => {}
                Phase::Asking { sent, .. } => {
                    if redlock.has(Rule::LeaseFromBeforeTheRequests) && self.is_over(sent) {
                        self.give_up(client, redlock);
                    }
                }
                Phase::Writing { sent, .. } => {
                    if redlock.has(Rule::DeadlineAfterTheWriteBack) && self.is_over(sent) {
                        self.give_up(client, redlock);
                    }
                }
                Phase::Holding(hold) => {
                    if !hold.is_believed(self.now) {
                        self.release(client);
                    }
                }
            }
        }
    }

    /// Behind a claim that was given back, a clean-up finds nothing that the release does not.
    fn forget_clean_ups(&mut self) {
        for (client, phase) in self.clients.iter().enumerate() {
            if phase.attempt().is_none() {
                self.nodes.iter_mut().for_each(|node| node.links[client].cleaned = None);
            }
        }
    }

    /// A lease of a request that was sent at `sent` would be over.
    fn is_over(&self, sent: Moment) -> bool {
        Lease::granted(sent, TTL).remaining(self.now).is_zero()
    }

    fn look_for_lost_quorums(&mut self) {
        for (client, phase) in self.clients.iter_mut().enumerate() {
            if let Phase::Holding(hold) = phase {
                let has = |node: &&Node| node.is_of(client, hold.attempt) || node.links[client].may_take(hold.attempt);
                hold.gone |= self.nodes.iter().filter(has).count() < QUORUM;
            }
        }
    }

    /// How many nodes have the key of what `client` has under way, or holds.
    pub(crate) fn nodes_of(&self, client: usize) -> usize {
        let attempt = self.clients[client].attempt();
        self.nodes.iter().filter(|node| attempt.is_some_and(|attempt| node.is_of(client, attempt))).count()
    }

    /// Whether every majority contains a node that remembers the latest fencing token: those that it was written to, and have
    /// not forgotten it, and a quorum are more than there are.
    pub(crate) fn is_remembered(&self) -> bool {
        let remember = self.nodes.iter().filter(|node| node.told >= self.begun).count();
        remember + QUORUM > NODES
    }

    /// A token that nobody knows any more.
    fn fresh_attempt(&self, client: usize, redlock: &Redlock) -> u8 {
        if !redlock.has(Rule::FreshToken) {
            return 0;
        }
        self.attempts_of(client).max().map_or(0, |latest| latest + 1)
    }

    /// The attempts of `client` that are known somewhere.
    pub(crate) fn attempts_of(&self, client: usize) -> impl Iterator<Item = u8> + '_ {
        let keys = self.nodes.iter().filter_map(|node| node.key).filter(move |key| key.client == client);
        let links = self.nodes.iter().flat_map(move |node| node.links[client].all());
        keys.map(|key| key.attempt).chain(links.map(|request| request.attempt)).chain(self.clients[client].attempt())
    }

    fn promise(&mut self, promise: Promise, kept: bool) {
        self.broken |= u16::from(!kept) << promise as u16;
    }

    pub(crate) fn has_kept(&self, promise: Promise) -> bool {
        self.broken & 1 << promise as u16 == 0
    }

    pub(crate) fn believers(&self) -> usize {
        self.clients.iter().filter(|client| client.believes(self.now)).count()
    }
}

impl Hash for System {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view.hash(state);
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.view == other.view
    }
}
