//! A model of Redlock over three nodes, and of its fencing tokens.
//!
//! As in the rest of the crate, what a client believes is what [`Lease`](lock_runtime::__model::Lease) says. The order in which a
//! client asks, writes back, extends, takes again, gives up and releases is modelled after `store/redlock/*.rs`, and a node after
//! the scripts that it runs. A change of those is a change here.
//!
//! # What is modelled
//!
//! - Two clients (three in some tests) and three nodes. A claim goes to all nodes at once and counts from one moment before; it is
//!   won with any quorum of the answers; what was not waited for goes on. Calls give up at every point, on all nodes.
//! - A link for each client and node, on which nothing overtakes anything. Requests take any time, so every node can be slow; an
//!   answer is looked at when it is there, or later, or never. Requests that come to nothing. Connections that break: the
//!   request that is next on it may be carried out at any later time, or never, and what is behind it goes another way.
//! - Acquisitions that fail on a node, while a quorum of the others wins: the node may have carried it out, or may do so at any
//!   later time, or never. Its store cleans up at any moment until a TTL is over, and the node has no say for as long.
//! - Renewals, with any quorum of the answers; nodes that came back empty, or have let the key expire, and are taken again, with
//!   the fencing token in a request behind.
//! - Nodes that lose their data, and are there again after a tick, or when every lease that they forgot is over.
//! - Fencing tokens: a claim raises the counter of each node that gives it, above the node's clock; the highest of the quorum is
//!   written to all nodes, where the claim is held; a quorum has to have it, and the deadline is checked after that. Clocks that
//!   are worth nothing, that agree, and one that is ahead.
//!
//! Time has no bound, nor has the number of renewals. Bounded are acquisitions, by all clients together, unless a configuration is
//! called endless; faults; how often a node is taken again where fencing tokens are looked at; and how many requests are under way
//! to a node when a client begins with something (the room). A TTL is two ticks.
//!
//! # What is left out, and why nothing is lost by it
//!
//! - Answers do not travel. A client can always act as if it had seen only a part of those that are there, which is what a late or
//!   lost answer does.
//! - A claim that was refused leaves no answer, since a client can always give up. What a client learns from it, *busy* or an
//!   error, is no part of the model.
//! - Whoever cannot get the lock in time any more gives up in that very step, and whoever has lost it gives it back. Requests take
//!   any time: to send them later changes nothing on the nodes.
//! - A request is taken from the link if it would come to nothing whenever it is carried out: for a token that the node does not
//!   have, and that nothing before it asks it to take.
//! - Nodes may change places, and so may clients: two steps of a counterexample that name the same one can be steps of two. Tokens
//!   count by their order, and counters by what the node would give next.
//!
//! # What is not modelled
//!
//! All clocks run at the same rate; the drift is the other model's. More nodes, and even numbers of them. `set_ttl`, `min_hold`,
//! several keys. That a node is left alone after it was silent. A lease with less than half of its time left is not given back:
//! that is one of the things that a client may do here at any time. A counter does not get ahead of its clock by a tick. That an
//! acquisition which nobody waits for any more is carried out, and fails after that.
//!
//! # What came of it
//!
//! Holds are disjoint, also where nodes lose their data, if they come back when what they forgot is over. One node that comes back
//! empty at once is enough for two holders; Redlock does not promise otherwise. An acquisition or a re-join that is under way can
//! then even make a quorum whole again after another hold has begun.
//!
//! Fencing tokens rise, with renewals and all faults but that one. What they need is one of two things: clocks that differ by less
//! than the time for which a node that forgets is away; or that every majority contains a node that remembers: the nodes that the
//! latest token was written to, without those that have forgotten it, and a quorum are more than there are. That no majority of
//! the nodes forgets is not enough.
//!
//! # States
//!
//! All complete, with two threads on two cores that had other work too.
//!
//! | configuration | acquisitions, room | states | steps | time |
//! |---|---|---|---|---|
//! | claims | endless, 2 | 25,631 | 0.2 M | < 1 s |
//! | three clients | 3, 2 | 27,228 | 0.2 M | 1 s |
//! | renewals | 2, 2 | 58,273 | 0.4 M | 2 s |
//! | renewals | endless, 1 | 27,583 | 0.2 M | 1 s |
//! | two lost requests | 3, 2 | 83,842 | 0.6 M | 3 s |
//! | the same, renewals | 2, 1 | 105,367 | 0.8 M | 3 s |
//! | a broken connection | 3, 2 | 107,369 | 0.8 M | 2 s |
//! | the same, renewals | 2, 0 | 68,141 | 0.5 M | 1 s |
//! | a failed acquisition | 3, 2 | 152,007 | 1.0 M | 2 s |
//! | the same, renewals | 2, 0 | 54,637 | 0.4 M | 1 s |
//! | two delayed restarts | 3, 2 | 109,437 | 0.7 M | 3 s |
//! | the same, renewals | 2, 0 | 48,293 | 0.3 M | 2 s |
//! | empty restart at once, renewals, with what is left of the promises | 2, 0 | 29,456 | 0.2 M | 1 s |
//! | fenced | 3, 2 | 589,242 | 3.0 M | 8 s |
//! | the same, counters alone | 3, 2 | 237,685 | 1.2 M | 3 s |
//! | fenced, renewals | 2, 0 | 119,260 | 0.6 M | 2 s |
//! | the same, counters alone | 2, 0 | 103,404 | 0.5 M | 2 s |
//! | fenced, counters alone, two lost requests | 2, 2 | 75,540 | 0.4 M | 2 s |
//! | fenced, counters alone, a broken connection | 2, 2 | 87,238 | 0.5 M | 2 s |
//! | fenced, renewals, counters alone, a failed acquisition, long test | 2, 0 | 751,977 | 4.6 M | 11 s |
//! | fenced, renewals, a delayed restart | 2, 0 | 578,674 | 3.2 M | 11 s |
//! | the same, counters alone, every majority remembers, long test | 2, 0 | 498,569 | 2.8 M | 8 s |
//! | fenced, a delayed restart, clocks a tick apart | 2, 0 | 669,375 | 3.2 M | 11 s |
//! | renewals, long test | endless, 2 | 267,311 | 1.9 M | 6 s |
//! | renewals, a broken connection, a delayed restart, long test | 2, 1 | 1,173,217 | 9.4 M | 18 s |
//! | fenced, renewals, two delayed restarts, long test | 2, 0 | 1,714,865 | 9.6 M | 18 s |
//! | the same, counters alone, every majority remembers, long test | 2, 0 | 1,311,178 | 7.3 M | 18 s |
//! | fenced, three clients, a delayed restart, long test | 3, 2 | 7,097,787 | 42.6 M | 232 s |
//!
//! Each mutant of `tests/redlock_rules.rs` is caught, in 5 to 33 steps.

mod action;
mod check;
mod client;
mod configuration;
mod node;
mod system;
mod turns;
mod view;

pub use self::action::Action;
pub use self::configuration::{Promise, Redlock, Rule};
pub use self::system::System;
