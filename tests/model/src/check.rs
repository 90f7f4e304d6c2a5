//! The checker's model, and what tests say of it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::thread::available_parallelism;
use std::time::Instant;

use lock_runtime::__model::Standing;
use lock_runtime::LostCause;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::network::{Request, Token};
use crate::protocol::{Promise, Protocol, Restart, TTL};
use crate::system::{Action, Client, Phase, System};
use crate::turns;

impl Model for Protocol {
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
                Promise::Disjoint => |_, system| system.clients.iter().filter(|client| client.believes()).count() <= 1,
                Promise::Kept => |_, system| {
                    let key = system.server.key.map(|key| key.token);
                    system.clients.iter().all(|client| !client.believes() || client.phase.token() == key)
                },
                Promise::LossIsTrue => |_, system| {
                    let key = system.server.key.map(|key| key.token);
                    system.clients.iter().all(|client| {
                        client.standing() != Some(Standing::Lost(LostCause::Gone)) || client.phase.token() != key
                    })
                },
                Promise::LossIsNoticed => |_, system| system.has_kept(Promise::LossIsNoticed),
                Promise::LossIsForGood => |_, system| system.has_kept(Promise::LossIsForGood),
                Promise::FencesRiseByHold => |_, system| system.has_kept(Promise::FencesRiseByHold),
                Promise::FencesRiseByGrant => |_, system| system.has_kept(Promise::FencesRiseByGrant),
                Promise::NothingIsLeft => |_, system| {
                    let known = |token| system.clients.iter().any(|client| client.phase.token() == Some(token));
                    !system.connections.is_empty() || system.server.key.is_none_or(|key| known(key.token))
                },
                Promise::FreeAfterTheTtl => |_, system| {
                    let end = system.server.now.plus(TTL);
                    system.server.key.is_none_or(|key| key.expires.is_some_and(|expires| expires <= end))
                },
                Promise::EverybodyGetsATurn => |protocol, system| turns::everybody_gets_one(system, protocol),
            };
            Property::always(promise.name(), condition)
        });
        promises.chain(self.sights()).collect()
    }
}

impl Protocol {
    /// What a run has to come across: without it, that nothing is broken would say little.
    fn sights(&self) -> impl Iterator<Item = Property<Self>> {
        let delays: [Property<Self>; 3] = [
            Property::sometimes(
                "a late release of an earlier hold is under way beside a hold",
                |_, system: &System| {
                    system.clients.iter().enumerate().any(|(number, client)| {
                        client.believes()
                            && system.under_way().any(|request| {
                                let token = request.token();
                                matches!(request, Request::Release(_))
                                    && token.client == number
                                    && client.phase.token() != Some(token)
                            })
                    })
                },
            ),
            Property::sometimes("a lease is over before its key is", |_, system: &System| {
                let key = system.server.key.map(|key| key.token);
                system.clients.iter().any(|client| {
                    client.standing() == Some(Standing::Lost(LostCause::Expired)) && client.phase.token() == key
                })
            }),
            Property::sometimes("an acquisition waits in line with its clean-up", |_, system: &System| {
                system.connections.iter().any(|connection| {
                    matches!(connection.requests.first, Some(Request::Acquire(_)))
                        && connection.requests.second.is_some()
                })
            }),
        ];
        let renewals: [Property<Self>; 2] = [
            Property::sometimes("a renewal is under way beside somebody else's hold", |_, system: &System| {
                system.under_way().filter(|request| matches!(request, Request::Renew(_))).any(|renewal| {
                    let others = |token: Token| token.client != renewal.token().client;
                    system.clients.iter().any(|client| client.believes() && client.phase.token().is_some_and(others))
                })
            }),
            Property::sometimes("a renewal is answered after the lease", |_, system: &System| {
                system
                    .clients
                    .iter()
                    .any(|client| matches!(client.phase, Phase::Holding { renewal: Some(_), .. }) && !client.believes())
            }),
        ];
        let broken: [Property<Self>; 1] = [Property::sometimes(
            "what was sent on a broken connection is left beside a hold",
            |_, system: &System| {
                let cut =
                    system.connections.iter().any(|connection| connection.cut && connection.requests.first.is_some());
                cut && system.clients.iter().any(Client::believes)
            },
        )];
        let down: [Property<Self>; 1] =
            [Property::sometimes("the server is away during a hold", |_, system: &System| {
                system.server.down.is_some() && system.clients.iter().any(Client::believes)
            })];
        let (renews, breaks) = (self.renewals, self.disconnects || self.crashes);
        let restarts = self.restart != Restart::Never;
        delays
            .into_iter()
            .chain(renewals.into_iter().filter(move |_| renews))
            .chain(broken.into_iter().filter(move |_| breaks))
            .chain(down.into_iter().filter(move |_| restarts))
    }
}

impl Checked for Protocol {
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

/// What can be checked: one configuration of a model.
pub trait Checked:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq + Send + Sync>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// What may be broken.
    type Promise: Copy;

    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The rule that it drops, if it is a mutant.
    fn dropped(&self) -> Option<String>;

    /// The name of `promise` in reports.
    fn named(promise: Self::Promise) -> &'static str;

    /// What states differ by that do not count as one.
    fn numbers(state: &Self::State) -> Vec<u64>;
}

/// Looks at every state that can be reached.
///
/// # Panics
///
/// With a counterexample, if a promise does not hold; and if the run did not come across what it has to.
pub fn holds<M: Checked>(configuration: M) {
    let started = Instant::now();
    let name = configuration.name();
    let threads = available_parallelism().map_or(1, usize::from);
    let checker = configuration.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps, at most {} steps from the start, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    checker.assert_properties();
    assert!(checker.is_done(), "{name}: not every state was looked at");
}

/// Looks for the shortest way to break `promise`.
///
/// # Panics
///
/// If there is none.
pub fn caught<M: Checked>(configuration: &M, promise: M::Promise) {
    let started = Instant::now();
    let (name, promise) = (configuration.name(), M::named(promise));
    let who = configuration.dropped().map_or_else(|| name.to_owned(), |rule| format!("{name} without {rule}"));
    let up_to = |steps: usize| {
        let finish = HasDiscoveries::AllOf([promise].into());
        let checker = configuration.clone().checker().finish_when(finish);
        // The checker counts states, of which there is one more than there are steps; and does not look at the last.
        let checker = if steps == usize::MAX { checker } else { checker.target_max_depth(steps + 2) };
        checker.spawn_bfs().join()
    };
    let checker = up_to(usize::MAX);
    let states = checker.unique_state_count();
    let Some(mut path) = checker.discovery(promise) else {
        panic!("{who}: in {states} states, nothing is against \"{promise}\"");
    };
    // It looks at some more states after the first counterexample, and keeps the last one.
    loop {
        let steps = path.clone().into_actions().len();
        let Some(shorter) = steps.checked_sub(1).and_then(|steps| up_to(steps).discovery(promise)) else { break };
        path = shorter;
    }
    let steps = path.into_actions();
    println!(
        "{who}: \"{promise}\" is broken in {} steps, found in {states} states, {:.1} s\n  {steps:?}",
        steps.len(),
        started.elapsed().as_secs_f64()
    );
}

/// Looks whether states that count as one go on alike: whenever one is met again, whether the same steps lead from both to
/// states that count as one. Time would be bounded otherwise, and states missed.
///
/// # Panics
///
/// With two that do not.
pub fn alike_go_on_alike<M: Checked>(configuration: &M) {
    let after = |state: &M::State| {
        let mut next: Vec<_> = configuration.next_states(state).iter().map(M::numbers).collect();
        next.sort_unstable();
        next.dedup();
        next
    };
    let mut open = VecDeque::from(configuration.init_states());
    let mut known: HashMap<_, _> = open.iter().map(|start| (M::numbers(start), start.clone())).collect();
    while let Some(state) = open.pop_front() {
        for next in configuration.next_states(&state) {
            match known.entry(M::numbers(&next)) {
                Entry::Vacant(entry) => {
                    entry.insert(next.clone());
                    open.push_back(next);
                }
                Entry::Occupied(entry) => {
                    let met = entry.get();
                    assert!(after(met) == after(&next), "{met:#?}\ncounts as one with\n{next:#?}");
                }
            }
        }
    }
    println!("{}: {} states, each like all that count as it", configuration.name(), known.len());
}
