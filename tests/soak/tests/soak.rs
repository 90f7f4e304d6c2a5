//! A minute of the soak, and the controls: what is broken on purpose has to fail it.
//!
//! `SOAK_SEED` repeats the faults of another run.

use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lock_soak::check::Sort;
use lock_soak::report::Report;
use lock_soak::run::{Options, run};
use lock_soak::watched::Broken;
use lock_tests::machine_time;

/// One soak at a time, where the tests are run by threads: each of them is a crowd.
static ALONE: Mutex<()> = Mutex::new(());

fn options() -> Options {
    let seed = match env::var("SOAK_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        // Any other than the last time.
        Err(_) => u64::from(machine_time().subsec_nanos()),
    };
    Options::new(seed, env!("CARGO_BIN_EXE_lock-soak").into())
}

fn soak(options: &Options) -> Report {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let report = run(options);
    println!("{report}");
    report
}

/// Promise: whatever happens to the processes, to their server and to their network, no two leases of a key are believed in at
/// once, no update is lost, fencing tokens rise, everybody who waits gets a turn, and nothing is left behind; but for what is
/// documented where data is lost.
///
/// Turned red by: each of the stores below; `SET` without `NX`; a release without comparing; a body that is polled without a look
/// at the clock.
#[test]
fn a_minute_of_every_fault() {
    let report = soak(&options());
    assert!(report.findings.is_empty(), "{report}");
}

/// The test above can fail: a store that is broken like that fails it, with this finding.
#[track_caller]
fn is_found(broken: Broken, wanted: Sort) {
    let mut options = options().broken(broken);
    options.length = Duration::from_secs(20);
    options.wanted = Some(wanted);
    let report = soak(&options);
    assert!(report.count(wanted) > 0, "not found: {report}");
}

#[test]
fn control_bare_delete() {
    is_found(Broken::BareDelete, Sort::Overlap);
}

#[test]
fn control_lease_from_reply() {
    is_found(Broken::LeaseFromReply, Sort::Overlap);
}

#[test]
fn control_token_reused() {
    is_found(Broken::TokenReused, Sort::Overlap);
}

#[test]
fn control_slow_clock() {
    is_found(Broken::SlowClock, Sort::Overlap);
}

#[test]
fn control_slow_clock_by_its_lost_updates() {
    is_found(Broken::SlowClock, Sort::LostUpdate);
}

#[test]
fn control_renewal_sets() {
    is_found(Broken::RenewalSets, Sort::Overlap);
}

#[test]
fn control_constant_fence() {
    is_found(Broken::ConstantFence, Sort::FenceDidNotRise);
}
