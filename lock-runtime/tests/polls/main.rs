//! A call under the attribute, poll by poll.
//!
//! The call is polled by hand, the store answers when and as it is told, and the clock goes when it is told. Undisturbed, whatever can
//! go on does, and the call returns. Each test runs every schedule in which something else happens at up to so many points: an
//! answer is another one, late or overtaken, time passes, also in the middle of a poll, the background runs then, the call is
//! polled although nobody asked for it, or is dropped, the body does something else. `call.rs` says what may happen when, and
//! `rules.rs` what must be so at each step.
//!
//! The task that renews stands for the keeper's thread: it runs when the schedule says so, between two polls and within one.
#![cfg(feature = "macros")]

mod call;
mod rules;
mod schedule;
mod world;

use crate::call::Outcome::{Busy, Dropped, Failed, Lost, Noticed, Panicked, Returned, Unavailable};
use crate::call::{Act, Course, Outcome, Way, explore};

const PLAIN: Course =
    Course { plan: &[Act::Wait, Act::Return], way: Way::Plain, destructor_panics: false, deviations: 3 };

const EXTENDED: Course = Course { plan: &[Act::Extend, Act::Return], ..PLAIN };

const RENEWED: Course = Course { way: Way::Renewed, ..PLAIN };

const BY_HAND: Course = Course { way: Way::ByHand, plan: &[Act::Wait, Act::Wait, Act::Return], ..PLAIN };

/// In the middle, the body asks for more time.
const LONGER: &[Act] = &[Act::Wait, Act::Extend, Act::Return];

/// Tries every schedule of `course`. They have to be so many, or it tried something else; and among them, calls have to end in all
/// of these ways.
fn try_all(course: Course, schedules: usize, outcomes: &[Outcome]) {
    let seen = explore(course);
    let tried: usize = seen.values().sum();
    assert!(tried >= schedules, "{tried} schedules");
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), outcomes, "how a call may end");
}

const ENDS: [Outcome; 8] =
    [Returned, Failed, Lost { completed: false }, Lost { completed: true }, Busy, Unavailable, Panicked, Dropped];

const ENDS_BY_HAND: [Outcome; 8] =
    [Returned, Failed, Lost { completed: false }, Noticed, Busy, Unavailable, Panicked, Dropped];

/// Promise: the body is polled under a good lease and at no other time; woken when it is over; dropped before the lock is given back;
/// and the lock is given back once, whatever happens when. A success that came too late is no success.
///
/// Turned red by: a clock that is compared after the poll, or only when the timer rings; a body without a timer; a guard whose
/// `Drop` does nothing, or follows an answered release with a clean-up; a standing that is asked for after the release.
#[test]
fn a_body_that_waits() {
    try_all(PLAIN, 4_000, &ENDS);
}

/// Promise: so it is where the body asks for more time. What is lost is not extended, a denial ends the body, and a loss in its last
/// poll is told.
///
/// Turned red by: an extension that is counted although the lease had ended before its answer, or that is sent after it.
#[test]
fn a_body_that_asks_for_more_time() {
    try_all(EXTENDED, 5_000, &ENDS);
}

/// Promise: so it is where the lease is renewed meanwhile. A denied renewal wakes the body, whichever task polls it by now; an
/// unanswered one is no loss; and no renewal is sent behind a release, nor a release beside a renewal before its time.
///
/// Turned red by: a loss that wakes nobody, or the waker of the first poll; a release that does not wait for its turn; a keeper
/// that does not look whether the lock is still held.
#[test]
fn a_body_that_is_renewed() {
    try_all(RENEWED, 15_000, &ENDS);
}

/// As above, where the caller does not wait for the release.
#[test]
fn a_release_in_the_background() {
    try_all(Course { way: Way::ReleasedInBackground, ..PLAIN }, 2_000, &ENDS);
}

/// Promise: a body that is to proceed without its lock does so, and its result is its own.
///
/// Turned red by: a body that is stopped all the same.
#[test]
fn a_body_that_proceeds_without_its_lock() {
    let outcomes = [Returned, Failed, Busy, Unavailable, Panicked, Dropped];
    try_all(Course { way: Way::Proceeding, ..PLAIN }, 5_000, &outcomes);
}

/// Promise: a panic in a destructor of the body goes on, at whatever point it is dropped, and the lock is given back.
///
/// Turned red by: a guard whose `Drop` does nothing.
#[test]
fn a_destructor_that_panics() {
    // Lost or dropped without a panic are those that had no body yet.
    let outcomes = [Lost { completed: false }, Busy, Unavailable, Panicked, Dropped];
    try_all(Course { destructor_panics: true, ..PLAIN }, 2_000, &outcomes);
}

/// Promise: whoever holds the guard by hand and listens is woken by every loss, and told by the release what became of the lock.
///
/// Turned red by: a loss, or the end of the lease, that is not told to those who listen; or that is missed when it falls between their
/// look at the lease and the moment from which they are told.
#[test]
fn a_guard_held_by_hand() {
    try_all(BY_HAND, 30_000, &ENDS_BY_HAND);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn a_body_that_waits_further_from_the_undisturbed_course() {
    try_all(Course { deviations: 4, ..PLAIN }, 40_000, &ENDS);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn a_body_that_asks_for_more_time_further_from_the_undisturbed_course() {
    try_all(Course { deviations: 4, ..EXTENDED }, 60_000, &ENDS);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn a_body_that_is_renewed_and_asks_for_more_time() {
    try_all(Course { plan: LONGER, ..RENEWED }, 30_000, &ENDS);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn a_guard_held_by_hand_that_asks_for_more_time() {
    try_all(Course { plan: LONGER, ..BY_HAND }, 30_000, &ENDS_BY_HAND);
}
