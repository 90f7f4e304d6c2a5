//! The keeper: a thread of the manager's own, with a small runtime and so with a connection of its own.
//!
//! It renews leases, and finishes what has no runtime of its own any more: clean-ups of guards that were dropped outside of
//! one, or whose runtime has ended. Because it is a thread, a lock stays renewed while the caller's runtime is blocked. It
//! is started when it is first needed, and ends with its manager.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::MutexGuard;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::error::{StoreError, StoreErrorKind};
use crate::hold::Hold;
use crate::lease::Event;
use crate::store::Renewal;
use crate::telemetry::keeper as telemetry;

/// How many leases are renewed in one request: a script of this size takes the server less than a millisecond.
const BATCH: usize = 100;

/// The least number of entries at which it is looked whether some are of holds that are gone.
const SWEEP: usize = 1024;

/// The least time in which a renewal is to be answered, and the most.
const ANSWER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The longest pause before a renewal without an answer is repeated.
const REPEAT: Duration = Duration::from_secs(1);

/// The keeper of one manager.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Mutex<Option<UnboundedSender<Job>>>,
    /// How long a body may go without being polled, at least, until its lease is not renewed any more.
    max_stall: Duration,
}

/// What the keeper is given.
enum Job {
    /// To be renewed until it is over. Weak: nothing is held for its renewals' sake.
    Renew(Weak<Hold>),
    /// To be run to its end.
    Run(Errand),
}

type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Keeper {
    pub(crate) fn new(max_stall: Duration) -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::new(None), max_stall })
    }

    /// Makes sure that leases of a store can be renewed from here.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had; for locks in this process, when this is no runtime.
    pub(crate) fn prepare(&self, remote: bool) -> Result<(), StoreError> {
        if remote {
            self.sender(&mut self.lock()).map(drop)
        } else {
            Handle::try_current().map(drop).map_err(|_| {
                StoreError::new(
                    StoreErrorKind::Runtime,
                    "a renewed lock needs a tokio runtime: call this inside of one",
                )
            })
        }
    }

    /// Renews `hold` from now on, until it is lost, given back or gone.
    pub(crate) fn renew(&self, hold: &Arc<Hold>) -> Result<(), StoreError> {
        if hold.shared().store.is_remote() {
            // The thread ends only after its sender is gone: it takes the job.
            let _ = self.sender(&mut self.lock())?.send(Job::Renew(Arc::downgrade(hold)));
        } else {
            // In a task of its own, which sees the same clock as whoever holds the lock.
            tokio::spawn(renew_here(hold.clone(), self.max_stall));
        }
        Ok(())
    }

    /// Ends the thread when it has run its errands.
    pub(crate) fn stop(&self) {
        *self.lock() = None;
    }

    fn sender<'a>(&self, jobs: &'a mut Option<UnboundedSender<Job>>) -> Result<&'a UnboundedSender<Job>, StoreError> {
        if jobs.is_none() {
            *jobs = Some(start(self.max_stall)?);
        }
        Ok(jobs.as_ref().expect("just started"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<UnboundedSender<Job>>> {
        // No code that can panic runs under this lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(max_stall: Duration) -> Result<UnboundedSender<Job>, StoreError> {
    let cannot = |error: std::io::Error| {
        StoreError::new(StoreErrorKind::Runtime, format!("the thread that renews locks cannot be started: {error}"))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (sender, jobs) = unbounded_channel();
    let work = move || runtime.block_on(Rounds::new(Some(jobs), max_stall).run());
    thread::Builder::new().name("lock-keeper".to_owned()).spawn(work).map_err(cannot)?;
    Ok(sender)
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
        let job = Job::Run(Box::pin(future));
        let mut jobs = self.0.lock();
        // What is not taken is dropped outside of the lock: it may have a destructor that comes back here.
        let refused = match self.0.sender(&mut jobs) {
            Ok(sender) => sender.send(job).err().map(|refused| refused.0),
            Err(_) => Some(job),
        };
        drop(jobs);
        drop(refused);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// Renews one hold on the current runtime until it is over.
async fn renew_here(hold: Arc<Hold>, max_stall: Duration) {
    let mut rounds = Rounds::new(None, max_stall);
    rounds.begin(&Arc::downgrade(&hold));
    let mut ended = pin!(hold.ended());
    poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => rounds.poll(cx),
    })
    .await;
}

/// The keeper at work: who is to be renewed when.
struct Rounds {
    /// `None` when nobody can send any more.
    jobs: Option<UnboundedReceiver<Job>>,
    due: BTreeMap<(Instant, u64), Weak<Hold>>,
    /// The number of the next entry of `due`: several may be due in the same moment.
    number: u64,
    /// At how many entries of `due` those of holds that are gone are thrown out.
    sweep_at: usize,
    alarm: Option<(Instant, Pin<Box<Sleep>>)>,
    batches: JoinSet<Vec<Next>>,
    errands: JoinSet<()>,
    max_stall: Duration,
}

/// When a hold is looked at next.
struct Next {
    hold: Weak<Hold>,
    when: When,
}

enum When {
    After(Duration),
    /// When its holder, who is extending it by hand, is done. Not in a batch: nobody else is to wait for that.
    InTurn,
}

impl Rounds {
    fn new(jobs: Option<UnboundedReceiver<Job>>, max_stall: Duration) -> Self {
        Self {
            jobs,
            due: BTreeMap::new(),
            number: 0,
            sweep_at: SWEEP,
            alarm: None,
            batches: JoinSet::new(),
            errands: JoinSet::new(),
            max_stall,
        }
    }

    /// Works until nobody can send jobs any more and none is left.
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.take_jobs(cx);
            while let Poll::Ready(Some(batch)) = self.batches.poll_join_next(cx) {
                // A batch that panicked has lost its holds: they end with their leases, which is safe, and the panic was printed.
                for Next { hold, when } in batch.unwrap_or_default() {
                    match (when, hold.upgrade()) {
                        (When::After(after), _) => self.enter(hold, after),
                        (When::InTurn, Some(hold)) => drop(self.batches.spawn(renew_in_turn(hold, self.max_stall))),
                        (When::InTurn, None) => {}
                    }
                }
            }
            while let Poll::Ready(Some(_)) = self.errands.poll_join_next(cx) {}
            if self.jobs.is_none() && self.due.is_empty() && self.batches.is_empty() && self.errands.is_empty() {
                return Poll::Ready(());
            }
            if self.poll_alarm(cx).is_pending() {
                return Poll::Pending;
            }
            self.renew_what_is_due();
        }
    }

    fn take_jobs(&mut self, cx: &mut Context<'_>) {
        while let Some(jobs) = &mut self.jobs {
            match jobs.poll_recv(cx) {
                Poll::Ready(Some(Job::Renew(hold))) => self.begin(&hold),
                Poll::Ready(Some(Job::Run(errand))) => {
                    self.errands.spawn(errand);
                }
                // The manager is gone, and so are its holds; or it was shut down, and has given them back.
                Poll::Ready(None) => {
                    self.jobs = None;
                    self.due.clear();
                }
                Poll::Pending => return,
            }
        }
    }

    /// Takes a hold that was just won.
    fn begin(&mut self, hold: &Weak<Hold>) {
        if let Some(after) = hold.upgrade().and_then(|hold| hold.renewal_interval()) {
            self.enter(hold.clone(), after);
        }
    }

    fn enter(&mut self, hold: Weak<Hold>, after: Duration) {
        if self.due.len() >= self.sweep_at {
            self.due.retain(|_, hold| hold.strong_count() > 0);
            self.sweep_at = SWEEP.max(2 * self.due.len());
        }
        self.due.insert((Instant::now() + after, self.number), hold);
        self.number += 1;
    }

    /// Ready when somebody is due.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((&(first, _), _)) = self.due.first_key_value() else { return Poll::Pending };
        let alarm = match &mut self.alarm {
            Some((at, alarm)) if *at == first => alarm,
            alarm => &mut alarm.insert((first, Box::pin(tokio::time::sleep_until(first)))).1,
        };
        let rung = alarm.as_mut().poll(cx);
        if rung.is_ready() {
            self.alarm = None;
        }
        rung
    }

    /// Sends everybody who is due, and who is due soon after the first of them, in batches of about the same TTL: the
    /// longest time in which a batch is to be answered is that of its shortest lease.
    fn renew_what_is_due(&mut self) {
        let now = Instant::now();
        let mut batches: BTreeMap<u32, Vec<Arc<Hold>>> = BTreeMap::new();
        let mut until = now;
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let Some(hold) = entry.remove().upgrade() else { continue };
            let Some(interval) = hold.renewal_interval() else { continue };
            if until == now {
                until = now + interval / 20;
            }
            let batch = batches.entry(hold.claim().ttl_millis().ilog2()).or_default();
            batch.push(hold);
            if batch.len() == BATCH {
                self.batches.spawn(renew(std::mem::take(batch), self.max_stall));
            }
        }
        for batch in batches.into_values().filter(|batch| !batch.is_empty()) {
            self.batches.spawn(renew(batch, self.max_stall));
        }
    }
}

/// Renews `hold` after what is being asked about it already.
async fn renew_in_turn(hold: Arc<Hold>, max_stall: Duration) -> Vec<Next> {
    // Not for longer than the lease lasts: whoever is before us may be a future that nobody polls any more.
    match tokio::time::timeout(hold.remaining(), hold.order.lock()).await {
        Ok(in_order) => renew_in_order(vec![(in_order, &hold)], max_stall).await,
        Err(_) => Vec::new(),
    }
}

/// Renews `holds`, which are of one manager, and says when each is to be looked at next; those for which there is nothing
/// left to be done are left out.
async fn renew(holds: Vec<Arc<Hold>>, max_stall: Duration) -> Vec<Next> {
    let mut asked = Vec::with_capacity(holds.len());
    let mut next = Vec::new();
    for hold in &holds {
        match hold.order.try_lock() {
            Ok(in_order) => asked.push((in_order, hold)),
            Err(_) => next.push(Next { hold: Arc::downgrade(hold), when: When::InTurn }),
        }
    }
    next.append(&mut renew_in_order(asked, max_stall).await);
    next
}

/// Renews holds about which nothing else is being asked.
async fn renew_in_order(holds: Vec<(MutexGuard<'_, ()>, &Arc<Hold>)>, max_stall: Duration) -> Vec<Next> {
    let Some(shared) = holds.first().map(|(_, hold)| hold.shared().clone()) else { return Vec::new() };
    let now = shared.store.now();
    let mut asked = Vec::with_capacity(holds.len());
    for (in_order, hold) in holds {
        // Looked at under the order, so that no renewal follows a release.
        let Some(ttl) = hold.renewal(now) else { continue };
        if hold.has_stalled(max_stall.max(2 * hold.claim().ttl), now) {
            hold.span().in_scope(|| telemetry::stalled(hold.claim().label));
            continue;
        }
        asked.push((in_order, hold, ttl));
    }
    let Some(shortest) = asked.iter().map(|(_, hold, _)| hold.claim().ttl).min() else { return Vec::new() };
    let renewals: Vec<_> = asked.iter().map(|(_, hold, ttl)| Renewal::new(hold.claim(), *ttl)).collect();
    // Before the request is sent.
    let sent = shared.store.now();
    let within = (shortest / 10).clamp(ANSWER.0, ANSWER.1);
    let mut answers = shared.store.renew(&renewals, within).await.into_iter();
    let mut next = Vec::with_capacity(asked.len());
    for (in_order, hold, ttl) in asked {
        let answer = answers.next().unwrap_or_else(|| Err(no_answer()));
        let after = match answer {
            Ok(true) => {
                hold.on(Event::Extended { sent, ttl });
                // Counted from the request, as the lease is.
                hold.renewal_interval().map(|interval| interval.saturating_sub(shared.store.now().since(sent)))
            }
            Ok(false) => {
                hold.on(Event::NotOurs);
                None
            }
            // Unknown: neither held for longer nor lost. The deadline decides, and until then it is asked again, faster.
            Err(error) => {
                hold.span().in_scope(|| telemetry::unanswered(hold.claim().label, &error));
                Some((hold.claim().ttl / 20).clamp(Duration::from_millis(1), REPEAT))
            }
        };
        drop(in_order);
        next.extend(after.map(|after| Next { hold: Arc::downgrade(hold), when: When::After(after) }));
    }
    next
}

fn no_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, "the store left out an answer")
}
