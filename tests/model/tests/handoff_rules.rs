//! For each rule of waiting: without it, a promise is broken, and the checker finds out.

use lock_model_tests::caught;
use lock_model_tests::handoff::{Caller, Handoff, LONG, Promise, Rule, SHORT};

const CALLER: Caller = Caller::new(LONG);
const BRIEF: Caller = Caller::new(SHORT);
const FENCED: Caller = CALLER.fenced();

// As in `handoff.rs`, where the same holds with all rules: some of them there with fewer rounds.

fn two() -> Handoff {
    Handoff::new("two processes", &[&[FENCED], &[FENCED]])
}

fn alone() -> Handoff {
    Handoff::new("hand-off alone", &[&[CALLER], &[CALLER], &[CALLER]]).timeless().without_polls()
}

fn broken() -> Handoff {
    Handoff::new("broken connections", &[&[CALLER], &[CALLER]]).disconnects().faults(1)
}

fn stopped() -> Handoff {
    let handoff = Handoff::new("stopped", &[&[CALLER], &[CALLER]]);
    handoff.stops().foreign().faults(1).rounds(1).patient().served_within(4)
}

fn one_process() -> Handoff {
    Handoff::new("callers of one process", &[&[CALLER, BRIEF], &[CALLER]])
}

#[test]
fn no_confirmation() {
    caught(&two().dropping(Rule::Confirm), Promise::Disjoint);
}

#[test]
fn lease_counted_from_the_answer_to_the_confirmation() {
    caught(&two().dropping(Rule::LeaseFromBeforeTheConfirmation), Promise::Disjoint);
}

#[test]
fn confirmation_that_does_not_compare() {
    caught(&two().dropping(Rule::ConfirmationCompares), Promise::Disjoint);
}

/// By a confirmation on a connection that broke, for somebody of the process who has left, and wanted the lock for less time.
#[test]
fn confirmation_that_shortens() {
    let handoff = Handoff::new("broken connections, foreign", &[&[CALLER, BRIEF]]).disconnects().foreign().faults(1);
    caught(&handoff.dropping(Rule::ConfirmationNeverShortens), Promise::Kept);
}

#[test]
fn confirmation_without_a_new_fencing_token() {
    caught(&two().dropping(Rule::ConfirmationRaisesTheFence), Promise::FencesRise);
}

#[test]
fn repeated_question_resets_the_expiry() {
    caught(&broken().dropping(Rule::RepeatLeavesTheExpiry), Promise::Disjoint);
}

#[test]
fn reused_token() {
    caught(&broken().dropping(Rule::FreshToken), Promise::Disjoint);
}

#[test]
fn release_that_does_not_compare() {
    caught(&two().dropping(Rule::ReleaseCompares), Promise::Disjoint);
}

#[test]
fn hand_over_past_the_deadline() {
    caught(&one_process().dropping(Rule::HandOverWithinTheDeadline), Promise::Disjoint);
}

/// Two callers of one process, and one of another, all of whom want fencing tokens.
fn fenced() -> Handoff {
    Handoff::new("fenced callers", &[&[FENCED, FENCED], &[FENCED]])
}

#[test]
fn hand_over_with_a_fencing_token_that_was_not_reserved() {
    caught(&fenced().dropping(Rule::FencedTakeWhatIsReserved), Promise::FencesRise);
}

#[test]
fn fencing_token_given_out_twice() {
    caught(&fenced().dropping(Rule::ReservedTokensAreTakenOnce), Promise::FencesRise);
}

#[test]
fn counter_raised_by_one_for_a_row() {
    caught(&fenced().dropping(Rule::CounterCountsTheRow), Promise::FencesRise);
}

#[test]
fn guard_whose_lease_has_gone_to_somebody_else() {
    caught(&one_process().dropping(Rule::StaleGuardsDoNothing), Promise::Disjoint);
}

#[test]
fn offer_accepted_after_it_was_taken_back() {
    caught(&one_process().dropping(Rule::LapsedOffersAreGone), Promise::Disjoint);
}

#[test]
fn offer_that_is_not_taken_back() {
    let handoff = Handoff::new("not polled", &[&[CALLER, BRIEF]]).freezes();
    caught(&handoff.dropping(Rule::OffersAreTakenBack), Promise::Served);
}

#[test]
fn cancelled_without_giving_back() {
    caught(&two().dropping(Rule::CancelGivesBack), Promise::NothingIsLeft);
}

#[test]
fn cancelled_without_leaving_the_line() {
    caught(&two().dropping(Rule::CancelLeavesTheLine), Promise::NothingIsLeft);
}

#[test]
fn dropped_without_a_word() {
    caught(&two().dropping(Rule::CancelOfADroppedFuture), Promise::NothingIsLeft);
}

#[test]
fn lost_and_not_given_back() {
    caught(&two().dropping(Rule::LostIsGivenBack), Promise::NothingIsLeft);
}

#[test]
fn waiting_for_the_call_alone() {
    caught(&two().lost_notes().dropping(Rule::Polls), Promise::Served);
    caught(&two().foreign().dropping(Rule::Polls), Promise::Served);
    caught(&two().deaths().dropping(Rule::Polls), Promise::Served);
    caught(&two().stops().served_within(4).dropping(Rule::Polls), Promise::Served);
}

#[test]
fn broken_connection_without_asking_anew() {
    let handoff = Handoff::new("hand-off alone, broken connections", &[&[CALLER], &[CALLER]]);
    let handoff = handoff.timeless().without_polls().disconnects().without_strays();
    caught(&handoff.dropping(Rule::BrokenConnectionCalls), Promise::Served);
}

#[test]
fn in_line_before_listening() {
    caught(&alone().dropping(Rule::ListensFirst), Promise::Served);
}

#[test]
fn lining_up_apart_from_trying() {
    caught(&alone().dropping(Rule::LiningUpTries), Promise::Served);
    caught(&alone().dropping(Rule::LiningUpTries), Promise::FirstInFirstOut);
}

#[test]
fn question_that_takes_the_lock_past_the_line() {
    caught(&two().foreign().dropping(Rule::WhoAsksKeepsTheOrder), Promise::FirstInFirstOut);
}

#[test]
fn grant_of_the_whole_time() {
    caught(&stopped().dropping(Rule::GrantsAreShort), Promise::Served);
}

/// Found because the bound is tight: the others wait for no more than what is left of one lease.
#[test]
fn the_dead_are_given_their_turn() {
    let handoff =
        Handoff::new("deaths, foreign", &[&[CALLER], &[CALLER]]).deaths().foreign().faults(1).rounds(1).patient();
    caught(&handoff.dropping(Rule::TheDeadArePassedOver), Promise::Served);
}

/// As above.
#[test]
fn ghosts_that_are_left_alone() {
    let handoff = Handoff::new("broken connections, foreign", &[&[BRIEF], &[BRIEF]]);
    let handoff = handoff.foreign().disconnects().faults(1).rounds(1).patient();
    caught(&handoff.dropping(Rule::GhostsAreLaid), Promise::Served);
}
