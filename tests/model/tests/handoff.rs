//! What is promised to those who wait, in every state that they can reach.

use lock_model_tests::handoff::{Caller, Handoff, LONG, Promise, Rule, SHORT};
use lock_model_tests::{alike_go_on_alike, caught, holds};

#[test]
fn two() {
    let caller = Caller::new(LONG).fenced();
    holds(Handoff::new("two processes", &[&[caller], &[caller]]));
}
