//! What is counted, by a recorder of the test's own: over memory, on paused time.
#![cfg(all(feature = "metrics", feature = "test-util"))]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::test_util::{Faults, Operation};
use lock_runtime::{LockManager, Store};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

const TTL: Duration = Duration::from_secs(10);

/// One series of each kind by its name and labels, as an exporter would print them.
#[derive(Default)]
struct Series {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Values>>>,
    described: Mutex<BTreeMap<String, Option<Unit>>>,
}

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().expect("no panic").push(value);
    }
}

fn of<T: Default>(series: &Mutex<BTreeMap<String, Arc<T>>>, key: &Key) -> Arc<T> {
    let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    let name = format!("{}{{{}}}", key.name(), labels.join(","));
    series.lock().expect("no panic").entry(name).or_default().clone()
}

impl Recorder for Series {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(of(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(of(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(of(&self.histograms, key))
    }
}

impl Series {
    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.described.lock().expect("no panic").insert(name.as_str().to_owned(), unit);
    }

    /// Runs `test` while this counts what its thread does, on paused time.
    fn record(&self, test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        metrics::with_local_recorder(self, || runtime.expect("a runtime").block_on(test));
    }

    #[track_caller]
    fn assert_counted(&self, name: &str, count: u64) {
        let counters = self.counters.lock().expect("no panic");
        let found = counters.get(name).map_or(0, |counter| counter.load(Relaxed));
        assert_eq!(found, count, "{name}: {:?}", counters.keys());
    }

    #[track_caller]
    fn assert_gauge(&self, name: &str, value: f64) {
        let found = self.gauges.lock().expect("no panic").get(name).map(|gauge| f64::from_bits(gauge.load(Relaxed)));
        assert!(found.is_some_and(|found| (found - value).abs() < 1e-9), "{name}: {found:?}, not {value}");
    }

    #[track_caller]
    fn assert_recorded(&self, name: &str, values: &[f64]) {
        let found =
            self.histograms.lock().expect("no panic").get(name).map(|found| found.0.lock().expect("ours").clone());
        let found = found.unwrap_or_default();
        let same = found.len() == values.len() && found.iter().zip(values).all(|(a, b)| (a - b).abs() < 0.01);
        assert!(same, "{name}: {found:?}, not {values:?}");
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.counters.lock().expect("no panic").keys().cloned().collect();
        names.extend(self.gauges.lock().expect("no panic").keys().cloned());
        names.extend(self.histograms.lock().expect("no panic").keys().cloned());
        names
    }
}

/// Promise: every end of an acquisition and of a hold is counted once under the call's label, a cancelled one too; what waits and
/// what is held is in the gauges while it does, and not after it; both times are in seconds.
///
/// Turned red by: any of the counters left out or in another place; a gauge that is not lowered when a wait is cancelled, or a
/// guard dropped; a loss or a refused request that is not counted; milliseconds.
#[test]
fn what_happens_is_counted() {
    let series = Series::default();
    series.record(async {
        let store = Faults::new(MemoryStore::new());
        let locks = LockManager::builder(store.clone()).build();
        let lock = || locks.lock("k").name("job").ttl(TTL);
        let guard = lock().acquire().await.expect("free");
        series.assert_gauge("lock_held{lock=job}", 1.0);
        lock().acquire().await.expect_err("busy");
        let cancelled = tokio::time::timeout(TTL / 10, lock().wait(TTL).acquire());
        let during = async {
            tokio::time::sleep(TTL / 20).await;
            series.assert_gauge("lock_waiting{lock=job}", 1.0);
        };
        let (cancelled, ()) = tokio::join!(cancelled, during);
        assert!(cancelled.is_err(), "it was dropped while it waited");
        series.assert_gauge("lock_waiting{lock=job}", 0.0);
        guard.release().await.expect("released");
        series.assert_gauge("lock_held{lock=job}", 0.0);

        let guard = lock().acquire().await.expect("free");
        store.fail(Operation::Release, 1);
        guard.release().await.expect_err("no answer");
        let guard = lock().acquire().await.expect("it was repeated");
        let next = lock().wait(TTL).acquire();
        let first = async {
            tokio::time::sleep(TTL / 4).await;
            drop(guard);
        };
        let (next, ()) = tokio::join!(next, first);
        let next = next.expect("free");
        store.release(&lock_runtime::store::Claim::new(next.key().clone(), TTL, "".into())).await.expect("not ours");
        tokio::time::sleep(2 * TTL).await;
        assert!(!next.is_held());
        next.release().await.expect_err("lost");
        store.fail(Operation::Acquire, 1);
        lock().acquire().await.expect_err("no answer");
        locks.lock("k").name("job").ttl(Duration::ZERO).acquire().await.expect_err("no time");
        series.assert_gauge("lock_held{lock=job}", 0.0);
        series.assert_gauge("lock_waiting{lock=job}", 0.0);
    });
    series.assert_counted("lock_attempts_total{lock=job}", 8);
    for (outcome, count) in [("acquired", 4), ("busy", 1), ("cancelled", 1), ("unavailable", 1), ("invalid", 1)] {
        series.assert_counted(&format!("lock_acquisitions_total{{lock=job,outcome={outcome}}}"), count);
    }
    for (outcome, count) in [("released", 1), ("unanswered", 1), ("background", 1), ("gone", 1)] {
        series.assert_counted(&format!("lock_releases_total{{lock=job,outcome={outcome}}}"), count);
    }
    series.assert_counted("lock_lost_total{lock=job,cause=expired}", 1);
    series.assert_recorded("lock_wait_seconds{lock=job,outcome=acquired}", &[0.0, 0.0, 0.0, 2.5]);
    series.assert_recorded("lock_hold_seconds{lock=job}", &[1.0, 0.0, 2.5, 20.0]);
}

/// Promise: there are as many series as there are calls in the source code and ways for them to end, however many keys are locked;
/// no name or label has a key in it. All that there are, and no others, are in the documentation.
///
/// Turned red by: the key among the labels; a metric that the table does not have.
#[test]
fn ten_thousand_keys_are_a_handful_of_series() {
    let series = Series::default();
    series.record(async {
        let locks = LockManager::in_memory();
        for number in 0..10_000 {
            let key = format!("customer:{number}");
            let guard = locks.lock(&*key).name("order:{id}").ttl(TTL).acquire().await.expect("free");
            guard.release().await.expect("released");
        }
    });
    let names = series.names();
    assert_eq!(names.len(), 7, "{names:?}");
    assert!(names.iter().all(|name| name.contains("{lock=order:{id}") && !name.contains("customer")), "{names:?}");
    series.assert_counted("lock_acquisitions_total{lock=order:{id},outcome=acquired}", 10_000);

    let source = include_str!("../src/telemetry/figures.rs");
    let documentation = include_str!("../src/telemetry.rs");
    let listed = |text: &str, before: &str| -> Vec<String> {
        let mut names: Vec<_> =
            text.split(before).skip(1).filter_map(|rest| rest.split(['"', '`']).next()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let documented = listed(documentation, "//! | `lock_");
    let counted = listed(source, "!(\"lock_");
    assert_eq!(documented, counted);
    let described = series.described.lock().expect("no panic");
    assert!(described.keys().eq(documented.iter().map(|name| format!("lock_{name}")).collect::<Vec<_>>().iter()));
    assert!(described.iter().all(|(name, unit)| name.ends_with("_seconds") == (*unit == Some(Unit::Seconds))));
    assert_eq!(counted.len(), 8, "{counted:?}");
}

/// Promise: an exporter that is installed after the first lock counts from then on, and one that takes its place, too.
///
/// Turned red by: series that are kept for ever once they were found.
#[test]
fn an_exporter_that_comes_later_counts_from_then_on() {
    let locks = LockManager::in_memory();
    let lock = async || {
        let guard = locks.lock("k").name("job").ttl(TTL).acquire().await.expect("free");
        guard.release().await.expect("released");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(lock());
    let [first, second] = [(); 2].map(|()| Series::default());
    for (series, times) in [(&first, 1), (&second, 2), (&first, 1)] {
        metrics::with_local_recorder(series, || {
            for _ in 0..times {
                runtime.block_on(lock());
            }
        });
    }
    for series in [&first, &second] {
        series.assert_counted("lock_attempts_total{lock=job}", 2);
        series.assert_counted("lock_acquisitions_total{lock=job,outcome=acquired}", 2);
        series.assert_counted("lock_releases_total{lock=job,outcome=released}", 2);
        series.assert_gauge("lock_held{lock=job}", 0.0);
        series.assert_gauge("lock_waiting{lock=job}", 0.0);
    }
}
