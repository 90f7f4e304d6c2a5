//! Runs a body under its lease: the clock is compared before every poll, and a body without a lease is dropped.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task;
use tokio::time::Sleep;

use crate::clock::Moment;
use crate::error::StoreError;
use crate::hold::Hold;
use crate::key::LockKey;
use crate::lease::{LostCause, Standing};
use crate::manager::Shared;
use crate::timer;

/// The slot in which the expansion put the body. Emptied when dropped, so that the body's locals and arguments go before
/// the lock does, on every path.
pub(crate) struct Slot<'a, F>(pub(crate) Pin<&'a mut Option<F>>);

impl<F> Slot<'_, F> {
    pub(crate) fn empty(&mut self) {
        self.0.set(None);
    }
}

impl<F: Future> Slot<'_, F> {
    /// Polls the body where there is no lease to keep: the `on_busy` branch, which holds no lock.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.0.as_mut().as_pin_mut() {
            Some(body) => body.poll(cx),
            // Emptied by a loss, after which nobody polls again.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Slot<'_, F> {
    fn drop(&mut self) {
        self.empty();
    }
}

/// What becomes of the body when the lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLost {
    /// It is dropped at its current `.await`.
    Cancel,
    /// It runs on.
    Proceed,
}

/// Why a body did not run to its end.
pub(crate) enum Stopped {
    /// The lock was lost.
    Lost(LostCause),
    /// The lease could not be watched: the runtime has no timers.
    Unwatched(StoreError),
}

/// Runs the body in `slot` under `hold`.
///
/// Invariant: unless it is to proceed when the lock is lost, the body is polled only right after the clock has said that the lease holds. Neither a timer nor another
/// task could promise that: after a pause of the process both may come later than the body's own wake-up.
pub(crate) struct Guarded<'s, 'a, F> {
    slot: &'s mut Slot<'a, F>,
    hold: &'s Arc<Hold>,
    on_lost: OnLost,
    /// Made when the body is pending for the first time: a body that is ready at once costs no timer.
    deadline: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl<'s, 'a, F> Guarded<'s, 'a, F> {
    pub(crate) fn new(slot: &'s mut Slot<'a, F>, hold: &'s Arc<Hold>, on_lost: OnLost) -> Self {
        Self { slot, hold, on_lost, deadline: None }
    }

    /// Wakes the task at `until`. Ready when that has passed.
    fn watch(&mut self, until: Moment, cx: &mut Context<'_>) -> Result<Poll<()>, StoreError> {
        let sleep = match &mut self.deadline {
            Some((armed_for, sleep)) if *armed_for == until => sleep,
            deadline => {
                let left = until.since(self.hold.shared().store.now());
                let (_, sleep) = deadline.insert((until, Box::pin(timer::sleep(left)?)));
                sleep
            }
        };
        let rung = sleep.as_mut().poll(cx);
        if rung.is_ready() {
            // The timer runs on another clock than the lease: if the lease has a moment left, the next one is armed anew.
            self.deadline = None;
        }
        Ok(rung)
    }
}

impl<F: Future> Future for Guarded<'_, '_, F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut polled = false;
        loop {
            let standing = if polled { this.hold.standing_for(cx.waker()) } else { this.hold.standing_before_poll() };
            let until = match standing {
                Standing::Held { until } => Some(until),
                Standing::Lost(_) if this.on_lost == OnLost::Proceed => None,
                Standing::Lost(cause) => {
                    // Before anything else happens: nothing of the body outlives the lock by more than this line.
                    this.slot.empty();
                    return Poll::Ready(Err(Stopped::Lost(cause)));
                }
            };
            if !polled {
                polled = true;
                let _enclosed = Enclosed::enter(this.hold);
                let _in_span = this.hold.span().enter();
                if let Poll::Ready(output) = this.slot.poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                // The lease may have changed under the body's hands.
                continue;
            }
            let Some(until) = until else { return Poll::Pending };
            match this.watch(until, cx) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {}
                Err(error) => {
                    this.slot.empty();
                    return Poll::Ready(Err(Stopped::Unwatched(error)));
                }
            }
        }
    }
}

thread_local! {
    /// The locked bodies that are being polled on this thread, outermost first.
    static ENCLOSING: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

struct Frame {
    hold: Arc<Hold>,
    task: Option<task::Id>,
}

/// While this lives, a body under `hold` is being polled.
struct Enclosed;

impl Enclosed {
    fn enter(hold: &Arc<Hold>) -> Self {
        let frame = Frame { hold: hold.clone(), task: task::try_id() };
        ENCLOSING.with_borrow_mut(|frames| frames.push(frame));
        Self
    }
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        let frame = ENCLOSING.with_borrow_mut(Vec::pop);
        // Outside of the borrow: it may hold the last reference to a store.
        drop(frame);
    }
}

/// Whether a locked body that is being polled right now, in this very task, holds `key` of this manager. Asking for it again
/// would wait for oneself.
///
/// The poll stack alone would give false alarms where one task polls another on its own thread (`LocalSet`), the task alone
/// for the siblings of a `join!`.
pub(crate) fn encloses(shared: &Arc<Shared>, key: &LockKey) -> bool {
    let task = task::try_id();
    let holds: Vec<_> = ENCLOSING.with_borrow(|frames| {
        let ours = |frame: &&Frame| {
            frame.task == task
                && Arc::ptr_eq(frame.hold.shared(), shared)
                && frame.hold.claim().keys.binary_search(key).is_ok()
        };
        frames.iter().filter(ours).map(|frame| frame.hold.clone()).collect()
    });
    // Outside of the borrow: to look at a lease may wake its body, which is foreign code.
    holds.iter().any(|hold| matches!(hold.standing(), Standing::Held { .. }))
}
