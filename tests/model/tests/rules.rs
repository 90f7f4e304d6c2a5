//! For each rule of the protocol: without it, a promise is broken, and the checker finds out.

use lock_model_tests::{Promise, Protocol, Restart, Rule, caught};

/// As in `promises.rs`, where the same holds with all rules.
fn delays() -> Protocol {
    Protocol::new("delays").connections(2, 4).renewals()
}

#[test]
fn lease_counted_from_the_answer() {
    caught(&delays().dropping(Rule::LeaseFromBeforeTheRequest), Promise::Disjoint);
}

#[test]
fn renewal_counted_from_the_answer() {
    caught(&delays().dropping(Rule::RenewalFromBeforeTheRequest), Promise::Disjoint);
}

#[test]
fn no_margin_for_the_drift() {
    caught(&delays().dropping(Rule::DriftMargin), Promise::Disjoint);
}

#[test]
fn bare_delete() {
    caught(&delays().dropping(Rule::CompareBeforeDelete), Promise::Disjoint);
}

#[test]
fn reused_token() {
    caught(&delays().dropping(Rule::FreshToken), Promise::Disjoint);
}

#[test]
fn clean_up_on_another_connection() {
    caught(&delays().dropping(Rule::CleanUpOnTheSameConnection), Promise::NothingIsLeft);
}

#[test]
fn no_clean_up_of_a_dropped_request() {
    caught(&delays().dropping(Rule::CleanUpOfADroppedRequest), Promise::NothingIsLeft);
}

#[test]
fn no_release_of_a_dropped_guard() {
    caught(&delays().dropping(Rule::ReleaseOfADroppedGuard), Promise::NothingIsLeft);
}

#[test]
fn fence_raised_after_the_key_is_set() {
    caught(&delays().dropping(Rule::FenceBeforeTheKey), Promise::NothingIsLeft);
}

#[test]
fn renewal_creates_what_is_gone() {
    caught(&delays().dropping(Rule::RenewalOfNothingIsDenied), Promise::NothingIsLeft);
}

#[test]
fn unknown_acquisition_taken_for_lost() {
    caught(&delays().dropping(Rule::UnknownAcquisitionIsNotLost), Promise::NothingIsLeft);
}

#[test]
fn unknown_acquisition_taken_for_held() {
    caught(&delays().dropping(Rule::UnknownAcquisitionIsNotHeld), Promise::Disjoint);
}

#[test]
fn unknown_renewal_taken_for_lost() {
    caught(&delays().dropping(Rule::UnknownRenewalIsNotLost), Promise::LossIsTrue);
}

#[test]
fn unknown_renewal_taken_for_held() {
    caught(&delays().dropping(Rule::UnknownRenewalIsNotHeld), Promise::Disjoint);
}

#[test]
fn key_without_an_expiry() {
    let crashes = || Protocol::new("crashes").renewals().crashes().dropping(Rule::Expiry);
    caught(&crashes(), Promise::EverybodyGetsATurn);
    caught(&crashes(), Promise::FreeAfterTheTtl);
}

#[test]
fn denial_ignored() {
    let restarted = Protocol::new("empty restart at once").renewals().restart(Restart::Empty { after: 1 });
    caught(&restarted.dropping(Rule::DenialEndsTheLease), Promise::LossIsNoticed);
}

#[test]
fn late_renewal_brings_a_lease_back() {
    caught(&delays().dropping(Rule::LateRenewalDoesNotCount), Promise::LossIsForGood);
}
