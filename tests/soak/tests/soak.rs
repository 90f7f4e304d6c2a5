//! A minute of the soak, and the controls: what is broken on purpose has to fail it.
//!
//! `SOAK_SEED` repeats the faults of another run.

use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lock_soak::check::Sort;
use lock_soak::report::Report;
use lock_soak::run::{Options, run};
use lock_soak::topology::Topology;
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
/// at the clock; waiting without hand-off.
#[test]
fn a_minute_of_every_fault() {
    let report = soak(&options());
    assert!(report.findings.is_empty(), "{report}");
}

/// Promise: the same of locks on a majority of three servers, of which one after the other is stopped, killed, cut off, or
/// forgets.
///
/// Turned red by: a store that asks one of them; an acquisition that stays where it was not waited for.
#[test]
fn half_a_minute_of_redlock() {
    let mut options = options().on(Topology::Redlock);
    options.length = Duration::from_secs(30);
    let report = soak(&options);
    assert!(report.findings.is_empty(), "{report}");
}

#[test]
fn control_no_majority() {
    let mut options = options().on(Topology::Redlock);
    (options.broken, options.deck) = (Some(Broken::NoMajority), Vec::new());
    (options.length, options.wanted) = (LONG, Some(Sort::Overlap));
    let report = soak(&options);
    assert!(report.count(Sort::Overlap) > 0, "not found: {report}");
}

/// Promise: the same of locks in a cluster whose masters are replaced, on demand and since they were stopped or killed, while slots
/// move and connections and processes end. What nobody asked for may lose locks of that master, and nothing else may.
///
/// Turned red by: fencing tokens that are counted and not timed; a lost place in line that is waited in.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn half_a_minute_of_a_cluster() {
    half_a_minute_on(Topology::Cluster);
}

/// Promise: the same of locks on a master whose replicas take its place, by order of the sentinels.
///
/// Turned red by: as for a cluster.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn half_a_minute_of_sentinels() {
    half_a_minute_on(Topology::Sentinel);
}

#[track_caller]
fn half_a_minute_on(topology: Topology) {
    let mut options = options().on(topology);
    options.length = Duration::from_secs(30);
    let report = soak(&options);
    assert!(report.findings.is_empty(), "{report}");
}

/// What is excused after a failover does not excuse everything.
#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn control_slow_clock_in_a_cluster() {
    is_found_on(Topology::Cluster);
}

#[test]
#[ignore = "takes long; tests/run.sh --all runs it"]
fn control_slow_clock_beside_sentinels() {
    is_found_on(Topology::Sentinel);
}

#[track_caller]
fn is_found_on(topology: Topology) {
    let mut options = options().on(topology);
    (options.broken, options.wanted) = (Some(Broken::SlowClock), Some(Sort::Overlap));
    options.length = LONG;
    let report = soak(&options);
    assert!(report.count(Sort::Overlap) > 0, "not found: {report}");
}

/// The tests above can fail: a store that is broken like that fails it, with this finding and within this time.
#[track_caller]
fn is_found(broken: Broken, wanted: Sort, within: Duration) {
    let mut options = options().broken(broken);
    options.length = within;
    options.wanted = Some(wanted);
    // So as not to wait for long for those who wait in vain.
    options.patience = Some(Duration::from_secs(8));
    let report = soak(&options);
    assert!(report.count(wanted) > 0, "not found: {report}");
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn control_bare_delete() {
    is_found(Broken::BareDelete, Sort::Overlap, LONG);
}

#[test]
fn control_lease_from_reply() {
    is_found(Broken::LeaseFromReply, Sort::Overlap, LONG);
}

#[test]
fn control_token_reused() {
    is_found(Broken::TokenReused, Sort::Overlap, LONG);
}

#[test]
fn control_slow_clock() {
    is_found(Broken::SlowClock, Sort::Overlap, LONG);
}

#[test]
fn control_slow_clock_by_its_lost_updates() {
    is_found(Broken::SlowClock, Sort::LostUpdate, LONG);
}

#[test]
fn control_renewal_sets() {
    is_found(Broken::RenewalSets, Sort::Overlap, LONG);
}

#[test]
fn control_constant_fence() {
    is_found(Broken::ConstantFence, Sort::FenceDidNotRise, LONG);
}

/// Fencing tokens that are all alike refuse nobody: this takes two who write at once, as after a loss of data.
#[test]
fn control_constant_fence_by_its_lost_updates() {
    is_found(Broken::ConstantFence, Sort::LostFencedUpdate, LONG);
}

/// Who is killed leaves a lock behind that nobody gets in time.
#[test]
fn control_long_key() {
    is_found(Broken::LongKey, Sort::Unserved, Duration::from_secs(8));
}

/// Whoever is called has the lock only if the server says so.
#[test]
fn control_unconfirmed() {
    is_found(Broken::Unconfirmed, Sort::Overlap, LONG);
}

/// A soak that never hands over says nothing about it.
#[test]
fn control_no_line() {
    is_found(Broken::NoLine, Sort::Idle, Duration::from_secs(2));
}

#[test]
fn control_confirmation_sets() {
    is_found(Broken::ConfirmationSets, Sort::Overlap, LONG);
}

#[test]
fn control_litter() {
    is_found(Broken::Litter, Sort::Leftover, Duration::from_secs(2));
}
