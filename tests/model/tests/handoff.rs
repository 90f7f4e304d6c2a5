//! What is promised to those who wait, in every state that they can reach.

use lock_model_tests::handoff::{Caller, Handoff, LONG, Promise, SHORT};
use lock_model_tests::{alike_go_on_alike, caught, holds};

const CALLER: Caller = Caller::new(LONG);
const BRIEF: Caller = Caller::new(SHORT);
const FENCED: Caller = CALLER.fenced();

#[test]
fn two_processes() {
    holds(Handoff::new("two processes", &[&[FENCED], &[FENCED]]));
}

/// Who does not wait for an answer asks again behind the first question.
#[test]
fn more_under_way() {
    holds(Handoff::new("more under way", &[&[BRIEF], &[BRIEF]]).room(2));
}

/// Where nothing is lost and nobody dies, the call is enough: nobody would have to ask while it waits.
#[test]
fn handoff_alone() {
    holds(Handoff::new("hand-off alone", &[&[CALLER], &[CALLER], &[CALLER]]).timeless().without_polls());
}

/// That a connection broke is a call, too.
#[test]
fn handoff_alone_over_connections_that_break() {
    let handoff = Handoff::new("hand-off alone, broken connections", &[&[CALLER], &[CALLER]]);
    holds(handoff.timeless().without_polls().disconnects().without_strays());
}

#[test]
fn notes_that_are_lost_or_repeated() {
    holds(Handoff::new("lost and repeated notes", &[&[CALLER], &[CALLER]]).lost_notes().repeated_notes());
}

#[test]
fn a_program_that_knows_nothing_of_lines() {
    holds(Handoff::new("foreign", &[&[CALLER], &[CALLER]]).foreign());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn connections_that_break() {
    let fenced = BRIEF.fenced();
    let handoff = Handoff::new("broken connections", &[&[fenced], &[fenced]]);
    holds(handoff.disconnects().faults(1).rounds(1).patient());
}

#[test]
fn processes_that_die() {
    holds(Handoff::new("deaths", &[&[CALLER], &[CALLER]]).deaths().foreign());
}

#[test]
fn one_of_three_dies() {
    let handoff = Handoff::new("a death", &[&[BRIEF], &[BRIEF], &[BRIEF]]);
    holds(handoff.deaths().faults(1).rounds(1).notes(1).patient());
}

/// Each of those who are stopped costs the others what the lock is kept for it: a tick.
#[test]
fn processes_that_are_stopped() {
    let stopped = || Handoff::new("stopped", &[&[CALLER], &[CALLER]]).stops().foreign().faults(1).rounds(1).patient();
    holds(stopped().served_within(4));
    caught(&stopped().served_within(3), Promise::Served);
}

#[test]
fn callers_of_one_process() {
    holds(Handoff::new("callers of one process", &[&[CALLER, BRIEF], &[BRIEF]]).rounds(1).patient());
}

#[test]
fn callers_who_are_not_polled() {
    holds(Handoff::new("not polled", &[&[CALLER, BRIEF]]).freezes());
}

/// Whoever wants a fencing token takes over only what comes with one, and hands over all the same to somebody who wants none.
#[test]
fn callers_with_a_fencing_token() {
    holds(Handoff::new("fenced callers", &[&[FENCED, BRIEF]]).foreign());
}

/// Tokens that are taken in a row rise beside those of another process.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn callers_of_two_processes_with_fencing_tokens() {
    holds(Handoff::new("fenced callers of two processes", &[&[FENCED, FENCED], &[FENCED]]).rounds(1));
}

#[test]
fn states_that_count_as_one_go_on_alike() {
    alike_go_on_alike(&Handoff::new("stopped", &[&[BRIEF], &[BRIEF]]).stops().faults(1).rounds(1).patient());
    alike_go_on_alike(&Handoff::new("fenced callers", &[&[FENCED, BRIEF]]));
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn three_processes() {
    holds(Handoff::new("three processes", &[&[BRIEF], &[BRIEF], &[BRIEF]]).rounds(1).patient());
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn callers_of_one_process_again_and_again() {
    holds(Handoff::new("callers of one process, again and again", &[&[CALLER, BRIEF], &[CALLER]]));
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn connections_that_break_beside_a_program_that_knows_nothing_of_lines() {
    let handoff = Handoff::new("broken connections, foreign", &[&[BRIEF], &[BRIEF]]);
    holds(handoff.foreign().disconnects().faults(1).rounds(1).patient());
}
