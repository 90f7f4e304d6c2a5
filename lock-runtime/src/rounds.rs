//! The keeper at work: which leases are renewed when, in which batches, and what becomes of the answers.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::RwLockReadGuard;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::error::{StoreError, StoreErrorKind};
use crate::hold::Hold;
use crate::keeper::Job;
use crate::lease::Event;
use crate::store::Renewal;
use crate::telemetry::keeper as telemetry;

/// How many keys are renewed in one request, unless they are all of one lease: a script of this size takes the server less than a
/// millisecond.
const BATCH: usize = 100;

/// The least number of entries at which it is looked whether some are of holds that are gone.
const SWEEP: usize = 1024;

/// The least time in which a renewal is to be answered, and the most.
const ANSWER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The longest pause before a renewal without an answer is repeated.
const REPEAT: Duration = Duration::from_secs(1);

/// By how much a renewal may come too early, for the sake of a batch.
const EARLY: Duration = Duration::from_millis(100);

/// Renews one hold on the current runtime until it is over.
pub(crate) async fn renew_here(hold: Arc<Hold>, max_stall: Duration) {
    let mut rounds = Rounds::new(None, max_stall);
    rounds.begin(&Arc::downgrade(&hold));
    let mut ended = pin!(hold.ended());
    poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => rounds.poll(cx),
    })
    .await;
}

/// Who is to be renewed when.
pub(crate) struct Rounds {
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
    /// When its holder, who is setting its time or giving it back, is done. Not in a batch: nobody else is to wait for that.
    InTurn,
}

impl Rounds {
    pub(crate) fn new(jobs: Option<UnboundedReceiver<Job>>, max_stall: Duration) -> Self {
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
    ///
    /// A panic does not end it: what drops here for the last time may have foreign code in its destructor, as a subscriber that
    /// looks at closing spans. It was printed.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll(cx)));
            polled.unwrap_or_else(|_| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        })
        .await;
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
    pub(crate) fn begin(&mut self, weak: &Weak<Hold>) {
        let Some(hold) = weak.upgrade() else { return };
        let Some(after) = hold.first_renewal() else { return };
        if self.due.is_empty() {
            self.batches.spawn(warm_up(hold));
        }
        self.enter(weak.clone(), after);
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
        let mut batches: BTreeMap<u32, (usize, Vec<Arc<Hold>>)> = BTreeMap::new();
        let mut until = now;
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let Some(hold) = entry.remove().upgrade() else { continue };
            let Some(interval) = hold.renewal_interval() else { continue };
            if until == now {
                until = now + (interval / 20).min(EARLY);
            }
            let (keys, batch) = batches.entry(hold.claim().ttl_millis().ilog2()).or_default();
            *keys += hold.claim().keys.len();
            batch.push(hold);
            if *keys >= BATCH {
                *keys = 0;
                self.batches.spawn(renew(std::mem::take(batch), self.max_stall));
            }
        }
        for (_, batch) in batches.into_values().filter(|(_, batch)| !batch.is_empty()) {
            self.batches.spawn(renew(batch, self.max_stall));
        }
    }
}

/// Has the store make its connection, and whatever else comes before a first renewal: a short lease has no time for that.
async fn warm_up(hold: Arc<Hold>) -> Vec<Next> {
    let store = hold.shared().store.clone();
    // It is not kept for this.
    drop(hold);
    // What goes wrong here goes wrong again, and is told, when it matters.
    let _ = without_panic(store.renew(&[], ANSWER.1)).await;
    Vec::new()
}

/// Renews `hold` after what is being asked about it already.
async fn renew_in_turn(hold: Arc<Hold>, max_stall: Duration) -> Vec<Next> {
    // Not for longer than the lease lasts: whoever is before us may be a future that nobody polls any more.
    match tokio::time::timeout(hold.remaining(), hold.order.read()).await {
        Ok(in_order) => renew_in_order(vec![(in_order, &hold)], max_stall).await,
        Err(_) => vec![Next { hold: Arc::downgrade(&hold), when: When::After(soon(&hold)) }],
    }
}

/// Renews `holds`, which are of one manager, and says when each is to be looked at next; those for which there is nothing
/// left to be done are left out.
async fn renew(holds: Vec<Arc<Hold>>, max_stall: Duration) -> Vec<Next> {
    let mut asked = Vec::with_capacity(holds.len());
    let mut next = Vec::new();
    for hold in &holds {
        match hold.order.try_read() {
            Ok(in_order) => asked.push((in_order, hold)),
            Err(_) => next.push(Next { hold: Arc::downgrade(hold), when: When::InTurn }),
        }
    }
    next.append(&mut renew_in_order(asked, max_stall).await);
    next
}

/// Renews holds about which nothing else is being asked.
async fn renew_in_order(holds: Vec<(RwLockReadGuard<'_, ()>, &Arc<Hold>)>, max_stall: Duration) -> Vec<Next> {
    let Some(shared) = holds.first().map(|(_, hold)| hold.shared().clone()) else { return Vec::new() };
    let now = shared.store.now();
    let mut next = Vec::with_capacity(holds.len());
    let mut asked = Vec::with_capacity(holds.len());
    for (in_order, hold) in holds {
        // Looked at under the order, so that no renewal follows a release.
        let Some(ttl) = hold.renewal(now) else { continue };
        if hold.has_stalled(max_stall.max(10 * hold.claim().ttl), now) {
            // It may be polled again before its lease is over.
            next.push(Next { hold: Arc::downgrade(hold), when: When::After(soon(hold)) });
            continue;
        }
        asked.push((in_order, hold, ttl));
    }
    let Some(shortest) = asked.iter().map(|(_, hold, _)| hold.claim().ttl).min() else { return next };
    let renewals: Vec<_> = asked.iter().map(|(_, hold, ttl)| Renewal::new(hold.claim(), *ttl)).collect();
    // Before the request is sent.
    let sent = shared.store.now();
    // A quarter: two tries have to fit between the first renewal and the end of the lease, a dead connection's among them.
    let within = (shortest / 4).clamp(ANSWER.0, ANSWER.1);
    let mut answers = without_panic(shared.store.renew(&renewals, within)).await.into_iter();
    for (in_order, hold, ttl) in asked {
        let answer = answers.next().unwrap_or_else(|| Err(no_answer()));
        drop(in_order);
        // Whoever is woken, or told, is foreign code: a panic of it is not to cost the others their renewal. It was printed.
        let after = catch_unwind(AssertUnwindSafe(|| match answer {
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
                Some(soon(hold))
            }
        }))
        .unwrap_or_else(|_| Some(soon(hold)));
        next.extend(after.map(|after| Next { hold: Arc::downgrade(hold), when: When::After(after) }));
    }
    next
}

/// The answers; none, where the store panicked.
async fn without_panic<T>(answers: impl Future<Output = Vec<T>>) -> Vec<T> {
    let mut answers = pin!(answers);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answers.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Vec::new()),
    })
    .await
}

/// The pause before the next look at a hold that could not be renewed.
fn soon(hold: &Hold) -> Duration {
    (hold.claim().ttl / 20).clamp(Duration::from_millis(1), REPEAT)
}

fn no_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, "the store left out an answer")
}
