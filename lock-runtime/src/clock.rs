//! Points in time on the clock of a store.

use std::time::Duration;

/// A point on the clock of one [`Store`](crate::Store): the time since an origin of that clock's choosing.
///
/// Moments of different stores cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment that lies `elapsed` after the clock's origin.
    #[must_use]
    pub const fn from_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time from the clock's origin to this moment.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The moment `duration` later; the end of time if there is none.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Now, on a clock that keeps counting while the system sleeps.
///
/// `std::time::Instant` stops during a suspend on Linux, the server's clock does not: measured with it, a lease would
/// still look valid after the laptop lid was opened again.
#[cfg(all(feature = "redis", any(target_os = "linux", target_os = "android")))]
pub(crate) fn boottime() -> Moment {
    clock_moment(rustix::time::ClockId::Boottime)
}

/// Now, on a clock that keeps counting while the system sleeps: on Apple's systems the monotonic one does.
#[cfg(all(feature = "redis", target_vendor = "apple"))]
pub(crate) fn boottime() -> Moment {
    clock_moment(rustix::time::ClockId::Monotonic)
}

/// Now, on the clock of `std::time::Instant`, which on Windows keeps counting while the system sleeps.
#[cfg(all(feature = "redis", not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
pub(crate) fn boottime() -> Moment {
    use std::sync::LazyLock;
    use std::time::Instant;
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment(ORIGIN.elapsed())
}

#[cfg(all(feature = "redis", any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn clock_moment(clock: rustix::time::ClockId) -> Moment {
    let now = rustix::time::clock_gettime(clock);
    // These clocks count from the boot of the system: neither part can be negative.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Moment(Duration::new(seconds, nanos))
}
