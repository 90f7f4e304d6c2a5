//! The pulse of a connection, by which those who wait for an answer notice that none comes.
//!
//! A timer for each request would do as well, and cost more than all the rest that we do about it: a runtime whose next timer is set
//! has the system set an alarm whenever it waits for something else, and clear it again. All requests on a connection have the
//! same limit, so one clock does for all of them: it beats a dozen times and more within that limit while anybody waits, and on
//! another thread, so that the caller's runtime has no timer at all.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the pulse beats within the limit of a request, unless that is very short or long.
const BEATS: u32 = 16;

/// The least time from one beat to the next, which is what timers can tell apart, and the most: so late is it noticed that the
/// connection is gone.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// The pulse of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How many requests wait for an answer, or are about to be sent.
    asking: AtomicUsize,
    interval: Duration,
    /// How many beats a request may wait.
    limit: u32,
    beats: AtomicU32,
    is_beating: AtomicBool,
    beat: Notify,
}

impl Pulse {
    /// For requests that may wait for `limit`. It does not beat yet.
    pub(super) fn new(limit: Duration) -> Arc<Self> {
        let interval = (limit / BEATS).clamp(INTERVAL.0, INTERVAL.1);
        let beats = u32::try_from(limit.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        Arc::new(Self {
            asking: AtomicUsize::new(0),
            interval,
            // From the first of two beats to the second is the least time that can be told.
            limit: beats.max(2),
            beats: AtomicU32::new(0),
            is_beating: AtomicBool::new(false),
            beat: Notify::new(),
        })
    }

    /// A request waits for an answer, until what is returned is dropped.
    pub(super) fn ask(&self) -> Asking<'_> {
        self.asking.fetch_add(1, Ordering::SeqCst);
        Asking(self)
    }

    /// How many requests wait for an answer, or are about to be sent.
    pub(super) fn asking(&self) -> usize {
        self.asking.load(Ordering::Relaxed)
    }

    /// What `answer` gives, which [asks](Self::ask); `None` if it does not give anything within the limit, or up to one beat
    /// less. Where the pulse does not beat, it has `run` do so.
    pub(super) async fn in_time<T>(
        self: &Arc<Self>,
        mut answer: Pin<&mut impl Future<Output = T>>,
        run: impl Fn(Beating),
    ) -> Option<T> {
        let begun = self.beats.load(Ordering::Relaxed);
        let mut beat = pin!(self.beat.notified());
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            // A beat that falls in between is not missed: the next one is waited for since before the number was read.
            while beat.as_mut().poll(cx).is_ready() {
                beat.set(self.beat.notified());
            }
            if self.beats.load(Ordering::Relaxed).wrapping_sub(begun) >= self.limit {
                return Poll::Ready(None);
            }
            // After the request was counted, so that the pulse does not stop in between.
            if !self.is_beating.load(Ordering::SeqCst) && !self.is_beating.swap(true, Ordering::SeqCst) {
                run(Beating { pulse: Arc::downgrade(self) });
            }
            Poll::Pending
        })
        .await
    }
}

/// A request under way.
pub(super) struct Asking<'a>(&'a Pulse);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A pulse that is to beat.
pub(super) struct Beating {
    pulse: Weak<Pulse>,
}

impl Beating {
    /// Beats until the connection is gone, or nobody has waited for an answer for as long as anybody may.
    pub(super) async fn go_on(self) {
        let Some(interval) = self.pulse.upgrade().map(|pulse| pulse.interval) else { return };
        let mut beats = tokio::time::interval_at(Instant::now() + interval, interval);
        // After a pause, as of a process that was stopped, one beat is one beat: there may be answers that nobody could read.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = 0;
        loop {
            beats.tick().await;
            let Some(pulse) = self.pulse.upgrade() else { return };
            pulse.beats.fetch_add(1, Ordering::Relaxed);
            pulse.beat.notify_waiters();
            idle = if pulse.asking() > 0 { 0 } else { idle + 1 };
            if idle >= pulse.limit {
                return;
            }
        }
    }
}

/// However it ends, and if it is never run: the next who waits has it begin anew.
impl Drop for Beating {
    fn drop(&mut self) {
        let Some(pulse) = self.pulse.upgrade() else { return };
        pulse.is_beating.store(false, Ordering::SeqCst);
        // Who began to wait meanwhile found it beating. Woken, it looks again.
        if pulse.asking.load(Ordering::SeqCst) > 0 {
            pulse.beat.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::task::JoinHandle;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    /// Waits for an answer that never comes.
    fn wait(pulse: &Arc<Pulse>) -> JoinHandle<Duration> {
        let pulse = pulse.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let answer = pin!(async {
                let _asking = pulse.ask();
                pending::<()>().await;
            });
            assert_eq!(pulse.in_time(answer, |beating| drop(tokio::spawn(beating.go_on()))).await, None);
            begun.elapsed()
        })
    }

    /// Promise: who is not answered hears of it within the limit, and not much before.
    ///
    /// Turned red by: a limit that counts one beat less, or more; a pulse that is not begun anew.
    #[tokio::test(start_paused = true)]
    async fn silence_is_noticed_in_time() {
        let pulse = Pulse::new(LIMIT);
        for pause in [0, 30, 1_000, 1_030, 5_000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let first = wait(&pulse);
            tokio::time::sleep(LIMIT / 3).await;
            let second = wait(&pulse);
            for waiting in [first, second] {
                let waited = waiting.await.expect("no panic");
                // Timers are as fine as a millisecond.
                let most = LIMIT + Duration::from_millis(2);
                assert!(waited > LIMIT * (BEATS - 1) / BEATS && waited <= most, "{waited:?} after {pause} ms");
            }
        }
    }

    /// Promise: the pulse beats while anybody waits, a little longer, and not for ever.
    ///
    /// Turned red by: an end that nobody is told of; one that comes only with the connection's.
    #[tokio::test(start_paused = true)]
    async fn it_stops_when_nobody_waits() {
        let pulse = Pulse::new(LIMIT);
        wait(&pulse).await.expect("no panic");
        assert!(pulse.is_beating.load(Ordering::SeqCst));
        tokio::time::sleep(LIMIT + 2 * pulse.interval).await;
        assert!(!pulse.is_beating.load(Ordering::SeqCst));
        let beats = pulse.beats.load(Ordering::Relaxed);
        tokio::time::sleep(10 * LIMIT).await;
        assert_eq!(pulse.beats.load(Ordering::Relaxed), beats);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_needs_no_pulse() {
        let pulse = Pulse::new(LIMIT);
        assert_eq!(pulse.in_time(pin!(ready(7)), |_| panic!("it is there")).await, Some(7));
    }

    #[test]
    fn limits_are_counted_in_beats() {
        let of = |limit| (Pulse::new(limit).interval, Pulse::new(limit).limit);
        let millis = Duration::from_millis;
        assert_eq!(of(millis(1_600)), (millis(100), 16));
        assert_eq!(of(millis(160)), (millis(10), 16));
        assert_eq!(of(millis(5)), (millis(1), 5));
        assert_eq!(of(Duration::ZERO), (millis(1), 2));
        assert_eq!(of(Duration::from_secs(60)), (millis(100), 600));
        assert_eq!(of(Duration::MAX), (millis(100), u32::MAX));
    }
}
