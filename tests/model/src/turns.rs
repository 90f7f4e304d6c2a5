//! Whether everybody who waits gets a turn.

use crate::protocol::{Protocol, TTL_TICKS};
use crate::system::{Action, Phase, System};

/// Whether every client gets the lock from `system` on, if nothing more goes wrong: what is under way arrives, the server is
/// started again, those who have the lock give it back, and those who do not have it yet ask for it in turn. At most a TTL
/// after the server is there, since a lock may have been left behind.
pub(crate) fn everybody_gets_one(system: &System, protocol: &Protocol) -> bool {
    let mut system = system.clone();
    let mut waiting: Vec<_> = (0..system.clients.len()).collect();
    start_server(&mut system, protocol);
    for _ in 0..=TTL_TICKS {
        settle(&mut system, protocol);
        for client in 0..system.clients.len() {
            if waiting.contains(&client) && matches!(system.clients[client].phase, Phase::Idle) {
                system.take(Action::Ask(client), protocol);
                settle(&mut system, protocol);
            }
            if system.clients[client].believes() {
                waiting.retain(|other| *other != client);
            }
            if matches!(system.clients[client].phase, Phase::Holding { .. }) {
                system.take(Action::Release(client), protocol);
                settle(&mut system, protocol);
            }
        }
        if waiting.is_empty() {
            return true;
        }
        system.take(Action::Tick, protocol);
    }
    false
}

fn start_server(system: &mut System, protocol: &Protocol) {
    let mut actions = Vec::new();
    while system.server.down.is_some() {
        actions.clear();
        system.actions(protocol, &mut actions);
        let restart = actions.contains(&Action::Restart);
        system.take(if restart { Action::Restart } else { Action::Tick }, protocol);
    }
}

/// Everything that is under way arrives; whoever waits for an answer that will not come gives up.
fn settle(system: &mut System, protocol: &Protocol) {
    while let Some(connection) = system.connections.first() {
        system.take(
            if connection.requests.first.is_some() {
                Action::CarryOut(0)
            } else if connection.reply.is_some() {
                Action::Deliver(0)
            } else {
                Action::TimeOut(connection.client)
            },
            protocol,
        );
    }
}
