//! The checker's model.

use lock_runtime::__model::fits;
use stateright::{Model, Property};

use super::configuration::{Handoff, Promise};
use super::process::{Process, Turn};
use super::served;
use super::server::Request;
use super::system::{Action, System};
use crate::check::Checked;

impl Model for Handoff {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(self)]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        system.actions(self, actions);
    }

    fn next_state(&self, system: &System, action: Action) -> Option<System> {
        let mut next = system.clone();
        next.take(action, self);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let promises = self.promises.iter().map(|promise| {
            let condition: fn(&Self, &System) -> bool = match promise {
                Promise::Disjoint => |_, system| system.believers().count() <= 1,
                Promise::Kept => |_, system| {
                    let key = system.server.key.map(|key| key.token);
                    system.believers().all(|hold| key == Some(hold.token))
                },
                Promise::FencesRise => |_, system| system.has_kept(Promise::FencesRise),
                Promise::FirstInFirstOut => |_, system| system.has_kept(Promise::FirstInFirstOut),
                Promise::NothingIsLeft => |_, system| {
                    let quiet = system.processes.iter().all(Process::is_quiet);
                    let key = system.server.key.map(|key| key.token);
                    let mut left = system.server.line.iter().chain(key);
                    !quiet || !system.server.notes.is_empty() || left.all(|token| system.knows(token))
                },
                Promise::Served => |handoff, system| served::everybody(system, handoff),
            };
            Property::always(promise.name(), condition)
        });
        promises.chain(self.sights()).collect()
    }
}

/// Something that a run comes across.
type Sight = fn(&Handoff, &System) -> bool;

impl Handoff {
    /// What a run has to come across: without it, that nothing is broken would say little.
    fn sights(&self) -> impl Iterator<Item = Property<Self>> {
        let has_others = self.processes.len() > 1;
        let has_pairs = self.processes.iter().any(|callers| callers.len() > 1);
        let sights: [(bool, &'static str, Sight); 8] = [
            (has_others, "a grant that the waiter does not know of yet", |_, system| {
                let key = system.server.key.map(|key| key.token);
                let unaware = |process: &Process| process.turn == Turn::Paused && !process.bell && process.place == key;
                key.is_some() && system.processes.iter().any(unaware)
            }),
            (has_others && self.time, "a call whose grant is over", |_, system| {
                let key = system.server.key.map(|key| key.token);
                system.processes.iter().any(|process| process.bell && process.place != key)
            }),
            (has_others && self.impatience, "a note for somebody who has left", |_, system| {
                system.server.notes.iter().any(|note| !system.knows(note))
            }),
            (has_others && self.time, "a line before a key that has lapsed", |_, system| {
                system.server.lapsed && !system.server.line.is_empty()
            }),
            (self.disconnects && self.strays, "a question on a broken connection beside a hold", |_, system| {
                let asks = |stray| matches!(stray, Request::Ask(_) | Request::Confirm(..));
                let strays = system.processes.iter().any(|process| process.strays.iter().any(asks));
                strays && system.believers().count() > 0
            }),
            (self.deaths || self.stops, "somebody who is gone is first in line", |_, system| {
                let mut line = system.server.line.iter();
                let first = line.next().is_some_and(|first| system.processes[first.client].gone);
                first && line.any(|other| !system.processes[other.client].gone)
            }),
            (has_pairs, "a lease on offer", |_, system| system.processes.iter().any(|process| process.offer.is_some())),
            (has_pairs && self.time, "an offer whose time has run too far", |handoff, system| {
                system.processes.iter().zip(&handoff.processes).any(|(process, callers)| {
                    let first = process.line.first().map(|first| callers[first].ttl);
                    let left = process.offer.map(|offer| offer.until.since(system.server.now));
                    first.zip(left).is_some_and(|(ttl, left)| !fits(left, ttl))
                })
            }),
        ];
        let sights = sights.into_iter().filter(|(applies, ..)| *applies);
        sights.map(|(_, name, condition)| Property::sometimes(name, condition))
    }
}

impl Checked for Handoff {
    type Promise = Promise;

    fn name(&self) -> &'static str {
        self.name
    }

    fn dropped(&self) -> Option<String> {
        self.dropped.map(|rule| format!("{rule:?}"))
    }

    fn named(promise: Promise) -> &'static str {
        promise.name()
    }

    fn numbers(system: &System) -> Vec<u64> {
        system.numbers()
    }
}
