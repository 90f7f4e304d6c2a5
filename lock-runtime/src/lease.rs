//! How long a lock may be believed in: deadline arithmetic, without I/O and without a clock of its own.
//!
//! Everything here is a function of the events and of the moment that the caller passes in, so that property tests and a
//! model checker can drive this very code. What the model checker needs is `pub`; it leaves the crate only with the feature
//! `test-util`.

#![cfg_attr(not(feature = "test-util"), allow(unreachable_pub, reason = "it is reachable with the feature"))]

use std::fmt;
use std::time::Duration;

use crate::clock::Moment;

/// The shortest lease that is accepted. Below it, network latency and drift leave nothing to work with; and a TTL that
/// rounds to zero milliseconds would delete the key.
pub(crate) const MIN_TTL: Duration = Duration::from_millis(10);

/// The longest lease that is accepted: 30 days.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is taken off a lease for clocks that run at different rates, as Redlock has it: 1 % and 2 ms.
#[must_use]
pub fn drift(ttl: Duration) -> Duration {
    ttl / 100 + Duration::from_millis(2)
}

/// How long a lease of `ttl` may be believed in, counted from before its request was sent.
#[must_use]
pub fn validity(ttl: Duration) -> Duration {
    ttl.saturating_sub(drift(ttl))
}

/// `ttl` as the store will count it: whole milliseconds, rounded down.
pub(crate) fn whole_millis(ttl: Duration) -> Duration {
    Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}

/// Why a lock that was held is held no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostCause {
    /// The lease came to its end on the local clock, and had not been extended in time.
    Expired,
    /// The store said that the key is gone or carries somebody else's token.
    Gone,
    /// The lock manager was shut down, and the grace period was over.
    ShutDown,
    /// It had been held and renewed for as long as `max_hold` allows.
    MaxHold,
    /// It was given back. Nothing is wrong; a [`LockWatch`](crate::LockWatch) may see it.
    Released,
}

impl fmt::Display for LostCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its lease ended before the work did",
            Self::Gone => "the store no longer has it under our token",
            Self::ShutDown => "the lock manager was shut down",
            Self::MaxHold => "it was held for as long as `max_hold` allows",
            Self::Released => "it was given back",
        })
    }
}

/// What can happen to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant says what its fields are")]
pub enum Event {
    /// Time passes.
    Tick,
    /// The store confirmed an extension to at least `ttl`, whose request was sent at `sent`.
    Extended { sent: Moment, ttl: Duration },
    /// A request to set the remaining time to exactly `ttl` is about to be sent, at `sent`.
    Shortening { sent: Moment, ttl: Duration },
    /// The store confirmed the pending `Shortening`.
    Shortened { sent: Moment, ttl: Duration },
    /// The store said that the lock is not ours.
    NotOurs,
    /// The lock manager gives the lock up.
    ShutDown,
    /// The holder gives the lock back: from here on it may be somebody else's.
    Released,
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant says what its fields are")]
pub enum Standing {
    /// Held, and to be believed in until this moment, exclusively.
    Held { until: Moment },
    /// Lost, for good.
    Lost(LostCause),
}

/// One lease, from the reply that granted it to its end.
///
/// Invariants: a loss never turns back into a hold, and `valid_until` never lies behind the earliest moment at which the
/// store may drop the key.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    valid_until: Moment,
    /// Set while a request to set an exact TTL is under way: until it is confirmed, no extension is believed beyond this
    /// moment, because the request may cut it short.
    shortening: Option<Moment>,
    /// As `shortening`, of requests that were never confirmed. For good: on a connection that is dead to us they may be
    /// executed at any later time.
    ceiling: Option<Moment>,
    /// The end of the longest hold. Whatever is confirmed, the lease is over then.
    cap: Option<Moment>,
    lost: Option<LostCause>,
}

impl Lease {
    /// The lease that a request sent at `sent` was granted for `ttl`.
    #[must_use]
    pub fn granted(sent: Moment, ttl: Duration) -> Self {
        Self { valid_until: sent.plus(validity(ttl)), shortening: None, ceiling: None, cap: None, lost: None }
    }

    /// What is left, until `until`, of a lease that somebody else was granted.
    #[must_use]
    pub fn handed_over(until: Moment) -> Self {
        Self { valid_until: until, shortening: None, ceiling: None, cap: None, lost: None }
    }

    /// Whether nothing is under way that may cut it short.
    pub(crate) fn is_certain(&self) -> bool {
        self.shortening.is_none() && self.ceiling.is_none()
    }

    /// Ended at `cap` at the latest.
    pub(crate) fn capped(self, cap: Option<Moment>) -> Self {
        Self { cap, ..self }
    }

    /// Takes note of `event`, at the moment `now`, and says how the lease stands after it.
    pub fn on(&mut self, event: Event, now: Moment) -> Standing {
        // A deadline that has passed is a loss, whatever arrives afterwards: an extension counts only if its reply
        // comes before the old deadline, since the body may already have been dropped on account of it.
        self.expire(now);
        if self.lost.is_none() {
            match event {
                Event::Tick => {}
                // The maximum over what was confirmed: extensions never shorten, so they commute.
                Event::Extended { sent, ttl } => {
                    let granted = sent.plus(validity(ttl));
                    let believed = earliest(granted, [self.shortening, self.ceiling]);
                    self.valid_until = self.valid_until.max(believed);
                }
                Event::Shortening { sent, ttl } => {
                    self.valid_until = self.valid_until.min(sent.plus(validity(ttl)));
                    if let Some(unconfirmed) = self.shortening.replace(self.valid_until) {
                        self.ceiling = Some(earliest(unconfirmed, [self.ceiling]));
                    }
                }
                Event::Shortened { sent, ttl } => {
                    self.shortening = None;
                    self.valid_until = earliest(sent.plus(validity(ttl)), [self.ceiling]);
                }
                Event::NotOurs => self.lost = Some(LostCause::Gone),
                Event::ShutDown => self.lost = Some(LostCause::ShutDown),
                Event::Released => self.lost = Some(LostCause::Released),
            }
            self.expire(now);
        }
        match self.lost {
            Some(cause) => Standing::Lost(cause),
            None => Standing::Held { until: self.until() },
        }
    }

    /// Whether it is known to be lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    fn expire(&mut self, now: Moment) {
        if self.lost.is_none() && now >= self.until() {
            self.lost = Some(if self.is_at_its_cap() { LostCause::MaxHold } else { LostCause::Expired });
        }
    }

    /// The moment at which it ends if nothing happens before.
    fn until(&self) -> Moment {
        earliest(self.valid_until, [self.cap])
    }

    /// No extension makes it any longer.
    pub(crate) fn is_at_its_cap(&self) -> bool {
        self.cap.is_some_and(|cap| cap <= self.valid_until)
    }

    /// The TTL that an extension at `now` asks for: `ttl`, or what reaches the end of the longest hold.
    pub(crate) fn within_cap(&self, ttl: Duration, now: Moment) -> Duration {
        let Some(cap) = self.cap else { return ttl };
        let left = cap.since(now);
        // A little more than the drift that will be taken off.
        let enough = left.saturating_add(left / 90).saturating_add(Duration::from_millis(3));
        ttl.min(whole_millis(enough).max(MIN_TTL))
    }

    /// The time left at `now`; zero when lost.
    #[must_use]
    pub fn remaining(&self, now: Moment) -> Duration {
        if self.lost.is_some() { Duration::ZERO } else { self.until().since(now) }
    }
}

/// The earliest of `moment` and those of `others` that are set.
fn earliest<const N: usize>(moment: Moment, others: [Option<Moment>; N]) -> Moment {
    others.into_iter().flatten().fold(moment, Moment::min)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    const fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    /// 10 s less 1 % less 2 ms.
    const VALID: u64 = 9_898;

    fn until(standing: Standing) -> Moment {
        match standing {
            Standing::Held { until } => until,
            Standing::Lost(cause) => panic!("lost: {cause}"),
        }
    }

    #[test]
    fn a_lease_counts_from_before_its_request_less_the_drift() {
        let mut lease = Lease::granted(at(1_000), TTL);
        assert_eq!(until(lease.on(Event::Tick, at(1_500))), at(1_000 + VALID));
        assert_eq!(lease.remaining(at(1_500)), Duration::from_millis(VALID - 500));
        assert_eq!(lease.on(Event::Tick, at(1_000 + VALID)), Standing::Lost(LostCause::Expired));
        assert_eq!(lease.remaining(at(1_500)), Duration::ZERO);
    }

    #[test]
    fn the_shortest_ttl_leaves_something_to_work_with() {
        assert!(validity(MIN_TTL) > Duration::from_millis(7));
    }

    #[test]
    fn an_extension_never_shortens() {
        let mut lease = Lease::granted(at(0), TTL);
        let short = Event::Extended { sent: at(100), ttl: Duration::from_millis(100) };
        assert_eq!(until(lease.on(short, at(150))), at(VALID));
        let long = Event::Extended { sent: at(200), ttl: 2 * TTL };
        assert_eq!(until(lease.on(long, at(250))), at(200 + 19_798));
    }

    #[test]
    fn an_extension_that_is_answered_after_the_deadline_does_not_count() {
        let mut lease = Lease::granted(at(0), TTL);
        let extended = Event::Extended { sent: at(9_000), ttl: TTL };
        assert_eq!(lease.on(extended, at(VALID)), Standing::Lost(LostCause::Expired));
    }

    #[test]
    fn what_the_store_denies_is_lost_for_good() {
        let mut lease = Lease::granted(at(0), TTL);
        assert_eq!(lease.on(Event::NotOurs, at(1)), Standing::Lost(LostCause::Gone));
        let extended = Event::Extended { sent: at(0), ttl: TTL };
        assert_eq!(lease.on(extended, at(2)), Standing::Lost(LostCause::Gone));
        assert_eq!(lease.on(Event::ShutDown, at(3)), Standing::Lost(LostCause::Gone));
    }

    #[test]
    fn an_exact_ttl_lowers_the_deadline_before_it_is_sent_and_caps_it_until_it_is_confirmed() {
        let second = Duration::from_secs(1);
        let mut lease = Lease::granted(at(0), TTL);
        assert_eq!(until(lease.on(Event::Shortening { sent: at(100), ttl: second }, at(100))), at(1_088));
        // Its reply was lost. Another request's success does not help: this one may be executed after it.
        assert_eq!(until(lease.on(Event::Extended { sent: at(200), ttl: TTL }, at(300))), at(1_088));
        // Nor does another one that is confirmed: the first may be executed at any later time.
        assert_eq!(until(lease.on(Event::Shortening { sent: at(400), ttl: TTL }, at(400))), at(1_088));
        assert_eq!(until(lease.on(Event::Shortened { sent: at(400), ttl: TTL }, at(500))), at(1_088));
        assert_eq!(until(lease.on(Event::Extended { sent: at(600), ttl: TTL }, at(700))), at(1_088));
    }

    #[test]
    fn a_confirmed_exact_ttl_is_the_new_deadline() {
        let mut lease = Lease::granted(at(0), TTL);
        let second = Duration::from_secs(1);
        lease.on(Event::Shortening { sent: at(100), ttl: second }, at(100));
        assert_eq!(until(lease.on(Event::Shortened { sent: at(100), ttl: second }, at(200))), at(1_088));
        assert_eq!(until(lease.on(Event::Extended { sent: at(300), ttl: TTL }, at(400))), at(300 + VALID));
        lease.on(Event::Shortening { sent: at(500), ttl: 2 * TTL }, at(500));
        assert_eq!(until(lease.on(Event::Shortened { sent: at(500), ttl: 2 * TTL }, at(600))), at(500 + 19_798));
    }

    #[test]
    fn a_capped_lease_ends_at_its_cap_whatever_is_confirmed() {
        let cap = at(15_000);
        let mut lease = Lease::granted(at(0), TTL).capped(Some(cap));
        assert_eq!(until(lease.on(Event::Tick, at(1))), at(VALID));
        assert_eq!(lease.within_cap(TTL, at(3_000)), TTL);
        assert_eq!(until(lease.on(Event::Extended { sent: at(3_000), ttl: TTL }, at(3_001))), at(3_000 + VALID));
        // The last renewal reaches the cap, and hardly further.
        let last = lease.within_cap(TTL, at(9_000));
        assert_eq!(last, Duration::from_millis(6_069));
        assert!(!lease.is_at_its_cap());
        assert_eq!(until(lease.on(Event::Extended { sent: at(9_000), ttl: last }, at(9_001))), cap);
        assert!(lease.is_at_its_cap());
        assert_eq!(lease.on(Event::Tick, at(14_999)), Standing::Held { until: cap });
        assert_eq!(lease.on(Event::Tick, cap), Standing::Lost(LostCause::MaxHold));
    }

    #[test]
    fn what_is_given_back_is_not_held_any_more() {
        let mut lease = Lease::granted(at(0), TTL);
        assert_eq!(lease.on(Event::Released, at(1)), Standing::Lost(LostCause::Released));
        assert_eq!(lease.remaining(at(1)), Duration::ZERO);
        assert_eq!(lease.on(Event::Extended { sent: at(0), ttl: TTL }, at(2)), Standing::Lost(LostCause::Released));
    }

    fn event() -> impl Strategy<Value = Event> {
        let (sent, ttl) = (0..20_000_u64, 10..20_000_u64);
        let millis = Duration::from_millis;
        prop_oneof![
            Just(Event::Tick),
            (sent.clone(), ttl.clone()).prop_map(move |(s, t)| Event::Extended { sent: at(s), ttl: millis(t) }),
            (sent.clone(), ttl.clone()).prop_map(move |(s, t)| Event::Shortening { sent: at(s), ttl: millis(t) }),
            (sent, ttl).prop_map(move |(s, t)| Event::Shortened { sent: at(s), ttl: millis(t) }),
            Just(Event::NotOurs),
        ]
    }

    proptest! {
        /// Invariant: a loss never turns back into a hold, whatever is said afterwards.
        #[test]
        fn lost_stays_lost(events in prop::collection::vec((event(), 0..500_u64), 1..40)) {
            let mut lease = Lease::granted(at(0), TTL);
            let (mut now, mut lost) = (0, false);
            for (event, pause) in events {
                now += pause;
                let standing = lease.on(event, at(now));
                let is_lost = matches!(standing, Standing::Lost(_));
                prop_assert!(is_lost || !lost);
                prop_assert_eq!(lease.remaining(at(now)).is_zero(), is_lost);
                lost = is_lost;
            }
        }

        /// Invariant: extensions commute. The deadline is the same for every order of their answers.
        #[test]
        fn extensions_commute(mut sent in prop::collection::vec((0..100_u64, 10..20_000_u64), 1..8)) {
            let deadline = |order: &[(u64, u64)]| {
                let mut lease = Lease::granted(at(0), TTL);
                for &(sent, ttl) in order {
                    lease.on(Event::Extended { sent: at(sent), ttl: Duration::from_millis(ttl) }, at(100));
                }
                until(lease.on(Event::Tick, at(100)))
            };
            let forwards = deadline(&sent);
            sent.reverse();
            prop_assert_eq!(forwards, deadline(&sent));
        }
    }
}
