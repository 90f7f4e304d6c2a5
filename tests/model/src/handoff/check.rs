//! The checker's model.

use stateright::{Model, Property};

use super::configuration::{Handoff, Promise};
use super::served;
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
                    let quiet = system.processes.iter().all(super::process::Process::is_quiet);
                    let key = system.server.key.map(|key| key.token);
                    let mut left = system.server.line.iter().chain(key);
                    !quiet || !system.server.notes.is_empty() || left.all(|token| system.knows(token))
                },
                Promise::Served => |handoff, system| served::everybody(system, handoff),
            };
            Property::always(promise.name(), condition)
        });
        promises.collect()
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
