//! Faults that have to have happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A fault that a test injects. A test whose fault never happened proves nothing: dropping this fails it then.
///
/// Keep it on the test's own thread: the panic of a task that nobody joins fails nothing.
#[derive(Debug)]
#[must_use = "the fault is counted until this is dropped"]
pub struct Sometimes {
    what: String,
    count: Count,
}

/// Counts a [`Sometimes`], wherever it happens.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// It has happened.
    pub fn happened(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has happened until now.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Sometimes {
    /// `what` has to happen before this is dropped.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), count: Count::default() }
    }

    /// The counter, to be taken elsewhere.
    #[must_use]
    pub fn count(&self) -> Count {
        self.count.clone()
    }

    /// It has happened.
    pub fn happened(&self) {
        self.count.happened();
    }

    /// How often it has happened until now.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.count.times()
    }
}

impl Drop for Sometimes {
    fn drop(&mut self) {
        // A test that has failed already has better to say why.
        assert!(self.times() > 0 || thread::panicking(), "this fault never happened: {}", self.what);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_never_happened_fails() {
        let never = catch_unwind(|| drop(Sometimes::new("never")));
        let message = never.expect_err("it panics");
        assert_eq!(message.downcast_ref::<String>().map(String::as_str), Some("this fault never happened: never"));

        let once = Sometimes::new("once");
        let count = once.count();
        thread::spawn(move || count.happened()).join().expect("no panic");
        assert_eq!(once.times(), 1);
        drop(once);
    }
}
