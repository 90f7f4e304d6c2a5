//! Whether everybody gets a turn.

use super::action::Action;
use super::client::Phase;
use super::configuration::{QUORUM, Redlock, TTL_TICKS};
use super::system::System;

/// Whether every client gets the lock from `system` on, if nothing more goes wrong: what is under way arrives, nodes that are
/// down come back, those who have the lock give it back, those who have part of it give that back, and those who want it ask
/// one after the other, as after random delays they do in the end. At most a TTL after the nodes are back, since keys may have
/// been left behind.
pub(crate) fn everybody_gets_one(system: &System, redlock: &Redlock) -> bool {
    let mut system = system.clone();
    let mut waiting: Vec<_> = (0..redlock.clients).collect();
    settle(&mut system, redlock);
    while system.nodes.iter().any(|node| node.down.is_some()) {
        system.step(Action::Tick, redlock);
        carry_out(&mut system, redlock);
    }
    for _ in 0..=TTL_TICKS {
        settle(&mut system, redlock);
        waiting.retain(|client| {
            system.step(Action::Ask(*client), redlock);
            carry_out(&mut system, redlock);
            let has_it = win(&mut system, *client, redlock);
            settle(&mut system, redlock);
            !has_it
        });
        if waiting.is_empty() {
            return true;
        }
        system.step(Action::Tick, redlock);
    }
    false
}

/// Everybody gives back what they have, or give up what they have asked for.
fn settle(system: &mut System, redlock: &Redlock) {
    for client in 0..redlock.clients {
        match system.clients[client] {
            Phase::Idle => {}
            Phase::Asking { .. } | Phase::Writing { .. } => system.step(Action::GiveUp(client), redlock),
            Phase::Holding(_) => system.step(Action::Release(client), redlock),
        }
    }
    carry_out(system, redlock);
}

/// Everything that is under way arrives where a node is up; what was left on broken connections comes first.
fn carry_out(system: &mut System, redlock: &Redlock) {
    for node in 0..system.nodes.len() {
        if system.nodes[node].down == Some(0) {
            system.step(Action::Restart(node), redlock);
        }
        for client in 0..redlock.clients {
            while system.nodes[node].down.is_none() && system.nodes[node].links[client].aside.is_some() {
                system.step(Action::CarryOutLate { node, client }, redlock);
            }
            while system.nodes[node].down.is_none() && system.nodes[node].links[client].requests.first().is_some() {
                system.step(Action::CarryOut { node, client }, redlock);
            }
        }
    }
}

/// Whether `client`, whose claims have been answered, begins a hold.
fn win(system: &mut System, client: usize, redlock: &Redlock) -> bool {
    let Some(fence) = system.quorum_fences(client, redlock).into_iter().flatten().max() else { return false };
    system.step(Action::Win { client, fence }, redlock);
    carry_out(system, redlock);
    if matches!(system.clients[client], Phase::Writing { .. }) && system.yes(client) >= QUORUM {
        system.step(Action::Begin(client), redlock);
    }
    system.clients[client].believes(system.now)
}
