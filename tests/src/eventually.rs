//! Waiting for a condition instead of sleeping for a time that is hoped to be long enough.

use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `condition` holds, on tokio's clock, and returns how long that took.
///
/// # Panics
///
/// When it does not hold within the time; `what` says what was waited for.
pub async fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = tokio::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
    started.elapsed()
}

/// As [`eventually`], for threads without a runtime.
///
/// # Panics
///
/// When the condition does not hold within the time.
pub fn eventually_blocking(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(PAUSE);
    }
    started.elapsed()
}
