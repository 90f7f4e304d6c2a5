//! What the protocol promises, in every state that it can reach.

use std::time::Duration;

use lock_model_tests::{Promise, Protocol, Restart, Rule, SERVER_TICK, alike_go_on_alike, caught, holds, slowest_tick};

/// Messages of any delay, calls that give up at any time, and leases that are renewed.
fn delays() -> Protocol {
    Protocol::new("delays").connections(2, 4).renewals()
}

fn broken_connections() -> Protocol {
    Protocol::new("broken connections").renewals().disconnects()
}

fn crashes() -> Protocol {
    Protocol::new("crashes").renewals().crashes()
}

fn restart(name: &'static str, restart: Restart) -> Protocol {
    Protocol::new(name).renewals().restart(restart)
}

fn everything() -> Protocol {
    Protocol::new("everything").renewals().disconnects().crashes().restart(Restart::WithData)
}

#[test]
fn delays_and_calls_that_give_up() {
    holds(delays());
}

#[test]
fn connections_that_break() {
    holds(broken_connections());
}

#[test]
fn clients_that_die() {
    holds(crashes());
}

#[test]
fn server_restarted_with_its_data() {
    holds(restart("restart with data", Restart::WithData));
}

/// A server that lost its data, and is started when every lease that it forgot is over: as Redlock asks of its servers, and
/// as whoever starts one can arrange. Fencing tokens rise although their counter is lost: the clock is ahead of it.
#[test]
fn server_restarted_empty_after_the_ttl() {
    holds(restart("empty restart after the ttl", Restart::Empty { after: 3 }));
}

#[test]
fn server_restarted_empty_after_the_ttl_without_the_clock_in_the_token() {
    let protocol = restart("empty restart after the ttl", Restart::Empty { after: 3 }).dropping(Rule::FenceByTheClock);
    caught(&protocol, Promise::FencesRiseByHold);
    caught(&protocol, Promise::FencesRiseByGrant);
}

/// Not promised: a server that comes back empty at once gives a lock that is held. What is left of the promises: tokens rise in
/// the order in which the server gives them, so a resource that checks them refuses the earlier holder; what the server denies
/// is gone; and everybody gets a turn.
#[test]
fn server_restarted_empty_at_once() {
    let protocol = || restart("empty restart at once", Restart::Empty { after: 1 });
    caught(&protocol(), Promise::Disjoint);
    caught(&protocol(), Promise::Kept);
    holds(protocol().without(Promise::Disjoint).without(Promise::Kept).without(Promise::FencesRiseByHold));
}

/// The margin is as wide as the docs say and no wider: with a client whose clock is a nanosecond a tick slower than it allows,
/// two holds overlap.
#[test]
fn clocks_further_apart_than_the_drift() {
    let too_slow = slowest_tick().saturating_sub(Duration::from_nanos(1));
    caught(&delays().clients(&[SERVER_TICK, too_slow]), Promise::Disjoint);
}

#[test]
fn all_faults_together() {
    holds(everything());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn all_faults_together_with_more_under_way() {
    holds(everything().connections(2, 4));
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn three_clients() {
    holds(Protocol::new("three clients").clients(&[SERVER_TICK, slowest_tick(), slowest_tick()]).renewals().crashes());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn states_that_count_as_one_go_on_alike() {
    alike_go_on_alike(&restart("empty restart after the ttl", Restart::Empty { after: 3 }));
}
