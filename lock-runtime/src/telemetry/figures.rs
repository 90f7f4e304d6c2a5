//! What is counted of acquisitions and holds, for the facade `metrics`. Without the feature, nothing is, and nothing of this is
//! left.

use std::time::Duration;

use super::Release;
use crate::lease::LostCause;

#[cfg(feature = "metrics")]
pub(crate) use self::counted::{Attempt, Figures, Series};
#[cfg(not(feature = "metrics"))]
pub(crate) use self::uncounted::{Attempt, Figures, Series};

#[cfg(feature = "metrics")]
mod counted {
    use std::collections::HashMap;
    use std::fmt;
    use std::ptr;
    use std::sync::{Arc, OnceLock, PoisonError, RwLock};

    use metrics::{
        Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
        histogram, with_recorder,
    };

    use super::{Duration, LostCause, Release};

    /// The series of all labels of a manager: found once for each, since to have a recorder find one by its name and labels
    /// costs more than to count.
    #[derive(Default)]
    pub(crate) struct Figures(RwLock<HashMap<&'static str, Series>>);

    impl Figures {
        /// The series of the calls that are called `lock`.
        ///
        /// A recorder is known by its address. So a test that has one recorder after the other on its stack makes a manager for
        /// each; the one that a program installs stays where it is.
        pub(crate) fn of(&self, lock: &'static str) -> Series {
            let recorder = with_recorder(|recorder| ptr::from_ref(recorder).cast::<()>().addr());
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(lock).cloned();
            // They may be of a recorder from before an exporter was installed.
            known.filter(|series| series.0.recorder == recorder).unwrap_or_else(|| {
                // Recorders are foreign code: never under the lock.
                let series = Series(Arc::new(Handles::new(lock, recorder)));
                self.0.write().unwrap_or_else(PoisonError::into_inner).insert(lock, series.clone());
                series
            })
        }
    }

    impl fmt::Debug for Figures {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Figures").finish_non_exhaustive()
        }
    }

    /// What is counted of the calls with one label.
    #[derive(Clone)]
    pub(crate) struct Series(Arc<Handles>);

    struct Handles {
        lock: &'static str,
        /// Where the recorder is that they are of.
        recorder: usize,
        attempts: Counter,
        waiting: Gauge,
        held: Gauge,
        hold_seconds: Histogram,
        /// Of those that were acquired, and of those that were busy: the others are rare.
        acquired: OnceLock<End>,
        busy: OnceLock<End>,
        released: OnceLock<Counter>,
        handed_over: OnceLock<Counter>,
    }

    /// How acquisitions end.
    struct End {
        count: Counter,
        wait_seconds: Histogram,
    }

    impl Handles {
        fn new(lock: &'static str, recorder: usize) -> Self {
            describe();
            Self {
                lock,
                recorder,
                attempts: counter!("lock_attempts_total", "lock" => lock),
                waiting: gauge!("lock_waiting", "lock" => lock),
                held: gauge!("lock_held", "lock" => lock),
                hold_seconds: histogram!("lock_hold_seconds", "lock" => lock),
                acquired: OnceLock::new(),
                busy: OnceLock::new(),
                released: OnceLock::new(),
                handed_over: OnceLock::new(),
            }
        }

        fn end(&self, outcome: &'static str, count: impl FnOnce(&End)) {
            let end = || End {
                count: counter!("lock_acquisitions_total", "lock" => self.lock, "outcome" => outcome),
                wait_seconds: histogram!("lock_wait_seconds", "lock" => self.lock, "outcome" => outcome),
            };
            match outcome {
                "acquired" => count(self.acquired.get_or_init(end)),
                "busy" => count(self.busy.get_or_init(end)),
                _ => count(&end()),
            }
        }
    }

    /// Tells the recorder what each is, in the words of the table in [`telemetry`](crate::telemetry).
    fn describe() {
        describe_counter!("lock_attempts_total", "acquisitions that were begun");
        describe_counter!("lock_acquisitions_total", "acquisitions that ended, by how they did");
        describe_histogram!("lock_wait_seconds", Unit::Seconds, "from the request to its end");
        describe_gauge!("lock_waiting", "acquisitions that are under way");
        describe_gauge!("lock_held", "locks that are held");
        describe_histogram!("lock_hold_seconds", Unit::Seconds, "from the request that won the lock to giving it back");
        describe_counter!("lock_lost_total", "locks that were lost, by the cause");
        describe_counter!("lock_releases_total", "locks that were given back, by what came of it");
    }

    impl Series {
        /// An acquisition begins.
        pub(crate) fn attempt(&self) -> Attempt<'_> {
            self.0.attempts.increment(1);
            self.0.waiting.increment(1);
            Attempt { series: &self.0, ended: false }
        }

        /// A lock is given to a caller,
        pub(crate) fn given(&self) {
            self.0.held.increment(1);
        }

        /// who had it for so long.
        pub(crate) fn given_back(&self, held: Duration) {
            self.0.held.decrement(1);
            self.0.hold_seconds.record(held);
        }

        pub(crate) fn lost(&self, cause: LostCause) {
            let cause = match cause {
                LostCause::Expired => "expired",
                LostCause::Gone => "gone",
                LostCause::ShutDown => "shut_down",
                LostCause::MaxHold => "max_hold",
                // Nobody is told of it as of a loss.
                LostCause::Released => return,
            };
            counter!("lock_lost_total", "lock" => self.0.lock, "cause" => cause).increment(1);
        }

        pub(crate) fn released(&self, outcome: Release) {
            let series = || counter!("lock_releases_total", "lock" => self.0.lock, "outcome" => outcome.name());
            match outcome {
                Release::Released => self.0.released.get_or_init(series).increment(1),
                Release::HandedOver => self.0.handed_over.get_or_init(series).increment(1),
                Release::Background | Release::Gone | Release::Unanswered => series().increment(1),
            }
        }
    }

    /// An acquisition that is under way. Dropped before its end, it was cancelled.
    pub(crate) struct Attempt<'a> {
        series: &'a Handles,
        ended: bool,
    }

    impl Attempt<'_> {
        pub(crate) fn end(mut self, outcome: &'static str, waited: impl Fn() -> Duration) {
            self.ended = true;
            self.series.end(outcome, |end| {
                end.wait_seconds.record(waited());
                end.count.increment(1);
            });
        }
    }

    impl Drop for Attempt<'_> {
        fn drop(&mut self) {
            self.series.waiting.decrement(1);
            if !self.ended {
                let lock = self.series.lock;
                counter!("lock_acquisitions_total", "lock" => lock, "outcome" => "cancelled").increment(1);
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
#[allow(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "with the feature, there is something to it")]
mod uncounted {
    use std::marker::PhantomData;

    use super::{Duration, LostCause, Release};

    #[derive(Debug, Default)]
    pub(crate) struct Figures {}

    impl Figures {
        pub(crate) fn of(&self, _lock: &'static str) -> Series {
            Series
        }
    }

    #[derive(Clone)]
    pub(crate) struct Series;

    impl Series {
        pub(crate) fn attempt(&self) -> Attempt<'_> {
            Attempt(PhantomData)
        }

        pub(crate) fn given(&self) {}

        pub(crate) fn given_back(&self, _held: Duration) {}

        pub(crate) fn lost(&self, _cause: LostCause) {}

        pub(crate) fn released(&self, _outcome: Release) {}
    }

    pub(crate) struct Attempt<'a>(PhantomData<&'a Series>);

    impl Attempt<'_> {
        pub(crate) fn end(self, _outcome: &'static str, _waited: impl Fn() -> Duration) {}
    }
}
