//! For each rule of waiting: without it, a promise is broken, and the checker finds out.

use lock_model_tests::handoff::{Caller, Handoff, LONG, Promise, Rule, SHORT};
use lock_model_tests::{caught, holds};

fn two() -> Handoff {
    let caller = Caller::new(LONG).fenced();
    Handoff::new("two processes", &[&[caller], &[caller]])
}

fn alone() -> Handoff {
    let caller = Caller::new(LONG);
    Handoff::new("hand-off alone", &[&[caller], &[caller], &[caller]]).timeless().without_polls()
}

fn broken() -> Handoff {
    let caller = Caller::new(LONG);
    Handoff::new("broken connections", &[&[caller], &[caller]]).disconnects().faults(1)
}

fn pairs() -> Handoff {
    let (long, short) = (Caller::new(LONG), Caller::new(SHORT));
    Handoff::new("callers of one process", &[&[long, short], &[long]])
}

fn stops() -> Handoff {
    let caller = Caller::new(LONG);
    Handoff::new("stopped", &[&[caller], &[caller]]).stops().foreign().patient().rounds(1).faults(1).served_within(4)
}

#[test] fn t_confshortens() {
    let (long, short) = (Caller::new(LONG), Caller::new(SHORT));
    let p = Handoff::new("broken pairs", &[&[long, short]]).foreign().disconnects().faults(1);
    caught(&p.dropping(Rule::ConfirmationNeverShortens), Promise::Kept); }
#[test] fn t_gas() { caught(&stops().dropping(Rule::GrantsAreShort), Promise::Served); }
#[test] fn t_fresh() { caught(&broken().dropping(Rule::FreshToken), Promise::Disjoint); }
#[test] fn t_stops() { holds(stops()); }
#[test] fn t_stops2() { holds(stops().served_within(5)); }
#[test] fn t_deaths() { holds(two().deaths()); }
#[test] fn t_surv_dead() { holds(two().deaths().served_within(4).dropping(Rule::TheDeadArePassedOver)); }
#[test] fn t_surv_dead2() { holds(two().deaths().dropping(Rule::TheDeadArePassedOver)); }
