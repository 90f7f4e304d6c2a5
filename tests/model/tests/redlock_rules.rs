//! For each rule of Redlock: without it, a promise is broken, and the checker finds out.

use lock_model_tests::caught;
use lock_model_tests::redlock::{Promise, Redlock, Rule};

// As in `redlock.rs`, where the same holds with all rules.

fn claims() -> Redlock {
    Redlock::new("claims", 3)
}

fn renewals() -> Redlock {
    Redlock::new("renewals", 2).renewals().room(1)
}

fn fenced() -> Redlock {
    Redlock::new("fenced", 3).fenced()
}

#[test]
fn lease_counted_from_the_answers() {
    caught(&claims().dropping(Rule::LeaseFromBeforeTheRequests), Promise::Disjoint);
}

#[test]
fn renewal_counted_from_the_answers() {
    caught(&renewals().dropping(Rule::RenewalFromBeforeTheRequests), Promise::Disjoint);
}

#[test]
fn quorum_of_the_nodes_that_have_answered() {
    caught(&claims().dropping(Rule::QuorumOfTheConfigured), Promise::Disjoint);
}

#[test]
fn bare_delete() {
    caught(&claims().dropping(Rule::CompareBeforeDelete), Promise::Disjoint);
}

#[test]
fn rollback_where_the_answer_was_yes() {
    caught(&claims().dropping(Rule::RollbackOnAllNodes), Promise::NothingIsLeft);
}

#[test]
fn reused_token() {
    caught(&Redlock::new("lost requests", 3).refusals(2).dropping(Rule::FreshToken), Promise::Disjoint);
}

#[test]
fn key_without_an_expiry() {
    caught(&Redlock::new("lost requests", 3).refusals(2).dropping(Rule::Expiry), Promise::EverybodyGetsATurn);
}

/// Without the help of the clocks.
fn counters() -> Redlock {
    Redlock::new("counters", 3).fenced().without_clocks()
}

#[test]
fn no_write_back() {
    caught(&fenced().dropping(Rule::WriteBack), Promise::FencesRise);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn write_back_that_does_not_compare() {
    caught(&counters().dropping(Rule::WriteBackCompares), Promise::FencesRise);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn write_back_to_a_minority() {
    caught(&counters().dropping(Rule::WriteBackToAQuorum), Promise::FencesRise);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn deadline_not_checked_after_the_write_back() {
    caught(&fenced().dropping(Rule::DeadlineAfterTheWriteBack), Promise::FencesRise);
}

#[test]
fn failed_renewal_that_releases() {
    caught(&renewals().dropping(Rule::FailedRenewalReleasesNothing), Promise::Disjoint);
}

#[test]
fn rejoined_node_counted() {
    let forgetful = Redlock::new("forgetful nodes", 2).renewals().forgetful(1).room(0);
    caught(&forgetful.dropping(Rule::RejoinedDoNotCount), Promise::LossIsNoticed);
}

/// The clean-up behind what failed on a node comes when it likes.
#[test]
fn node_counted_that_is_cleaned_up() {
    let failures = Redlock::new("failed acquisitions", 2).renewals().room(0).failures(1);
    caught(&failures.dropping(Rule::FailedHaveNoSay), Promise::Disjoint);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn node_taken_again_without_the_fencing_token() {
    let restarts =
        Redlock::new("fenced, delayed restarts", 2).fenced().renewals().room(0).delayed_restarts(2).rejoins(1);
    let restarts = restarts.without_clocks().remembered();
    caught(&restarts.dropping(Rule::RejoinWithTheFence), Promise::FencesRise);
}

#[test]
fn release_that_does_not_end_rejoins() {
    let forgetful = Redlock::new("forgetful nodes", 2).renewals().forgetful(1).room(0);
    caught(&forgetful.dropping(Rule::ReleaseEndsRejoins), Promise::NothingIsLeft);
}
