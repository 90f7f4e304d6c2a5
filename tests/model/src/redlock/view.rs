//! What sets one state apart from another: all that matters for what can happen from here on.
//!
//! Moments count by how far they are apart, tokens by which of a client's attempts was earlier, fencing tokens by their order
//! and, where they lie close together, by their distance. Nodes that are alike may change places, and so may clients.

use std::array::from_fn;

use lock_runtime::__model::Standing;
use lock_runtime::Moment;

use super::client::{Hold, Phase};
use super::configuration::{CLIENTS, NODES, Redlock, TTL};
use super::node::{Answer, CLOCK_TICK, Key, Kind, Link, Node, Request};
use super::system::System;

/// The orders in which clients can stand.
const ORDERS: [[usize; CLIENTS]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// How many fencing tokens a state knows of at most.
const FENCES: usize = 64;

impl System {
    /// Puts clients and nodes in order, and notes what sets the state apart.
    pub(crate) fn make_canonical(&mut self, redlock: &Redlock) {
        for client in 0..redlock.clients {
            self.rename_attempts(client);
        }
        let fences = Fences::of(self, redlock);
        let orders: &[_] = match redlock.clients {
            1 => &ORDERS[..1],
            2 => &ORDERS[..2],
            _ => &ORDERS,
        };
        let mut best: Option<(Vec<u64>, [usize; CLIENTS], [usize; NODES])> = None;
        for order in orders {
            let mut places = [0; CLIENTS];
            order.iter().enumerate().for_each(|(place, client)| places[*client] = place);
            let mut nodes: [_; NODES] =
                from_fn(|node| (view_of_node(&self.nodes[node], order, &places, &fences, redlock), node));
            nodes.sort_unstable();
            let mut view = Vec::with_capacity(40);
            order.iter().take(redlock.clients).for_each(|client| self.view_client(*client, &fences, &mut view));
            view.extend(nodes.iter().flat_map(|(numbers, _)| numbers));
            if best.as_ref().is_none_or(|(smallest, ..)| view < *smallest) {
                best = Some((view, *order, from_fn(|place| nodes[place].1)));
            }
        }
        let Some((mut view, order, places)) = best else { return };
        let faults = [self.refusals, self.breaks, self.losses, self.rejoins, self.failures].map(u64::from);
        let attempts = redlock.attempts.map_or(0, |_| u64::from(self.attempts));
        view.push(
            faults[0] << 16
                | faults[1] << 24
                | faults[2] << 32
                | faults[3] << 40
                | attempts << 48
                | faults[4] << 56
                | u64::from(self.broken),
        );
        view.push(fences.rank(self.begun) << 32 | fences.rank(self.time));
        self.reorder(order, places);
        self.view = view;
    }

    fn reorder(&mut self, order: [usize; CLIENTS], places: [usize; NODES]) {
        self.nodes = places.map(|node| self.nodes[node]);
        if order == ORDERS[0] {
            return;
        }
        self.clients = order.map(|client| self.clients[client]);
        for node in &mut self.nodes {
            node.links = order.map(|client| node.links[client]);
            if let Some(key) = &mut node.key {
                key.client = order.iter().position(|client| *client == key.client).unwrap_or(key.client);
            }
        }
    }

    /// Numbers the attempts of a client anew, by their order.
    fn rename_attempts(&mut self, client: usize) {
        let known = self.attempts_of(client).fold(0_u64, |known, attempt| known | 1 << attempt);
        if known & (known + 1) == 0 {
            return;
        }
        let rename = |attempt: &mut u8| {
            let earlier = (known & ((1 << *attempt) - 1)).count_ones();
            *attempt = u8::try_from(earlier).unwrap_or(u8::MAX);
        };
        for node in &mut self.nodes {
            if let Some(key) = node.key.as_mut().filter(|key| key.client == client) {
                rename(&mut key.attempt);
            }
            let link = &mut node.links[client];
            link.requests.iter_mut().chain(&mut link.aside).for_each(|request| rename(&mut request.attempt));
        }
        if let Some(attempt) = self.clients[client].attempt_mut() {
            rename(attempt);
        }
    }

    fn view_client(&self, client: usize, fences: &Fences, view: &mut Vec<u64>) {
        let age = |sent: Moment| nanos(self.now.since(sent).min(TTL));
        match self.clients[client] {
            Phase::Idle => view.push(0),
            Phase::Asking { attempt, sent } => view.extend([1 << 8 | u64::from(attempt), age(sent)]),
            Phase::Writing { attempt, sent, fence } => {
                view.extend([2 << 8 | u64::from(attempt), age(sent), fences.rank(fence)]);
            }
            Phase::Holding(hold) => {
                let Hold { attempt, fence, renewal, gone, followed, .. } = hold;
                let flags = u64::from(gone) << 1 | u64::from(followed);
                let renewal = renewal.map_or(0, |renewal| (age(renewal.sent) << 1 | u64::from(renewal.in_vain)) + 1);
                let left = match hold.standing(self.now) {
                    Standing::Held { until } => nanos(until.since(self.now)),
                    Standing::Lost(_) => 0,
                };
                view.extend([3 << 8 | flags << 16 | u64::from(attempt), renewal, left, fences.rank(fence)]);
            }
        }
    }
}

const NODE_NUMBERS: usize = 2 + 4 * CLIENTS;

fn view_of_node(
    node: &Node,
    order: &[usize; CLIENTS],
    places: &[usize; CLIENTS],
    fences: &Fences,
    redlock: &Redlock,
) -> [u64; NODE_NUMBERS] {
    let mut numbers = [0; NODE_NUMBERS];
    numbers[0] = match node.key {
        None => 0,
        Some(Key { client, attempt, left }) => {
            let left = left.map_or(0xff, u64::from);
            1 << 32 | (places[client] as u64) << 16 | u64::from(attempt) << 8 | left
        }
    };
    let down = node.down.map_or(0, |ticks| u64::from(ticks) + 1);
    // What it would give next is all that matters of a counter.
    let next = fences.rank(node.next_fence(fences.time, redlock));
    numbers[1] = fences.rank(node.told) << 32 | next << 16 | down << 8 | u64::from(node.ahead);
    for (client, numbers) in order.iter().zip(numbers[2..].chunks_exact_mut(4)).take(redlock.clients) {
        view_link(&node.links[*client], fences, numbers);
    }
    numbers
}

fn view_link(link: &Link, fences: &Fences, numbers: &mut [u64]) {
    let number = |Request { kind, attempt, fence, awaited }: Request| {
        let kind = match kind {
            Kind::Acquire => 1,
            Kind::Write => 2,
            Kind::Extend => 3,
            Kind::Release => 4,
            Kind::Rejoin => 5,
        };
        kind << 18 | u64::from(attempt) << 13 | u64::from(awaited) << 12 | fences.rank(fence)
    };
    let answer = match link.answer {
        None => 0,
        Some(Answer::No) => 1,
        Some(Answer::Yes(fence)) => 2 + fences.rank(fence),
    };
    numbers[0] = link.cleaned.map_or(0, u64::from) << 56 | link.aside.map_or(0, number) << 32 | answer;
    for (place, request) in link.requests.iter().enumerate() {
        let place = place.min(8);
        numbers[1 + place / 3] |= number(request) << (21 * (place % 3));
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The fencing tokens that a state knows of, and the clock.
struct Fences {
    time: u32,
    known: [(u32, u64); FENCES],
    len: usize,
}

impl Fences {
    fn of(system: &System, redlock: &Redlock) -> Self {
        let mut fences = Self { time: system.time, known: [(0, 0); FENCES], len: 0 };
        if !redlock.fenced {
            return fences;
        }
        fences.add(0);
        fences.add(system.begun);
        for node in &system.nodes {
            fences.add(node.next_fence(system.time, redlock));
            fences.add(node.told);
            // With those that are ahead of the clock, it matters how far.
            fences.add(node.clock(system.time, redlock));
            for link in &node.links {
                link.all().for_each(|request| fences.add(request.fence));
                if let Some(Answer::Yes(fence)) = link.answer {
                    fences.add(fence);
                }
            }
        }
        for phase in &system.clients {
            if let Phase::Writing { fence, .. } | Phase::Holding(Hold { fence, .. }) = phase {
                fences.add(*fence);
            }
        }
        fences.known[..fences.len].sort_unstable();
        // Further apart than the counters can get, they are as good as any distance.
        let far = u64::from(CLOCK_TICK) * (u64::from(redlock.skew) + 1);
        let (mut before, mut rank) = (0, 0);
        for (fence, number) in &mut fences.known[..fences.len] {
            rank += u64::from(*fence - before).min(far);
            before = *fence;
            *number = rank;
        }
        fences
    }

    fn add(&mut self, fence: u32) {
        if self.known[..self.len].iter().all(|(other, _)| *other != fence) {
            self.known[self.len].0 = fence;
            self.len += 1;
        }
    }

    fn rank(&self, fence: u32) -> u64 {
        self.known[..self.len].iter().find(|(other, _)| *other == fence).map_or(0, |(_, rank)| *rank)
    }
}
