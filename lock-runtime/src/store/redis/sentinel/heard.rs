//! What all connections of a store have heard of the master.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::LOOK;
use crate::clock::{Moment, boottime};
use crate::store::millis;
use crate::store::redis::link::Link;

/// A master, as one of the sentinels has heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) host: String,
    pub(super) port: u16,
    /// Counts the failovers.
    pub(super) epoch: u64,
}

/// For how long nobody may have named a master until another one of an earlier time is believed in: sentinels tell each other
/// every two seconds. Those that were set up anew count from the beginning.
const OUTDATED: Duration = Duration::from_secs(10);

/// The latest master that was heard of.
#[derive(Default)]
pub(super) struct Heard {
    latest: Option<Master>,
    /// When it was named last.
    named: Moment,
    /// The connections to it.
    links: Vec<Weak<Link>>,
}

impl Heard {
    /// Who is believed to be the master when sentinels, a majority or not, name `found`: one that was cut off from the others names
    /// a master of the past. With the connections that are to be given up, if it is another than before.
    pub(super) fn hear(&mut self, found: Master, by_majority: bool, now: Moment) -> (Master, Vec<Weak<Link>>) {
        let latest = match self.latest.take() {
            Some(latest) if latest.epoch > found.epoch && !(by_majority && now.since(self.named) > OUTDATED) => {
                self.latest = Some(latest.clone());
                return (latest, Vec::new());
            }
            latest => latest,
        };
        let is_the_same = latest.is_none_or(|latest| (latest.host, latest.port) == (found.host.clone(), found.port));
        let left = if is_the_same { Vec::new() } else { std::mem::take(&mut self.links) };
        (self.latest, self.named) = (Some(found.clone()), now);
        (found, left)
    }

    /// Notes that `link` is to the server there. `false`: it is not the master any more.
    pub(super) fn follow(&mut self, link: Weak<Link>, host: &str, port: u16) -> bool {
        let is_master = self.latest.as_ref().is_none_or(|latest| latest.host == host && latest.port == port);
        if is_master {
            self.links.retain(|link| link.strong_count() > 0);
            self.links.push(link);
        }
        is_master
    }
}

/// The looks at the sentinels that are taken while a connection is used. They are taken on its runtime: where that runs for the
/// length of a call only, as under `block_on`, or the process was stopped, nobody looks in between.
pub(in crate::store::redis) struct Looks {
    /// The last one, in milliseconds on our clock.
    last: AtomicU64,
    /// How far apart they are, at most.
    apart: Duration,
}

impl Looks {
    /// The first look is now. The sentinels may take `limit` to be reached, and again to answer.
    pub(in crate::store::redis) fn new(limit: Duration) -> Arc<Self> {
        // As long again as the longest time: the runtime may have other things to do.
        let apart = LOOK.saturating_add(limit.saturating_mul(2)).saturating_mul(2);
        Arc::new(Self { last: AtomicU64::new(now()), apart })
    }

    pub(super) fn look(&self) {
        self.last.store(now(), Ordering::Relaxed);
    }

    /// Nobody has looked for so long that the server may have been replaced without our hearing of it.
    pub(in crate::store::redis) fn are_overdue(&self) -> bool {
        now().saturating_sub(self.last.load(Ordering::Relaxed)) > millis(self.apart)
    }
}

fn now() -> u64 {
    millis(boottime().since_origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(port: u16, epoch: u64) -> Master {
        Master { host: "a.example".to_owned(), port, epoch }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// Promise: a master of the past is not believed in, whoever names it, while sentinels name a later one; and the latest is not
    /// for ever, for sentinels that are set up anew count from the beginning.
    ///
    /// Turned red by: the last answer that comes; a number that only rises.
    #[test]
    fn the_latest_master_counts() {
        let mut heard = Heard::default();
        let mut hear = |found: Master, by_majority, seconds| heard.hear(found, by_majority, at(seconds)).0.port;
        assert_eq!(hear(master(1, 1), true, 100), 1);
        assert_eq!(hear(master(2, 2), false, 101), 2, "whoever replaces a master knows it first");
        assert_eq!(hear(master(1, 1), true, 102), 2, "who has not heard of it yet");
        assert_eq!(hear(master(2, 2), true, 110), 2);
        assert_eq!(hear(master(3, 0), true, 120), 2, "named ten seconds ago");
        assert_eq!(hear(master(1, 1), false, 300), 2, "cut off from the others");
        assert_eq!(hear(master(3, 0), true, 300), 3, "they were set up anew");
        assert_eq!(hear(master(4, 0), true, 300), 4);
    }

    #[test]
    fn a_connection_is_to_the_latest_master_or_given_up() {
        let mut heard = Heard::default();
        heard.hear(master(1, 1), true, at(0));
        assert!(heard.follow(Weak::new(), "a.example", 1));
        assert_eq!(heard.hear(master(1, 2), true, at(1)).1.len(), 0, "it is the same server again");
        assert_eq!(heard.hear(master(2, 3), true, at(2)).1.len(), 1);
        assert_eq!(heard.hear(master(3, 4), true, at(3)).1.len(), 0, "once");
        assert!(!heard.follow(Weak::new(), "a.example", 2), "dialled too late");
    }
}
