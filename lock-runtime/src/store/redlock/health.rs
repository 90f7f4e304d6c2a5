//! Nodes that do not answer are left alone for a while.
//!
//! Everybody who asked a node that hangs would leave a question behind that is waited for, and a clean-up after it: as many as
//! locks are taken in the time that it takes to give up on one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::{StoreError, StoreErrorKind};

/// For how long a node is left alone. Then one question is put to it; all others, when that was answered.
const REST: Duration = Duration::from_secs(1);

/// How many questions may wait for one node that is slower than the others until it is left alone, too.
const BEHIND: usize = 64;

/// Which nodes answer, as far as is known.
#[derive(Debug)]
pub(super) struct Health {
    nodes: Mutex<Box<[Rest]>>,
    /// How many nodes rest: a look that costs nothing.
    resting: AtomicUsize,
    /// How many may: those without which a majority is left.
    most: usize,
    /// How many questions each of the nodes has been left behind with.
    behind: Box<[AtomicUsize]>,
}

/// Since when a node is left alone, until when, and why.
type Rest = Option<(Moment, StoreErrorKind)>;

impl Health {
    pub(super) fn new(count: usize, quorum: usize) -> Self {
        Self {
            nodes: Mutex::new(vec![None; count].into()),
            resting: AtomicUsize::new(0),
            most: count - quorum,
            behind: (0..count).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Why `node` is not to be asked now, if it is not.
    pub(super) fn refusal(&self, node: usize, now: impl FnOnce() -> Moment) -> Option<StoreError> {
        if self.resting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut nodes = self.lock();
        let (until, kind) = nodes[node].as_mut()?;
        let now = now();
        if *until <= now {
            // This question is the one that finds out; the others wait for what it comes to.
            *until = now.plus(REST);
            return None;
        }
        Some(StoreError::new(*kind, "it did not answer before, and is left alone for a second"))
    }

    /// `node` gave an answer, of whatever kind.
    pub(super) fn answered(&self, node: usize) {
        if self.resting.load(Ordering::Relaxed) > 0 && self.lock()[node].take().is_some() {
            self.resting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// `node` gave none. It is left alone unless too many are already: the others could not decide anything without it.
    pub(super) fn silent(&self, node: usize, error: &StoreError, now: Moment) {
        self.rest(node, error.kind(), now);
    }

    /// A question to `node` is left behind, because the others have decided.
    pub(super) fn left_behind(&self, node: usize, now: impl FnOnce() -> Moment) {
        if self.behind[node].fetch_add(1, Ordering::Relaxed) >= BEHIND {
            self.rest(node, StoreErrorKind::Timeout, now());
        }
    }

    /// What was left behind has come to an end.
    pub(super) fn caught_up(&self, node: usize) {
        self.behind[node].fetch_sub(1, Ordering::Relaxed);
    }

    fn rest(&self, node: usize, kind: StoreErrorKind, now: Moment) {
        let mut nodes = self.lock();
        let others = nodes.iter().enumerate().filter(|(other, rest)| *other != node && rest.is_some()).count();
        if others >= self.most {
            return;
        }
        if nodes[node].replace((now.plus(REST), kind)).is_none() {
            self.resting.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Rest]>> {
        // No code that can panic runs under this lock.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    fn silence() -> StoreError {
        StoreError::new(StoreErrorKind::Timeout, "no answer")
    }

    /// Promise: a node that was silent is asked once a second, until it answers.
    ///
    /// Turned red by: nodes that rest for ever; nodes that everybody asks when a rest is over.
    #[test]
    fn who_is_silent_is_asked_now_and_then() {
        let health = Health::new(3, 2);
        assert!(health.refusal(0, || at(0)).is_none());
        health.silent(0, &silence(), at(0));
        assert!(health.refusal(0, || at(999)).is_some() && health.refusal(1, || at(999)).is_none());
        assert!(health.refusal(0, || at(1000)).is_none(), "the one that finds out");
        assert!(health.refusal(0, || at(1000)).is_some(), "the others wait for it");
        health.answered(0);
        assert!(health.refusal(0, || at(1001)).is_none());
    }

    /// Promise: there are always enough who are asked.
    ///
    /// Turned red by: leaving alone whoever was silent.
    #[test]
    fn a_majority_is_always_asked() {
        let health = Health::new(5, 3);
        for node in 0..5 {
            health.silent(node, &silence(), at(0));
        }
        assert_eq!((0..5).filter(|node| health.refusal(*node, || at(1)).is_none()).count(), 3);
        let alone = Health::new(1, 1);
        alone.silent(0, &silence(), at(0));
        assert!(alone.refusal(0, || at(1)).is_none());
    }

    /// Promise: a node that everybody leaves behind is left alone before it has answered with silence.
    ///
    /// Turned red by: counting only what ended.
    #[test]
    fn who_falls_behind_is_left_alone() {
        let health = Health::new(3, 2);
        for _ in 0..BEHIND {
            health.left_behind(2, || at(0));
        }
        assert!(health.refusal(2, || at(1)).is_none());
        health.left_behind(2, || at(0));
        assert!(health.refusal(2, || at(1)).is_some());
        for _ in 0..=BEHIND {
            health.caught_up(2);
        }
        health.answered(2);
        assert!(health.refusal(2, || at(1)).is_none());
    }
}
