//! How to wait for a busy lock by asking again: polling strategies.

use std::time::Duration;

/// A strategy for asking again for a busy lock: how long to wait between one attempt and the next.
///
/// A strategy is an immutable value. Every acquisition draws its own fresh sequence of [`delays`](Retry::delays) from it,
/// so one strategy can stand in a `const` and be used by every call.
///
/// ```
/// use std::time::Duration;
/// use lock_runtime::Retry;
///
/// const PATIENT: Retry =
///     Retry::exponential(Duration::from_millis(10), Duration::from_millis(300)).jitter(50).limit(20);
/// assert_eq!(PATIENT.delays().count(), 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    curve: Curve,
    limit: Option<u32>,
    jitter: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    None,
    Linear { delay: Duration },
    Exponential { min: Duration, max: Duration },
}

/// No strategy polls faster than this, whatever it was built with: a typo must not become a busy loop.
const FLOOR: Duration = Duration::from_millis(1);

impl Retry {
    /// Never asks again.
    #[must_use]
    pub const fn none() -> Self {
        Self { curve: Curve::None, limit: None, jitter: 0 }
    }

    /// Asks again after `delay`, each time. Delays below 1 ms are raised to 1 ms.
    #[must_use]
    pub const fn linear(delay: Duration) -> Self {
        Self { curve: Curve::Linear { delay }, limit: None, jitter: 0 }
    }

    /// Asks again after 4, 8, 16, 32, … ms, each raised to at least `min` and cut to at most `max`. Delays below 1 ms
    /// are raised to 1 ms.
    #[must_use]
    pub const fn exponential(min: Duration, max: Duration) -> Self {
        Self { curve: Curve::Exponential { min, max }, limit: None, jitter: 0 }
    }

    /// Asks again at most `times` times.
    #[must_use]
    pub const fn limit(mut self, times: u32) -> Self {
        self.limit = Some(times);
        self
    }

    /// Shortens each delay by a random part of up to `percent` per cent, so that callers who collided once do not collide
    /// for ever. Values over 100 count as 100.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = if percent > 100 { 100 } else { percent };
        self
    }

    /// A fresh sequence of delays.
    #[must_use]
    pub fn delays(&self) -> Delays {
        Delays { retry: *self, drawn: 0 }
    }

    /// How long all delays take together at most; `None` when they never end.
    pub(crate) fn total(&self) -> Option<Duration> {
        if self.curve == Curve::None {
            return Some(Duration::ZERO);
        }
        let limit = self.limit?;
        let steady = Self { jitter: 0, limit: None, ..*self };
        // From the 25th on, all are alike.
        let (mut total, mut last) = (Duration::ZERO, Duration::ZERO);
        for delay in steady.delays().take(usize::try_from(limit.min(25)).unwrap_or(25)) {
            total = total.saturating_add(delay);
            last = delay;
        }
        Some(total.saturating_add(last.saturating_mul(limit.saturating_sub(25))))
    }

    /// Whether the sequence of delays never ends.
    pub(crate) fn is_endless(&self) -> bool {
        self.limit.is_none() && self.curve != Curve::None
    }
}

/// The delays of one acquisition, drawn from a [`Retry`].
#[derive(Clone, Debug)]
pub struct Delays {
    retry: Retry,
    drawn: u32,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.retry.limit.is_some_and(|limit| self.drawn >= limit) {
            return None;
        }
        self.drawn = self.drawn.saturating_add(1);
        let delay = match self.retry.curve {
            Curve::None => return None,
            Curve::Linear { delay } => delay,
            Curve::Exponential { min, max } => {
                // 2^(n+1) ms for the n-th delay; from the 25th on (18 hours) it stays where it is.
                let millis = 1_u64 << (self.drawn.min(25) + 1);
                Duration::from_millis(millis).max(min).min(max)
            }
        };
        let delay = shorten_at_random(delay, self.retry.jitter);
        Some(delay.max(FLOOR))
    }
}

fn shorten_at_random(delay: Duration, percent: u8) -> Duration {
    if percent == 0 {
        return delay;
    }
    // Spreading callers needs no good randomness; the source of our tokens is at hand and needs no seed.
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    let fraction = f64::from(u32::try_from(low & 0xffff_ffff).unwrap_or(0)) / f64::from(u32::MAX);
    delay.mul_f64(1.0 - fraction * f64::from(percent) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn bl_19_none_never_asks_again() {
        assert_eq!(Retry::none().delays().next(), None);
        assert_eq!(Retry::none().limit(3).delays().next(), None);
    }

    #[test]
    fn bl_20_linear_repeats_its_delay() {
        let delays: Vec<_> = Retry::linear(ms(1000)).delays().take(3).collect();
        assert_eq!(delays, [ms(1000); 3]);
    }

    #[test]
    fn bl_21_exponential_is_clamped_on_both_sides() {
        let delays: Vec<_> = Retry::exponential(ms(10), ms(300)).delays().take(9).collect();
        assert_eq!(delays, [10, 10, 16, 32, 64, 128, 256, 300, 300].map(ms));
    }

    #[test]
    fn exponential_ends_on_a_plateau_and_does_not_overflow() {
        let mut delays = Retry::exponential(Duration::ZERO, Duration::MAX).delays();
        assert_eq!(delays.nth(24), Some(ms(1 << 26)));
        assert_eq!(delays.nth(100_000), Some(ms(1 << 26)));
    }

    #[test]
    fn bl_22_limit_counts_and_every_sequence_is_fresh() {
        let retry = Retry::linear(ms(5)).limit(2);
        assert_eq!(retry.delays().count(), 2);
        assert_eq!(retry.delays().count(), 2);
        assert!(!retry.is_endless());
        assert!(Retry::linear(ms(5)).is_endless());
    }

    #[test]
    fn the_total_of_all_delays_is_known_without_drawing_them() {
        assert_eq!(Retry::linear(ms(5)).total(), None);
        assert_eq!(Retry::none().total(), Some(Duration::ZERO));
        assert_eq!(Retry::linear(ms(5)).jitter(50).limit(2).total(), Some(ms(10)));
        assert_eq!(Retry::linear(ms(5)).limit(1_000_000).total(), Some(ms(5_000_000)));
        assert_eq!(Retry::exponential(ms(10), ms(300)).limit(4).total(), Some(ms(10 + 10 + 16 + 32)));
        assert_eq!(Retry::linear(Duration::MAX).limit(2).total(), Some(Duration::MAX));
    }

    /// On purpose different: a strategy has no state to share. Its delays have, and are counted exactly.
    #[test]
    fn bl_23_shared_delays_are_counted_exactly() {
        let delays = std::sync::Mutex::new(Retry::linear(ms(1)).limit(100).delays());
        let drawn = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        if delays.lock().expect("no panic").next().is_some() {
                            drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(drawn.into_inner(), 100);
    }

    #[test]
    fn jitter_only_shortens_and_stays_in_its_range() {
        let retry = Retry::linear(ms(100)).jitter(50).limit(1000);
        let delays: Vec<_> = retry.delays().collect();
        assert!(delays.iter().all(|delay| (ms(50)..=ms(100)).contains(delay)));
        let distinct: std::collections::HashSet<_> = delays.into_iter().collect();
        assert!(distinct.len() > 900, "{} distinct delays of 1000", distinct.len());
    }

    #[test]
    fn a_zero_delay_is_raised_to_the_floor() {
        assert_eq!(Retry::linear(Duration::ZERO).delays().next(), Some(FLOOR));
        assert!(Retry::linear(ms(4)).jitter(255).limit(500).delays().all(|delay| delay >= FLOOR));
    }
}
