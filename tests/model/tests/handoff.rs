//! What is promised to those who wait, in every state that they can reach.

use lock_model_tests::handoff::{Caller, Handoff, LONG, Promise, Rule, SHORT};
use lock_model_tests::{alike_go_on_alike, caught, holds};

fn c() -> Caller { Caller::new(LONG) }
fn s() -> Caller { Caller::new(SHORT) }



#[test] fn a1() { holds(Handoff::new("three alone", &[&[c()], &[c()], &[c()]]).timeless().without_polls()); }
#[test] fn d5() { holds(Handoff::new("disconnects timeless no polls", &[&[c()], &[c()]]).disconnects().without_strays().timeless().without_polls()); }
#[test] fn d2() { holds(Handoff::new("disconnects short f1 r1 patient", &[&[s().fenced()], &[s().fenced()]]).disconnects().faults(1).rounds(1).patient()); }
#[test] fn d3() { holds(Handoff::new("disconnects short f1 r1", &[&[s().fenced()], &[s().fenced()]]).disconnects().faults(1).rounds(1)); }
#[test] fn d4() { holds(Handoff::new("disconnects f1", &[&[s().fenced()], &[s().fenced()]]).disconnects().faults(1)); }
#[test] fn e1() { holds(Handoff::new("deaths 3 patient short f1 r1", &[&[s()], &[s()], &[s()]]).deaths().patient().served_within(5).rounds(1).faults(1)); }
#[test] fn e2() { holds(Handoff::new("stops 2 foreign patient f1 r1", &[&[c()], &[c()]]).stops().foreign().patient().served_within(4).rounds(1).faults(1)); }
#[test] fn f1() { holds(Handoff::new("stops 3 patient short f1 r1", &[&[s()], &[s()], &[s()]]).stops().patient().served_within(4).rounds(1).faults(1)); }
#[test] fn h1() { holds(Handoff::new("three r1 patient short", &[&[s()], &[s()], &[s()]]).patient().rounds(1)); }
#[test] fn h4() { holds(Handoff::new("two", &[&[c().fenced()], &[c().fenced()]])); }
