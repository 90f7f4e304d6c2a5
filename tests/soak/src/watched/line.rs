//! Places in the server's line, watched.

use std::fmt;
use std::time::Duration;

use lock_runtime::LockKey;
use lock_runtime::store::waiter::{Called, Confirmed, Place, Waiter};
use lock_runtime::store::{Claim, Store as _, StoreFuture};
use lock_tests::machine_time;
use tokio::task;

use super::{Broken, Watched};
use crate::record::{Queued, Record};

/// A place in line, and a note of what becomes of it. Written when it is left, and when it has become a lock.
pub(super) struct InLine {
    /// `None` when it has become a lock.
    waiter: Option<Box<dyn Waiter>>,
    store: Watched,
    /// The task that stands in it.
    task: Option<task::Id>,
    /// Somebody has asked for it.
    taken: bool,
    /// It was called since it was asked last.
    was_called: bool,
    queued: Queued,
}

impl InLine {
    pub(super) fn new(waiter: Box<dyn Waiter>, store: Watched) -> Self {
        let queued = Queued::default();
        Self { waiter: Some(waiter), store, task: None, taken: false, was_called: false, queued }
    }

    fn waiter(&mut self) -> &mut Box<dyn Waiter> {
        self.waiter.as_mut().expect("nobody asks for what has become a lock")
    }

    /// Notes who stands here now.
    fn step_in(&mut self) {
        let task = task::try_id();
        self.queued.passed_on += u64::from(self.task.is_some() && self.task != task);
        self.task = task;
    }
}

impl Waiter for InLine {
    fn claim(&self) -> &Claim {
        self.waiter.as_ref().expect("nobody asks for what has become a lock").claim()
    }

    fn ask(&mut self) -> StoreFuture<'_, Place> {
        self.step_in();
        self.queued.asked_again += u64::from(self.taken);
        (self.taken, self.was_called) = (true, false);
        self.waiter().ask()
    }

    fn called(&mut self) -> Called<'_> {
        Box::pin(async {
            self.waiter().called().await;
            self.was_called = true;
        })
    }

    fn confirm<'a>(
        &'a mut self,
        ttl: Duration,
        fence: Option<&'a LockKey>,
        spares: u32,
    ) -> StoreFuture<'a, Option<Confirmed>> {
        self.step_in();
        Box::pin(async move {
            let before = machine_time();
            // Without a fencing token, which only the server can give.
            let unasked = fence.is_none().then_some(self.store.broken).flatten();
            let answer = match unasked {
                Some(Broken::Unconfirmed) => Some(Confirmed::new(self.store.now(), None)),
                Some(Broken::ConfirmationSets) => {
                    let sent = self.store.now();
                    self.store.set(self.claim(), ttl).await?;
                    Some(Confirmed::new(sent, None))
                }
                _ => self.waiter().confirm(ttl, fence, spares).await?,
            };
            let Some(Confirmed { sent, fence, spare_fences, .. }) = answer else {
                self.queued.missed += u64::from(self.was_called);
                self.was_called = false;
                return Ok(None);
            };
            let claim = self.claim().clone();
            let (sent, fence) = self.store.has_won(&claim, before, sent, fence).await?;
            (self.queued.confirmed, self.queued.called) = (true, self.was_called);
            Ok(Some(match fence {
                Some(fence) => Confirmed::with_fences(sent, fence, self.store.spares(spare_fences)),
                None => Confirmed::new(sent, None),
            }))
        })
    }

    fn settle(mut self: Box<Self>) -> Claim {
        self.waiter.take().expect("nobody asks for what has become a lock").settle()
    }
}

impl fmt::Debug for InLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InLine").field("waiter", &self.waiter).field("queued", &self.queued).finish_non_exhaustive()
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            // Confirmed, and given back at once: nobody has come to know of it.
            self.queued.confirmed = false;
            self.store.forget(waiter.claim());
        }
        if self.taken {
            self.store.log.write(&Record::Queued(self.queued));
        }
    }
}
