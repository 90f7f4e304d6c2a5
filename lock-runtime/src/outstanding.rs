//! Counting what is not finished yet, and waiting until nothing is.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A count of things that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outstanding(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    none: Notify,
}

/// One thing that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket(Outstanding);

impl Outstanding {
    pub(crate) fn begin(&self) -> Ticket {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Ticket(self.clone())
    }

    /// Waits until nothing is under way.
    pub(crate) async fn none(&self) {
        loop {
            let mut none = pin!(self.0.none.notified());
            // Registered before the count is read, so that the last ticket's notice cannot fall in between.
            none.as_mut().enable();
            if self.0.open.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Count { open, none } = &*self.0.0;
        if open.fetch_sub(1, Ordering::AcqRel) == 1 {
            none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn none_waits_for_the_last_ticket() {
        let outstanding = Outstanding::default();
        outstanding.none().await;
        let (first, second) = (outstanding.begin(), outstanding.begin());
        let mut none = pin!(outstanding.none());
        let pending = |none: std::pin::Pin<&mut _>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(none, &mut context).is_pending()
        };
        assert!(pending(none.as_mut()));
        drop(first);
        assert!(pending(none.as_mut()));
        drop(second);
        none.await;
    }
}
