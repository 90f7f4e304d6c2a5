//! What Redlock over three nodes promises, in every state that it can reach; and what it does not, with the shortest way there.

use lock_model_tests::redlock::{Promise, Redlock};
use lock_model_tests::{alike_go_on_alike, caught, holds};

fn renewals() -> Redlock {
    Redlock::new("renewals", 2).renewals()
}

fn fenced() -> Redlock {
    Redlock::new("fenced", 3).fenced()
}

/// The same with leases that are renewed, and nodes that are taken again.
fn renewed() -> Redlock {
    Redlock::new("fenced, renewals", 2).fenced().renewals().room(0)
}

#[test]
fn claims_of_any_delay_again_and_again() {
    holds(Redlock::new("claims", 2).endless());
}

#[test]
fn three_clients() {
    holds(Redlock::new("three clients", 3).three_clients());
}

#[test]
fn leases_that_are_renewed() {
    holds(renewals());
    holds(renewals().endless().room(1));
}

#[test]
fn requests_that_come_to_nothing() {
    holds(Redlock::new("lost requests", 3).refusals(2));
    holds(Redlock::new("lost requests, renewals", 2).renewals().room(1).refusals(2));
}

#[test]
fn connections_that_break() {
    holds(Redlock::new("broken connections", 3).breaks(1));
    holds(Redlock::new("broken connections, renewals", 2).renewals().room(0).breaks(1));
}

/// A quorum of the others wins, while the store of the node where it failed still cleans up.
#[test]
fn acquisitions_that_fail_on_a_node() {
    holds(Redlock::new("failed acquisitions", 3).failures(1));
    holds(Redlock::new("failed acquisitions, renewals", 2).renewals().room(0).failures(1));
}

/// Nodes that come back without their data when every lease that they forgot is over: as whoever starts one can arrange.
#[test]
fn nodes_restarted_empty_after_the_ttl() {
    holds(Redlock::new("delayed restarts", 3).delayed_restarts(2));
    holds(Redlock::new("delayed restarts, renewals", 2).renewals().room(0).delayed_restarts(2));
}

/// Not promised: a single node that comes back empty at once lets two clients have the lock. What is left of the promises: no
/// renewal that is sent without a quorum extends a lease, nothing is left behind, and everybody gets a turn. An acquisition that
/// was still under way may make a quorum whole again, although another hold has begun.
#[test]
fn node_restarted_empty_at_once() {
    let forgetful = || renewals().room(0).forgetful(1);
    caught(&forgetful(), Promise::Disjoint);
    caught(&forgetful(), Promise::NobodyInBetween);
    holds(forgetful().without(Promise::Disjoint).without(Promise::NobodyInBetween));
}

/// Fencing tokens that are written back rise, as long as no node forgets, whether clocks help or not.
#[test]
fn fencing_tokens() {
    holds(fenced());
    holds(fenced().without_clocks());
}

#[test]
fn fencing_tokens_of_leases_that_are_renewed() {
    holds(renewed());
    holds(renewed().without_clocks());
}

#[test]
fn fencing_tokens_with_requests_that_come_to_nothing() {
    holds(Redlock::new("fenced, lost requests", 2).fenced().refusals(2).without_clocks());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn fencing_tokens_with_acquisitions_that_fail_on_a_node() {
    holds(Redlock::new("fenced, failed acquisitions", 2).fenced().renewals().room(0).failures(1).without_clocks());
}

#[test]
fn fencing_tokens_with_connections_that_break() {
    holds(Redlock::new("fenced, broken connections", 2).fenced().breaks(1).without_clocks());
}

/// Of counters alone, "no quorum forgets" is not enough: one node that forgets, of two that a token was written to, and a third that
/// was never told make a majority that does not know it. Every majority has to contain a node that remembers.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn counters_on_nodes_that_forget() {
    let restarts = || renewed().delayed_restarts(1).without_clocks();
    caught(&restarts(), Promise::FencesRise);
    holds(restarts().remembered());
}

/// With the clocks in the tokens, no node needs to remember.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn clocks_of_nodes_that_forget() {
    holds(renewed().delayed_restarts(1));
}

fn clocks_that_differ() -> Redlock {
    Redlock::new("fenced, clocks that differ", 2).fenced().room(0).delayed_restarts(1)
}

/// They may differ by less than the time for which a node that forgets is away;
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn clocks_that_differ_by_less_than_a_restart_takes() {
    holds(clocks_that_differ().skew(1));
}

/// and not by more.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn clocks_that_differ_by_as_much_as_a_restart_takes() {
    caught(&clocks_that_differ().skew(2), Promise::FencesRise);
}

/// Not promised: with a node that comes back empty at once, a client may begin its hold with a lower token than another that began
/// before, or with the same.
#[test]
fn fencing_tokens_on_a_node_restarted_empty_at_once() {
    caught(&Redlock::new("fenced", 2).fenced().forgetful(1), Promise::FencesRise);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn leases_that_are_renewed_with_more_under_way() {
    holds(renewals().endless());
    holds(
        Redlock::new("renewals, broken connections, delayed restarts", 2)
            .renewals()
            .room(1)
            .breaks(1)
            .delayed_restarts(1),
    );
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn fencing_tokens_with_more_nodes_that_forget() {
    holds(renewed().delayed_restarts(2));
    holds(renewed().delayed_restarts(2).without_clocks().remembered());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn fencing_tokens_of_three_clients() {
    holds(Redlock::new("fenced, three clients", 3).fenced().three_clients().delayed_restarts(1));
}

#[test]
fn states_that_count_as_one_go_on_alike() {
    alike_go_on_alike(&Redlock::new("claims", 2).endless().room(1));
    alike_go_on_alike(&renewals().room(0).forgetful(1));
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn states_that_count_as_one_go_on_alike_with_fencing_tokens() {
    alike_go_on_alike(&Redlock::new("fenced", 2).fenced().breaks(1));
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn states_that_count_as_one_go_on_alike_where_clocks_differ() {
    alike_go_on_alike(&clocks_that_differ().skew(1));
}
