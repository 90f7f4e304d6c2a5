//! The clock that all processes of the machine share, and waiting by it more exactly than timers do.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Timers count in milliseconds; the rest is waited for by looking at the clock.
const COARSE: Duration = Duration::from_millis(2);

/// Nanoseconds of `CLOCK_MONOTONIC`: what Python calls `time.monotonic_ns` and Node `process.hrtime.bigint`.
pub(crate) fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(tv_nsec).unwrap_or_default()
}

/// Waits until the clock shows that time.
pub(crate) async fn until(instant: u64) {
    let left = Duration::from_nanos(instant.saturating_sub(now()));
    tokio::time::sleep(left.saturating_sub(COARSE)).await;
    while now() < instant {
        tokio::task::yield_now().await;
    }
}
