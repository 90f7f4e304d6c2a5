//! One call under the attribute, polled by hand: who wakes whom, and what happens when, is the schedule's to say.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use lock_runtime::{LockError, LockGuard, LockManager, distributed_lock};
use tokio::runtime::{Builder, Runtime};

use crate::rules::{Answer, Note, State, TTL};
use crate::schedule::Schedule;
use crate::world::{Scripted, World};

/// What a body does when it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Waits for something of its own.
    Wait,
    /// Asks for more time, and waits for the answer.
    Extend,
    Return,
    Fail,
    Panic,
}

/// One kind of call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// What the body does undisturbed.
    pub(crate) plan: &'static [Act],
    pub(crate) way: Way,
    /// Whether what the body owns panics when it is dropped.
    pub(crate) destructor_panics: bool,
    /// Up to how many times something else happens than undisturbed.
    pub(crate) deviations: usize,
}

/// How the function is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Renewed,
    ReleasedInBackground,
    Proceeding,
    /// Not declared at all: the guard is held by hand, and its holder listens for the loss.
    ByHand,
}

impl Way {
    /// Whether the body ends with the lease; whoever waits is woken for it.
    pub(crate) fn ends_with_the_lease(self) -> bool {
        self != Self::Proceeding
    }

    /// Nobody compares the clock before each poll.
    pub(crate) fn may_be_polled_without_a_lease(self) -> bool {
        matches!(self, Self::Proceeding | Self::ByHand)
    }

    pub(crate) fn is_renewed(self) -> bool {
        matches!(self, Self::Renewed | Self::ByHand)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Returned,
    /// With the body's own error.
    Failed,
    Lost {
        completed: bool,
    },
    /// Its holder by hand was told that the lock is lost.
    Noticed,
    Busy,
    Unavailable,
    Panicked,
    /// The future was dropped before its end.
    Dropped,
}

/// The body's error, or the lock's.
#[derive(Debug)]
pub(crate) enum Failure {
    Body,
    Noticed,
    Lock(LockError),
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

/// What a body is made of.
#[derive(Clone)]
struct Site {
    locks: LockManager,
    world: Arc<World>,
    course: Course,
}

#[distributed_lock(key = "k", ttl = TTL, manager = site.locks, guard = lock)]
async fn plain(site: &Site) -> Result<(), Failure> {
    Body::begin(site, lock).await
}

#[distributed_lock(key = "k", ttl = TTL, renew, manager = site.locks, guard = lock)]
async fn renewed(site: &Site) -> Result<(), Failure> {
    Body::begin(site, lock).await
}

#[distributed_lock(key = "k", ttl = TTL, release = "background", manager = site.locks, guard = lock)]
async fn released_in_background(site: &Site) -> Result<(), Failure> {
    Body::begin(site, lock).await
}

#[distributed_lock(key = "k", ttl = TTL, on_lost = "proceed", manager = site.locks, guard = lock)]
async fn proceeding(site: &Site) -> Result<(), Failure> {
    Body::begin(site, lock).await
}

async fn by_hand(site: &Site) -> Result<(), Failure> {
    let guard = site.locks.lock("k").ttl(TTL).renew().acquire().await?;
    let ended = {
        let mut body = pin!(Body::begin(site, &guard));
        let mut lost = pin!(None);
        poll_fn(|cx| {
            // Anew each time, as by `select!` in a loop.
            lost.set(Some(guard.lost()));
            match lost.as_mut().as_pin_mut().map(|lost| lost.poll(cx)) {
                Some(Poll::Ready(_)) => Poll::Ready(Err(Failure::Noticed)),
                _ => body.as_mut().poll(cx),
            }
        })
        .await
    };
    if ended.is_ok() {
        guard.release().await?;
    }
    ended
}

type Extension<'a> = Pin<Box<dyn Future<Output = Result<(), LockError>> + 'a>>;

/// A body that does what the schedule says.
struct Body<'a> {
    site: &'a Site,
    lock: &'a LockGuard,
    acts: usize,
    extension: Option<Extension<'a>>,
}

impl<'a> Body<'a> {
    fn begin(site: &'a Site, lock: &'a LockGuard) -> Self {
        site.world.state().body.begun += 1;
        Self { site, lock, acts: 0, extension: None }
    }

    fn next_act(&mut self) -> Act {
        let planned = self.site.course.plan.get(self.acts).copied().unwrap_or(Act::Return);
        self.acts += 1;
        let others = [Act::Wait, Act::Extend, Act::Return, Act::Fail, Act::Panic];
        let acts: Vec<_> = [planned].into_iter().chain(others.into_iter().filter(|act| *act != planned)).collect();
        let mut state = self.site.world.state();
        acts[state.schedule.choose(acts.len())]
    }

    fn note(&self, what: &'static str) {
        self.site.world.state().notes.push(Note::Body(what));
    }
}

impl Future for Body<'_> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let world = &this.site.world;
        world.state().body_polled();
        // It blocks for a while, or does not.
        world.meanwhile();
        loop {
            if let Some(extension) = &mut this.extension {
                match extension.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) => this.extension = None,
                }
            }
            let act = this.next_act();
            let world = &this.site.world;
            match act {
                Act::Wait => {
                    this.note("waits");
                    world.state().body.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Act::Extend => {
                    this.note("extends");
                    this.extension = Some(Box::pin(this.lock.extend(2 * TTL)));
                }
                Act::Return | Act::Fail => {
                    this.note("ends");
                    world.state().body_ended(act == Act::Fail);
                    return Poll::Ready(if act == Act::Return { Ok(()) } else { Err(Failure::Body) });
                }
                Act::Panic => {
                    this.note("panics");
                    world.state().body.panicked = true;
                    // Without the panic hook, which would print it.
                    resume_unwind(Box::new(ON_PURPOSE));
                }
            }
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        // It is part of the body.
        self.extension = None;
        self.note("is dropped");
        self.site.world.state().body_dropped();
        // One panic on top of another ends the process, whatever the locks do.
        if self.site.course.destructor_panics && !std::thread::panicking() {
            self.site.world.state().body.panicked = true;
            resume_unwind(Box::new(ON_PURPOSE));
        }
    }
}

/// What a body panics with.
const ON_PURPOSE: &str = "on purpose";

/// One step beside the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Poll,
    /// Nobody asked for it.
    SpuriousPoll,
    Background,
    Answer(usize, Answer),
    Later,
    OutlastTheLease,
    WakeTheBody,
    Drop,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::SpuriousPoll => "a poll that nobody asked for",
            Self::Background => "background",
            Self::Answer(..) => "answer",
            Self::Later => "later",
            Self::OutlastTheLease => "the lease is over",
            Self::WakeTheBody => "the body is woken",
            Self::Drop => "the call is dropped",
        }
    }
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The steps that are possible while the call waits, what happens undisturbed first.
///
/// `None`: nothing will ever wake it.
fn steps(state: &State, woken: bool, course: &Course) -> Option<Vec<Step>> {
    let mut steps = vec![if woken { Step::Poll } else { Step::SpuriousPoll }];
    steps.extend(state.background_is_due.then_some(Step::Background));
    let unanswered = state.asked.iter().enumerate().filter(|(_, asked)| asked.waits_for_an_answer());
    for (place, _) in unanswered {
        steps.extend([Answer::Yes, Answer::No, Answer::Unknown].map(|answer| Step::Answer(place, answer)));
    }
    let waits = state.body.waker.is_some();
    steps.extend(waits.then_some(Step::WakeTheBody));
    steps.push(Step::Later);
    steps.extend(state.is_good().then_some(Step::OutlastTheLease));
    steps.push(Step::Drop);
    let undisturbed = if woken {
        Step::Poll
    } else if state.background_is_due {
        Step::Background
    } else if let Some(place) = state.unanswered() {
        Step::Answer(place, Answer::Yes)
    } else if waits && course.way.is_renewed() && !state.has_renewed() {
        Step::Later
    } else if waits {
        Step::WakeTheBody
    } else {
        return None;
    };
    let first = steps.iter().position(|step| *step == undisturbed)?;
    steps[..=first].rotate_right(1);
    Some(steps)
}

/// Runs one call by `schedule`; how it ended, and the state of everything.
fn run(course: Course, schedule: Schedule) -> (Outcome, State) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let runtime = Arc::new(runtime);
    let world = World::new(schedule, course.way, &runtime);
    let locks = LockManager::builder(Scripted(world.clone())).build();
    let site = Site { locks, world: world.clone(), course };
    // Timers and tasks are made in it; polled by hand.
    let entered = runtime.enter();
    let outcome = drive(
        &runtime,
        &world,
        course,
        Box::pin(async move {
            match course.way {
                Way::Plain => plain(&site).await,
                Way::Renewed => renewed(&site).await,
                Way::ReleasedInBackground => released_in_background(&site).await,
                Way::Proceeding => proceeding(&site).await,
                Way::ByHand => by_hand(&site).await,
            }
        }),
    );
    drop(entered);
    drop(runtime);
    let state = world.into_state().expect("nobody has kept the store: the manager, the guard and the tasks are gone");
    (outcome, state)
}

type Call = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

fn drive(runtime: &Runtime, world: &World, course: Course, call: Call) -> Outcome {
    let mut woken = Arc::new(Woken(AtomicBool::new(true)));
    let mut call = Some(call);
    let mut outcome = None;
    while let Some(future) = &mut call {
        let is_woken = woken.0.load(Ordering::Relaxed);
        let step = {
            let mut state = world.state();
            if !is_woken {
                state.look_at_a_waiting_call();
            }
            let Some(steps) = steps(&state, is_woken, &course) else {
                state.broken = state.broken.or(Some("whoever waits is woken"));
                break;
            };
            state.steps += 1;
            assert!(state.steps < 100, "it does not end: {:?}", state.notes);
            let step = steps[state.schedule.choose(steps.len())];
            if step != Step::Background {
                state.notes.push(Note::Step(step.name()));
            }
            step
        };
        match step {
            Step::Poll | Step::SpuriousPoll => {
                // By another task than before: of the wakers, only the last one counts.
                woken = Arc::default();
                let waker = Waker::from(woken.clone());
                let mut cx = Context::from_waker(&waker);
                let poll = || world.while_polled(|| future.as_mut().poll(&mut cx));
                outcome = match catch_unwind(AssertUnwindSafe(poll)) {
                    Ok(Poll::Pending) => None,
                    Ok(Poll::Ready(result)) => Some(said(&result)),
                    Err(panic) => Some(panicked(panic)),
                };
                // It may have begun to be renewed.
                world.state().background_is_due |= course.way.is_renewed();
                if outcome.is_some() {
                    call = None;
                }
            }
            Step::Drop => {
                let call = call.take();
                let dropped = catch_unwind(AssertUnwindSafe(|| world.while_polled(|| drop(call))));
                outcome = Some(dropped.map_or_else(panicked, |()| Outcome::Dropped));
            }
            Step::Background => world.run_the_background(),
            Step::Answer(place, answer) => world.answer(place, answer),
            Step::Later => world.later(),
            Step::OutlastTheLease => world.outlast_the_lease(),
            Step::WakeTheBody => {
                let waker = world.state().body.waker.take();
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }
    // What is still under way comes to its end.
    loop {
        world.run_the_background();
        let Some(place) = world.state().unanswered() else { break };
        world.answer(place, Answer::Yes);
    }
    let mut state = world.state();
    state.look_at_the_end();
    if runtime.metrics().num_alive_tasks() > 0 {
        state.broken = state.broken.or(Some("no task outlives the hold"));
    }
    outcome.unwrap_or(Outcome::Dropped)
}

/// The body's panic; any other is one of the tests.
fn panicked(panic: Box<dyn Any + Send>) -> Outcome {
    if panic.downcast_ref() != Some(&ON_PURPOSE) {
        resume_unwind(panic);
    }
    Outcome::Panicked
}

fn said(result: &Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Returned,
        Err(Failure::Body) => Outcome::Failed,
        Err(Failure::Noticed) => Outcome::Noticed,
        Err(Failure::Lock(LockError::Lost { completed, .. })) => Outcome::Lost { completed: *completed },
        Err(Failure::Lock(LockError::Busy(_))) => Outcome::Busy,
        Err(Failure::Lock(LockError::Unavailable { .. })) => Outcome::Unavailable,
        Err(Failure::Lock(error)) => panic!("not a word of this was said: {error}"),
    }
}

/// Whether a call may end like this.
fn is_right(outcome: Outcome, state: &State, way: Way) -> bool {
    let (ended, released) = (state.body.ended, state.released());
    let (succeeded, failed) = (ended.is_some_and(|ended| !ended.failed), ended.is_some_and(|ended| ended.failed));
    // The lease may have ended between the end of the body and the look at the clock.
    let was_lost = state.was_lost() && way.ends_with_the_lease();
    match (outcome, way) {
        (Outcome::Panicked, _) => state.body.panicked,
        _ if state.body.panicked => false,
        (Outcome::Dropped, _) => true,
        // Lost or not: its own error says more.
        (Outcome::Failed, _) => failed,
        (Outcome::Returned, Way::ByHand) => succeeded && released == Some(Answer::Yes),
        (Outcome::Lost { .. }, Way::ByHand) => succeeded && released == Some(Answer::No),
        (Outcome::Unavailable, Way::ByHand) => state.body.begun == 0 || succeeded && released == Some(Answer::Unknown),
        (Outcome::Returned, Way::Proceeding) => succeeded,
        (Outcome::Returned, _) => succeeded && ended.is_some_and(|ended| ended.in_time),
        (Outcome::Lost { completed: true }, _) => succeeded && was_lost,
        // The body may not even have been polled.
        (Outcome::Lost { completed: false } | Outcome::Noticed, _) => ended.is_none() && was_lost,
        (Outcome::Busy | Outcome::Unavailable, _) => state.body.begun == 0,
    }
}

/// Runs `course` by every schedule; how often it ended how.
///
/// # Panics
///
/// With the schedule, if one breaks a rule.
pub(crate) fn explore(course: Course) -> BTreeMap<Outcome, usize> {
    let mut outcomes = BTreeMap::new();
    let mut next = Some(Schedule::undisturbed(course.deviations));
    while let Some(schedule) = next {
        let (outcome, state) = run(course, schedule);
        let notes = &state.notes;
        if let Some(rule) = state.broken {
            panic!("broken: {rule}\n{outcome:?} after {notes:?}");
        }
        assert!(is_right(outcome, &state, course.way), "it ended as {outcome:?} after {notes:?}");
        *outcomes.entry(outcome).or_default() += 1;
        next = state.schedule.next();
    }
    println!("{course:?}: {} schedules, {outcomes:?}", outcomes.values().sum::<usize>());
    outcomes
}
