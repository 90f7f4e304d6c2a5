//! The checker's model.

use stateright::{Model, Property};

use super::action::Action;
use super::client::Phase;
use super::configuration::{Promise, QUORUM, Redlock};
use super::node::{Kind, Node};
use super::system::System;
use super::turns;
use crate::check::Checked;

impl Model for Redlock {
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

    fn within_boundary(&self, system: &System) -> bool {
        !self.remembered || system.is_remembered()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let promises = self.promises.iter().map(|promise| {
            let condition: fn(&Self, &System) -> bool = match promise {
                Promise::Disjoint => |_, system| system.believers() <= 1,
                Promise::FencesRise => |_, system| system.has_kept(Promise::FencesRise),
                Promise::LossIsNoticed => |_, system| system.has_kept(Promise::LossIsNoticed),
                Promise::NobodyInBetween => |_, system| system.has_kept(Promise::NobodyInBetween),
                Promise::NothingIsLeft => |_, system| {
                    let quiet = system.nodes.iter().all(|node| node.links.iter().all(|link| link.all().count() == 0));
                    let known = |node: &Node| {
                        node.key.is_none_or(|key| system.clients[key.client].attempt() == Some(key.attempt))
                    };
                    !quiet || system.nodes.iter().all(known)
                },
                Promise::EverybodyGetsATurn => |redlock, system| turns::everybody_gets_one(system, redlock),
            };
            Property::always(promise.name(), condition)
        });
        promises.chain(self.sights()).collect()
    }
}

/// Something that a run comes across.
type Sight = fn(&Redlock, &System) -> bool;

impl Redlock {
    /// What a run has to come across: without it, that nothing is broken would say little.
    fn sights(&self) -> impl Iterator<Item = Property<Self>> {
        let again = self.attempts.is_none_or(|attempts| attempts > 2);
        let sights: [(bool, &'static str, Sight); 8] = [
            (again, "votes are split", |redlock, system| {
                let mut clients = system.clients.iter().take(redlock.clients);
                let all_are_asking = clients.all(|phase| matches!(phase, Phase::Asking { .. }));
                let all_are_taken = system.nodes.iter().all(|node| node.key.is_some());
                all_are_asking && all_are_taken && (0..redlock.clients).all(|client| system.nodes_of(client) < QUORUM)
            }),
            (again, "a claim that was given up is under way beside a hold", |_, system| {
                system.believers() > 0 && {
                    let late = |node: &Node| {
                        node.links.iter().zip(&system.clients).any(|(link, phase)| {
                            link.all().any(|request| {
                                request.kind == Kind::Acquire && phase.attempt() != Some(request.attempt)
                            })
                        })
                    };
                    system.nodes.iter().any(late)
                }
            }),
            (true, "a node is taken after the hold has begun", |_, system| {
                system.clients.iter().enumerate().any(|(client, phase)| match phase {
                    Phase::Holding(hold) => system.nodes.iter().any(|node| {
                        let mut requests = node.links[client].requests.iter();
                        requests.any(|request| request.kind == Kind::Acquire && request.attempt == hold.attempt)
                    }),
                    _ => false,
                })
            }),
            (self.fenced, "a fencing token is written after the hold has begun", |_, system| {
                let writes = |node: &Node| {
                    let mut links = node.links.iter();
                    links.any(|link| link.requests.iter().any(|request| request.kind == Kind::Write))
                };
                system.believers() > 0 && system.nodes.iter().any(writes)
            }),
            (self.renewals, "a renewal of an earlier hold is under way beside a hold", |_, system| {
                system.believers() > 0 && {
                    let late = |node: &Node| {
                        node.links.iter().zip(&system.clients).any(|(link, phase)| {
                            link.all()
                                .any(|request| request.kind == Kind::Extend && phase.attempt() != Some(request.attempt))
                        })
                    };
                    system.nodes.iter().any(late)
                }
            }),
            (self.renewals && self.losses > 0, "a node is taken again", |_, system| {
                let rejoins = |node: &Node| {
                    let mut links = node.links.iter();
                    links.any(|link| link.all().any(|request| request.kind == Kind::Rejoin))
                };
                system.nodes.iter().any(rejoins)
            }),
            (self.failures > 0, "the key of a hold is cleaned up behind an acquisition that failed", |_, system| {
                let mut clients = system.clients.iter().enumerate();
                clients.any(|(client, phase)| {
                    let cleaned = |node: &Node| {
                        let is_ours = phase.attempt().is_some_and(|attempt| node.is_of(client, attempt));
                        node.links[client].is_cleaned_up() && is_ours
                    };
                    phase.believes(system.now) && system.nodes.iter().any(cleaned)
                })
            }),
            (self.losses > 0, "a node of a hold has forgotten it", |_, system| {
                let mut clients = system.clients.iter().enumerate();
                clients.any(|(client, phase)| phase.believes(system.now) && system.nodes_of(client) < QUORUM)
            }),
        ];
        let sights = sights.into_iter().filter(|(applies, ..)| *applies);
        sights.map(|(_, name, condition)| Property::sometimes(name, condition))
    }
}

impl Checked for Redlock {
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
        system.view.clone()
    }
}
