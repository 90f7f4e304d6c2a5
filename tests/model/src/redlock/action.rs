//! The steps that clients and nodes can take.

use super::client::Phase;
use super::configuration::{QUORUM, Redlock, Rule, VETO};
use super::system::System;

/// One step. Nodes and clients are named by their places; those that are alike may change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time passes.
    Tick,
    /// A client asks all nodes for the lock.
    Ask(usize),
    /// A node reads the next request of a client.
    CarryOut {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// The next request of a client to a node comes to nothing.
    Refuse {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// The connection of a client to a node breaks.
    Break {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// A node reads what was left on a broken connection.
    CarryOutLate {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// What was left on a broken connection will not arrive any more.
    Lose {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// The acquisition of a client on a node fails, as far as the client can tell: it may be carried out at any later time, or
    /// never, or was, and the store of that node begins to clean up behind it.
    Fail {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// That clean-up takes the key away, if it is the client's.
    CleanUp {
        /// The place of the node.
        node: usize,
        /// The place of the client.
        client: usize,
    },
    /// A client has seen a quorum of yes.
    Win {
        /// The place of the client.
        client: usize,
        /// The highest fencing token among the answers that it has seen.
        fence: u32,
    },
    /// A client has seen that a quorum knows its fencing token: its body starts.
    Begin(usize),
    /// A client gives up: it was refused, or waited for long enough, or its future was dropped.
    GiveUp(usize),
    /// A client renews its lease.
    Renew(usize),
    /// A client has seen that a quorum extended its lease.
    Extended {
        /// The place of the client.
        client: usize,
        /// It has seen which nodes do not have the lock, too, and takes them again.
        rejoins: bool,
    },
    /// A client has seen that a quorum does not have its lock any more.
    Denied(usize),
    /// A client does not wait for a renewal any longer.
    TimeOut(usize),
    /// A client gives the lock back.
    Release(usize),
    /// A node loses its data.
    Forget(usize),
    /// A node that has lost its data is there again.
    Restart(usize),
}

impl System {
    /// The steps that are possible.
    pub(crate) fn actions(&self, redlock: &Redlock, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for client in 0..redlock.clients {
            self.actions_of(client, redlock, actions);
        }
        for (node, state) in self.nodes.iter().enumerate() {
            let up = state.down.is_none();
            for (client, link) in state.links.iter().enumerate() {
                if link.requests.first().is_some() {
                    if up {
                        actions.push(Action::CarryOut { node, client });
                    }
                    if self.refusals < redlock.refusals {
                        actions.push(Action::Refuse { node, client });
                    }
                    if self.breaks < redlock.breaks && link.aside.is_none() {
                        actions.push(Action::Break { node, client });
                    }
                }
                let attempt = self.clients[client].attempt();
                if link.is_cleaned_up() && up && attempt.is_some_and(|attempt| state.is_of(client, attempt)) {
                    actions.push(Action::CleanUp { node, client });
                }
                if self.failures < redlock.failures && self.may_fail(node, client) {
                    actions.push(Action::Fail { node, client });
                }
                if link.aside.is_some() {
                    actions.push(Action::Lose { node, client });
                    if up {
                        actions.push(Action::CarryOutLate { node, client });
                    }
                }
            }
            if state.down == Some(0) {
                actions.push(Action::Restart(node));
            }
            if up && self.losses < redlock.losses {
                actions.push(Action::Forget(node));
            }
        }
    }

    fn actions_of(&self, client: usize, redlock: &Redlock, actions: &mut Vec<Action>) {
        let has_room = || self.nodes.iter().all(|node| node.links[client].requests.len() <= redlock.room);
        match &self.clients[client] {
            Phase::Idle => {
                if redlock.attempts.is_none_or(|attempts| self.attempts < attempts) && has_room() {
                    actions.push(Action::Ask(client));
                }
            }
            Phase::Asking { .. } => {
                actions.push(Action::GiveUp(client));
                let fences = self.quorum_fences(client, redlock);
                actions.extend(fences.into_iter().flatten().map(|fence| Action::Win { client, fence }));
            }
            Phase::Writing { .. } => {
                actions.push(Action::GiveUp(client));
                let needed = if redlock.has(Rule::WriteBackToAQuorum) { QUORUM } else { 1 };
                if self.yes(client) >= needed {
                    actions.push(Action::Begin(client));
                }
            }
            Phase::Holding(hold) => {
                actions.push(Action::Release(client));
                if hold.renewal.is_none() {
                    if redlock.renewals && has_room() {
                        actions.push(Action::Renew(client));
                    }
                    return;
                }
                actions.push(Action::TimeOut(client));
                if self.yes(client) >= QUORUM {
                    actions.push(Action::Extended { client, rejoins: false });
                    if self.no(client) > 0 && (self.rejoins < redlock.rejoins || !redlock.fenced) {
                        actions.push(Action::Extended { client, rejoins: true });
                    }
                }
                if self.no(client) >= VETO {
                    actions.push(Action::Denied(client));
                }
            }
        }
    }
}
