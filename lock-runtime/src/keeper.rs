//! The keeper: a thread of the manager's own, with a small runtime and so with a connection of its own.
//!
//! It renews leases, and finishes what has no runtime of its own any more: clean-ups of guards that were dropped outside of
//! one, or whose runtime has ended. Because it is a thread, a lock stays renewed while the caller's runtime is blocked. It
//! is started when it is first needed, and ends with its manager.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::error::{StoreError, StoreErrorKind};
use crate::hold::Hold;
use crate::rounds::{Rounds, renew_here};
use crate::timer;

/// The keeper of one manager.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Mutex<Option<UnboundedSender<Job>>>,
    /// How long a body may go without being polled, at least, until its lease is not renewed any more.
    max_stall: Duration,
}

/// What the keeper is given.
pub(crate) enum Job {
    /// To be renewed until it is over. Weak: nothing is held for its renewals' sake.
    Renew(Weak<Hold>),
    /// To be run to its end.
    Run(Errand),
}

pub(crate) type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Keeper {
    pub(crate) fn new(max_stall: Duration) -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::new(None), max_stall })
    }

    /// Makes sure that leases of a store can be renewed from here.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had; for locks in this process, when this is no runtime with timers.
    pub(crate) fn prepare(&self, remote: bool) -> Result<(), StoreError> {
        if remote { self.sender(&mut self.lock()).map(drop) } else { timer::sleep(Duration::ZERO).map(drop) }
    }

    /// Renews `hold` from now on, until it is lost, given back or gone.
    pub(crate) fn renew(&self, hold: &Arc<Hold>) -> Result<(), StoreError> {
        if hold.shared().store.is_remote() {
            // Taken under the lock under which the thread is known to be there. Should it end right now, the next to come starts
            // another; this lease ends by itself, as one does whose renewals are not answered.
            let _ = self.sender(&mut self.lock())?.send(Job::Renew(Arc::downgrade(hold)));
        } else {
            // In a task of its own, which sees the same clock as whoever holds the lock.
            tokio::spawn(renew_here(hold.clone(), self.max_stall));
        }
        Ok(())
    }

    /// Runs `errand` to its end.
    ///
    /// # Errors
    ///
    /// The errand itself, if there is no thread to be had for it.
    pub(crate) fn run(&self, errand: Errand) -> Result<(), Errand> {
        let mut jobs = self.lock();
        match self.sender(&mut jobs) {
            Ok(sender) => match sender.send(Job::Run(errand)) {
                Err(SendError(Job::Run(errand))) => Err(errand),
                _ => Ok(()),
            },
            Err(_) => Err(errand),
        }
    }

    /// Ends the thread when it has run its errands.
    pub(crate) fn stop(&self) {
        *self.lock() = None;
    }

    fn sender<'a>(&self, jobs: &'a mut Option<UnboundedSender<Job>>) -> Result<&'a UnboundedSender<Job>, StoreError> {
        // Closed: the thread has ended, which it does only by a panic.
        if jobs.as_ref().is_none_or(UnboundedSender::is_closed) {
            *jobs = Some(start(self.max_stall)?);
        }
        Ok(jobs.as_ref().expect("just started"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnboundedSender<Job>>> {
        // No code that can panic runs under this lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(max_stall: Duration) -> Result<UnboundedSender<Job>, StoreError> {
    let cannot = |error: std::io::Error| {
        StoreError::new(StoreErrorKind::Runtime, format!("the thread that renews locks cannot be started: {error}"))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    // Shared, so that it is not dropped with the closure if there is no thread: in async code that would panic.
    let runtime = Arc::new(Mutex::new(Some(runtime)));
    let take = |runtime: &Mutex<Option<_>>| runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (sender, jobs) = unbounded_channel();
    let own = runtime.clone();
    let work = move || {
        if let Some(runtime) = take(&own) {
            runtime.block_on(Rounds::new(Some(jobs), max_stall).run());
        }
    };
    match thread::Builder::new().name("lock-keeper".to_owned()).spawn(work) {
        Ok(_) => Ok(sender),
        Err(error) => {
            if let Some(runtime) = take(&runtime) {
                runtime.shutdown_background();
            }
            Err(cannot(error))
        }
    }
}

/// Where a [`Store`](crate::Store) runs a clean-up that has no runtime: on the thread of the manager's keeper.
#[derive(Clone)]
pub struct Background(Arc<Keeper>);

impl Background {
    pub(crate) fn new(keeper: Arc<Keeper>) -> Self {
        Self(keeper)
    }

    /// Runs `future` to its end, on a runtime that has I/O and timers. If there is no thread to be had for it, it is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // Dropped if there is no thread.
        let _ = self.run(Box::pin(future));
    }

    /// As [`spawn`](Self::spawn), but what is not run comes back.
    pub(crate) fn run(&self, errand: Errand) -> Result<(), Errand> {
        self.0.run(errand)
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}
