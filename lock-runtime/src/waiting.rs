//! Waiting for a busy lock: in line behind others of this process; then in the store's line; or, where there is none or the
//! caller has a strategy of its own, by asking again and again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::acquiring::{Asking, Miss};
use crate::clock::Moment;
use crate::error::{LockError, StoreError, StoreErrorKind};
use crate::guard::LockGuard;
use crate::handover::{Offer, TakenOver, Want};
use crate::hold::{Hold, Won};
use crate::holder::{self, Holder};
use crate::manager::Shared;
use crate::queue::{NoTurn, Offering, Turn};
use crate::retry::{Delays, Retry};
use crate::store::waiter::{Held, Place};
use crate::timer;

/// How a busy lock is asked for again when the call names no strategy and there is no line to wait in.
const POLLING: Retry = Retry::exponential(Duration::from_millis(20), Duration::from_millis(250)).jitter(50);

/// How long somebody in the store's line waits at most until asking how things stand: its call may have got lost, or the holder
/// be one who calls nobody.
const CAP: Duration = Duration::from_secs(1);

/// How often a grant may come to nothing in a row before it is waited for the next.
const GRANTS: u32 = 3;

/// How long to go on asking, and how often.
pub(crate) struct Patience {
    /// `None`: for as long as there are delays.
    until: Option<Moment>,
    /// As `until`, while others of this process are before us: the store is not asked then, and no delay is drawn, but a
    /// strategy that ends is not to wait for longer than its delays take.
    pub(crate) in_line_until: Option<Moment>,
    delays: Delays,
    /// Whether to wait in the store's line, if it has one.
    lines_up: bool,
}

impl Patience {
    /// Of a call that began at `started`. `None`: the lock is tried once.
    pub(crate) fn new(wait: Option<Duration>, retry: Option<Retry>, started: Moment) -> Option<Box<Self>> {
        if wait.is_none_or(|wait| wait.is_zero()) && retry.is_none() {
            return None;
        }
        let lines_up = retry.is_none();
        let retry = retry.unwrap_or(POLLING);
        let until = wait.map(|wait| started.plus(wait));
        let in_line_until = until.into_iter().chain(retry.total().map(|total| started.plus(total))).min();
        Some(Box::new(Self { until, in_line_until, delays: retry.delays(), lines_up }))
    }

    /// How long to wait after `miss`, at `now`, before asking again; `None` when it is over.
    pub(crate) fn delay(&mut self, miss: &Miss, now: Moment) -> Option<Duration> {
        let left = self.until.map(|until| until.since(now));
        let delay = match miss {
            Miss::Final(_) => None,
            Miss::InLine(held) => Some(look_again(held.as_ref(), &mut self.delays)),
            // A lock that ends by itself before the next look is looked at then; 1 ms because servers count in those.
            Miss::Busy(_, Some(remaining), _) => {
                self.delays.next().map(|delay| delay.min(remaining.saturating_add(Duration::from_millis(1))))
            }
            Miss::Busy(..) | Miss::Passing(_) => self.delays.next(),
        };
        let delay = delay.filter(|_| left.is_none_or(|left| !left.is_zero()))?;
        // At the end of the wait it is tried a last time.
        Some(left.map_or(delay, |left| delay.min(left)))
    }
}

/// What came of waiting for a holder of this process.
enum Here {
    /// It handed its lease over.
    Won(LockGuard),
    /// There is none: the store is to be asked.
    Free,
    /// We were asleep when it was our turn.
    Lapsed,
    /// The wait was over before.
    Over,
}

impl Asking {
    /// Waits in line, then for the lock, until it is won or the patience is over.
    pub(crate) async fn patiently(&self, mut patience: Box<Patience>) -> Result<LockGuard, LockError> {
        // Until `turn` is dropped, which comes before it: `shutdown` waits for the place in the store's line to be left.
        let _counted = self.shared.guards.begin();
        let want = self.want();
        let Some(mut turn) = self.turn(&want, patience.in_line_until).await? else {
            return Box::pin(self.last_word()).await;
        };
        let mut told = false;
        // Whether the store has called us.
        let mut called = false;
        loop {
            match self.while_held_here(&mut turn, &want, patience.in_line_until, &mut told).await? {
                Here::Won(guard) => return Ok(guard),
                Here::Free => {}
                Here::Over => return Box::pin(self.last_word()).await,
                Here::Lapsed => {
                    // A grant that comes while we queue up again would be heard by nobody.
                    turn.waiter = None;
                    let Some(again) = self.turn(&want, patience.in_line_until).await? else {
                        return Box::pin(self.last_word()).await;
                    };
                    turn = again;
                    continue;
                }
            }
            // Boxed: most waits end before the store is asked, and the state of this is large.
            let miss = match Box::pin(self.ask_store(&mut turn, &mut patience, called)).await {
                Ok(guard) => return Ok(guard),
                Err(miss) => miss,
            };
            let Some(delay) = patience.delay(&miss, self.shared.store.now()) else {
                return Err(self.error(self.waited(), miss));
            };
            match &miss {
                Miss::Busy(holder, ..) => self.tell(&mut told, holder.as_ref()),
                Miss::InLine(held) => self.tell(&mut told, self.holder(held.as_ref()).as_ref()),
                Miss::Passing(_) | Miss::Final(_) => {}
            }
            called = self.pause(delay, &mut turn).await?;
        }
    }

    /// The turn, behind everybody of this process who came before; `None` if the wait was over until then.
    async fn turn(&self, want: &Want, until: Option<Moment>) -> Result<Option<Turn>, LockError> {
        let most = self.shared.max_waiting;
        match self.in_time(until, self.shared.queue.turn(&self.key, want, most)).await? {
            Some(Ok(turn)) => Ok(Some(turn)),
            Some(Err(NoTurn::Closed)) => Err(self.unavailable(Shared::closed_error())),
            Some(Err(NoTurn::LineIsFull)) => {
                let text = format!(
                    "{most} calls of this process wait for it already (`max_waiting`): it is asked for faster than it is given back"
                );
                Err(self.unavailable(StoreError::new(StoreErrorKind::Overloaded, text)))
            }
            None => Ok(None),
        }
    }

    fn want(&self) -> Want {
        let any = self.shared.hands_over() && self.terms.min_hold.is_zero();
        Want { ttl: self.ttl, metadata: self.metadata.clone(), any, fence: self.terms.fence, caller: self.caller() }
    }

    /// Waits while another task of this process holds the lock.
    async fn while_held_here(
        &self,
        turn: &mut Turn,
        want: &Want,
        until: Option<Moment>,
        told: &mut bool,
    ) -> Result<Here, LockError> {
        loop {
            let held = match turn.offered(want) {
                Offering::Nothing => self.shared.queue.held_here(&self.key).ok_or_else(|| turn.last_offer()),
                other => Err(other),
            };
            let held = match held {
                Ok(held) => held,
                // None is made to us from here on: we could not take it while we wait for the store.
                Err(Offering::Nothing) => return Ok(Here::Free),
                Err(Offering::Lapsed) => return Ok(Here::Lapsed),
                Err(Offering::Lease(offer)) => {
                    if let Some(guard) = self.take_over(offer)? {
                        return Ok(Here::Won(guard));
                    }
                    continue;
                }
            };
            if until.is_some_and(|until| self.shared.store.now() >= until) {
                return Ok(Here::Over);
            }
            self.tell(told, Some(&held.holder));
            // Woken when it is given back; its lease bounds the wait, and an extension only makes us look again.
            let look_again = self.shared.store.now().plus(held.remaining);
            let until = until.map_or(look_again, |until| until.min(look_again));
            self.unless_over(Some(until), turn.freed()).await?;
        }
    }

    /// Takes over the lease of another holder of this process, if it has still enough of its time.
    fn take_over(&self, offer: Offer) -> Result<Option<LockGuard>, LockError> {
        let counted = self.shared.guards.begin();
        let taken = offer.accept(self.ttl, self.terms.fence, self.label);
        let Some(TakenOver { claim, until, at, chain, fence, place }) = taken else { return Ok(None) };
        let won = Won::from_holder(at, until, fence, chain);
        let hold = Hold::new(self, claim, &won);
        let guard = LockGuard::taken_over(hold, place, counted);
        if self.shared.is_closed() {
            return Err(self.unavailable(Shared::closed_error()));
        }
        self.keep(&guard).map_err(|miss| self.error(self.waited(), miss))?;
        guard.hold().hand_out();
        Ok(Some(guard))
    }

    /// Asks the store: for the lock, or where it has a line, for a place in that, and how things stand there.
    async fn ask_store(&self, turn: &mut Turn, patience: &mut Patience, called: bool) -> Result<LockGuard, Miss> {
        if turn.waiter.is_none() {
            // Who is in the way, the line tells as well.
            let lines_up = patience.lines_up && self.shared.store.keeps_line();
            let miss = match self.attempt(!lines_up).await {
                Ok(guard) => return Ok(guard),
                Err(miss) => miss,
            };
            if !lines_up || !matches!(miss, Miss::Busy(..)) {
                return Err(miss);
            }
            turn.waiter = self.shared.store.waiter(self.claim());
            if turn.waiter.is_none() {
                return Err(miss);
            }
        }
        self.in_line(turn, patience, called).await
    }

    /// Asks how things stand in the store's line, and confirms what was granted to us. The place is kept for the next try,
    /// whoever makes it.
    async fn in_line(&self, turn: &mut Turn, patience: &mut Patience, mut called: bool) -> Result<LockGuard, Miss> {
        for _ in 0..GRANTS {
            let Some(waiter) = &mut turn.waiter else { break };
            // A call mostly means that the lock was granted: no need to ask first.
            if !std::mem::take(&mut called) {
                match waiter.ask().await {
                    Ok(Place::Granted) => {}
                    Ok(Place::Waiting { holder }) => return Err(Miss::InLine(holder)),
                    Ok(Place::None { holder }) => {
                        turn.waiter = None;
                        patience.lines_up = false;
                        let remaining = holder.as_ref().map(|held| held.remaining);
                        return Err(Miss::Busy(self.holder(holder.as_ref()), remaining, None));
                    }
                    Ok(Place::Foreign { key }) => return Err(Miss::Final(LockError::ForeignKey { key })),
                    Err(error) if error.is_transient() => return Err(Miss::Passing(error)),
                    Err(error) => return Err(Miss::Final(self.unavailable(error))),
                }
            }
            // Counted before the question, so that `shutdown` waits for every answer that may become a guard.
            let counted = self.shared.guards.begin();
            if self.shared.is_closed() {
                return Err(Miss::Final(self.unavailable(Shared::closed_error())));
            }
            let confirmed = match waiter.confirm(self.ttl, self.counter().as_ref(), self.spare_fences()).await {
                Ok(Some(confirmed)) => confirmed,
                Ok(None) => continue,
                Err(error) if error.is_transient() => return Err(Miss::Passing(error)),
                Err(error) => return Err(Miss::Final(self.unavailable(error))),
            };
            let Some(waiter) = turn.waiter.take() else { break };
            let mut claim = waiter.settle();
            (claim.ttl, claim.label, claim.fence) = (self.ttl, self.label, self.counter());
            let won = Won::from_store(confirmed.sent, self.ttl, confirmed.fence, confirmed.spare_fences);
            return self.won(claim, &won, confirmed.fence, counted).await;
        }
        Err(Miss::InLine(None))
    }

    pub(crate) fn holder(&self, held: Option<&Held>) -> Option<Holder> {
        let local = self.shared.queue.token_here(&self.key);
        held.map(|held| Holder::read(&held.value, local.as_ref()))
    }

    /// The wait ended in line, behind others of this process.
    async fn last_word(&self) -> Result<LockGuard, LockError> {
        if let Some(held) = self.shared.queue.held_here(&self.key) {
            return Err(self.busy(self.waited(), Some(held.holder), Some(held.remaining)));
        }
        // Those before us may be asking a store that is down. That must not be called busy: ask ourselves.
        self.attempt(true).await.map_err(|miss| self.error(self.waited(), miss))
    }

    /// Sleeps before the next look, or until a lease of this process is given back, or the store calls. Whether it did.
    async fn pause(&self, delay: Duration, turn: &mut Turn) -> Result<bool, LockError> {
        let until = self.shared.store.now().plus(delay);
        let called = self.unless_over(Some(until), turn.news()).await?;
        Ok(called.unwrap_or(false))
    }

    /// What `future` gives, or `None` if `until` comes first; an error when the manager is shut down meanwhile.
    pub(crate) async fn unless_over<T>(
        &self,
        until: Option<Moment>,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, LockError> {
        let mut future = pin!(future);
        let mut closing = pin!(self.shared.closing());
        let future = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => closing.as_mut().poll(cx).map(|()| Err(self.unavailable(Shared::closed_error()))),
        });
        self.in_time(until, future).await?.transpose()
    }

    /// What `future` gives, or `None` if `until` comes first.
    async fn in_time<T>(&self, until: Option<Moment>, future: impl Future<Output = T>) -> Result<Option<T>, LockError> {
        let mut future = pin!(future);
        // Most of the time it is there already, and needs no timer.
        if let Poll::Ready(value) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Ok(Some(value));
        }
        match until.map(|until| until.since(self.shared.store.now())) {
            // Durations near the end of time are for ever; the timer would not take them.
            None => Ok(Some(future.await)),
            Some(left) => match timer::timeout(left, future) {
                Ok(future) => Ok(future.await.ok()),
                Err(error) => Err(self.unavailable(error)),
            },
        }
    }
}

/// How long to wait for the store's call before asking how things stand: until the lease ends that is in the way, but not for
/// long; and beside a holder who calls nobody, by the strategy of those who have no line to wait in.
fn look_again(held: Option<&Held>, delays: &mut Delays) -> Duration {
    let Some(Held { value, remaining, .. }) = held else { return CAP };
    let ends = remaining.saturating_add(Duration::from_millis(1));
    let calls = holder::is_ours(value);
    let pause = if calls { Some(CAP) } else { delays.next() };
    ends.min(pause.unwrap_or(CAP))
}
