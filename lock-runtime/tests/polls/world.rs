//! What a call runs in: a store that answers when and as the schedule says, and a clock that the schedule moves.

use std::fmt;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_runtime::store::{Attempt, Claim, Done, Extension, RenewFuture, Renewal, StoreFuture};
use lock_runtime::{Moment, Store, StoreError, StoreErrorKind};
use tokio::runtime::Runtime;

use crate::call::Way;
use crate::rules::{Answer, Note, Question, State};
use crate::schedule::Schedule;

/// How far a step of the clock goes: to the next renewal.
const STEP: Duration = Duration::from_millis(100);

/// Everything around the call. A store for it, too.
pub(crate) struct World {
    state: Mutex<State>,
    /// The timers and the tasks in the background. They run when the schedule says so, and then until they wait.
    runtime: Weak<Runtime>,
}

impl World {
    pub(crate) fn new(schedule: Schedule, way: Way, runtime: &Arc<Runtime>) -> Arc<Self> {
        let state = State::new(schedule, way);
        Arc::new(Self { state: Mutex::new(state), runtime: Arc::downgrade(runtime) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_state(self: Arc<Self>) -> Option<State> {
        Arc::into_inner(self).map(|world| world.state.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Time passes; no timer has noticed yet.
    fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.plus(time);
        let now = state.now;
        state.notes.push(Note::Clock(now.since_origin()));
        state.background_is_due = true;
        drop(state);
        // It moves the clock when it is polled first. The timers ring when the runtime runs, which it does not here.
        let _ = pin!(tokio::time::advance(time)).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Time passes, until the next renewal.
    pub(crate) fn later(&self) {
        self.pass(STEP);
    }

    /// Time passes, until the very moment at which the lease ends.
    pub(crate) fn outlast_the_lease(&self) {
        let left = self.state().left();
        self.pass(left);
    }

    /// The timers catch up with the clock, and the tasks in the background run until they wait.
    pub(crate) fn run_the_background(&self) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        let polled = {
            let mut state = self.state();
            state.notes.push(Note::Step("background"));
            state.background_is_due = false;
            state.timers = state.now;
            std::mem::replace(&mut state.call_is_polled, false)
        };
        runtime.block_on(async {
            // From the timer to the task that renews, to the request, and back.
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
        });
        self.state().call_is_polled = polled;
    }

    /// Polls, or drops, the call by `step`; what happens meanwhile happens on other threads.
    pub(crate) fn while_polled<T>(&self, step: impl FnOnce() -> T) -> T {
        struct Polled<'a>(&'a World);
        impl Drop for Polled<'_> {
            fn drop(&mut self) {
                self.0.state().call_is_polled = false;
            }
        }
        self.state().call_is_polled = true;
        let _polled = Polled(self);
        step()
    }

    /// A moment in the middle of a poll: nothing happens; or so much time passes that the lease is over; or other threads go on.
    pub(crate) fn meanwhile(&self) {
        let mut possible: Vec<Option<fn(&Self)>> = vec![None];
        let happens = {
            let mut state = self.state();
            if !state.call_is_polled || !state.is_granted() {
                return;
            }
            possible.extend(state.is_good().then_some(Some(Self::outlast_the_lease as fn(&Self))));
            possible.extend(state.background_is_due.then_some(Some(Self::run_the_background as fn(&Self))));
            possible[state.schedule.choose(possible.len())]
        };
        if let Some(happens) = happens {
            happens(self);
        }
    }

    /// Gives the request at `place` its answer.
    pub(crate) fn answer(&self, place: usize, answer: Answer) {
        let waker = {
            let mut state = self.state();
            let asked = &mut state.asked[place];
            asked.answer = Some(answer);
            let (question, waker) = (asked.question, asked.waker.take());
            state.notes.push(Note::Answered(question, answer));
            state.background_is_due |= matches!(question, Question::Renew(_));
            waker
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn ask(&self, question: Question, claim: &Claim) -> (Answer, Moment) {
        let place = self.state().send(question, &claim.token);
        let answer = Waiting { world: self, place }.await;
        (answer, self.state().asked[place].sent)
    }
}

/// Somebody waits for the answer to the request at `place`.
struct Waiting<'a> {
    world: &'a World,
    place: usize,
}

impl Future for Waiting<'_> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.world.state();
        if let Some(answer) = state.asked[self.place].answer {
            state.take(self.place, answer);
            return Poll::Ready(answer);
        }
        state.asked[self.place].waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.world.state().asked[self.place].is_over = true;
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// The store of a [`World`].
#[derive(Debug)]
pub(crate) struct Scripted(pub(crate) Arc<World>);

impl Scripted {
    async fn said(&self, question: Question, claim: &Claim) -> Result<bool, StoreError> {
        match self.0.ask(question, claim).await.0 {
            Answer::Yes => Ok(true),
            Answer::No => Ok(false),
            Answer::Unknown => Err(no_answer()),
        }
    }
}

impl Store for Scripted {
    fn now(&self) -> Moment {
        // Whoever looks at the clock does so between two things that others may come between.
        self.0.meanwhile();
        self.0.state().now
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            match self.0.ask(Question::Acquire, claim).await {
                (Answer::Yes, sent) => Ok(Attempt::acquired(sent)),
                (Answer::No, _) => Ok(Attempt::busy(None, None)),
                (Answer::Unknown, _) => Err(no_answer()),
            }
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, _: Extension) -> StoreFuture<'a, bool> {
        Box::pin(self.said(Question::Extend(ttl), claim))
    }

    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], _: Duration) -> RenewFuture<'a> {
        Box::pin(async move {
            let mut answers = Vec::new();
            for Renewal { claim, ttl, .. } in renewals {
                answers.push(self.said(Question::Renew(*ttl), claim).await);
            }
            answers
        })
    }

    fn remaining<'a>(&'a self, _: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(ready(Err(no_answer())))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(self.said(Question::Release, claim))
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.0.state().abandon(&claim.token);
        drop(done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    /// Renewed by a task, which runs when the schedule lets it.
    fn is_remote(&self) -> bool {
        false
    }
}

fn no_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, "no answer")
}
