//! A worker: a process whose tasks call locked functions in every way, and note what happens to them.

mod noted;

use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use lock_runtime::{LockError, LockGuard, LockManager, distributed_lock};
use lock_tests::machine_time;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

pub(crate) use self::noted::Log;
use self::noted::{Noted, POLL};
use crate::dice::Dice;
use crate::history::Writer;
use crate::record::{HoldId, Outcome, Record};
use crate::resource::Resource;
use crate::watched::{Broken, Watched};
use crate::{KEYS, TASKS, key_name};

/// The TTLs of the locks.
const TTLS: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(600), Duration::from_millis(1500)];

/// The longest of them.
pub(crate) const LONGEST_TTL: Duration = TTLS[2];

/// By how much longer than its lease a body blocks its thread.
const OVERRUN: Duration = Duration::from_millis(50);

/// The longest time for which one does.
pub(crate) const LONGEST_BLOCK: Duration = LONGEST_TTL.saturating_add(OVERRUN);

/// How long calls wait.
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// The longest of them.
pub(crate) const LONGEST_WAIT: Duration = WAITS[3];

/// How long a renewed lock is held at most, in TTLs.
pub(crate) const LONGEST_HOLD: u32 = 3;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Where the locks are: each server behind a proxy, or one address for all.
    pub locks: Vec<String>,
    /// The server of the resource.
    pub resource: String,
    /// Where the logs are written.
    pub directory: PathBuf,
    /// The seed of the run.
    pub seed: u64,
    /// The place of the worker.
    pub place: usize,
    /// How many were killed in this place before.
    pub life: usize,
    /// What is wrong with its store.
    pub broken: Option<Broken>,
}

impl Orders {
    /// The orders as arguments of the program.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        let Self { locks, resource, directory, seed, place, life, broken } = self;
        let broken = broken.map_or("none".to_owned(), |broken| broken.to_string());
        let (directory, numbers) =
            (directory.display().to_string(), [seed.to_string(), place.to_string(), life.to_string()]);
        [vec!["worker".to_owned(), locks.join(" "), resource.clone(), directory], numbers.to_vec(), vec![broken]]
            .concat()
    }

    /// Reads the arguments that follow `worker`.
    ///
    /// # Panics
    ///
    /// When they are not those of [`to_arguments`](Self::to_arguments).
    #[must_use]
    pub fn read(arguments: &[String]) -> Self {
        let [locks, resource, directory, seed, place, life, broken] = arguments else {
            panic!("no orders of a worker: {arguments:?}")
        };
        Self {
            locks: locks.split(' ').map(str::to_owned).collect(),
            resource: resource.clone(),
            directory: directory.into(),
            seed: seed.parse().expect("a seed"),
            place: place.parse().expect("a place"),
            life: life.parse().expect("a life"),
            broken: (broken != "none").then(|| broken.parse().expect("a broken store")),
        }
    }

    /// Where this worker writes what happens to it.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("worker-{}-{}.log", self.place, self.life))
    }
}

/// The file that tells the workers to take their last turns, and to end.
pub(crate) fn last_turns(directory: &Path) -> PathBuf {
    directory.join("last-turns")
}

/// Works until it is told to end.
///
/// # Panics
///
/// When something fails that no fault of the soak explains.
pub fn work(orders: &Orders) {
    // Both kinds of runtimes.
    let mut builder =
        if orders.place.is_multiple_of(2) { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = Arc::new(Log::open(&orders.log()));
        let store = Watched::open(&orders.locks, orders.broken, log.clone()).expect("a good address");
        let locks = LockManager::builder(store.clone()).build();
        let holds = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for number in 0..TASKS {
            let resource = Resource::connect(&orders.resource).expect("the resource");
            let parts = [3, orders.place, orders.life, number].map(|part| part as u64);
            let dice = Dice::for_part(orders.seed, &parts);
            let own =
                Own { orders: orders.clone(), store: store.clone(), log: log.clone(), holds: holds.clone(), resource };
            tasks.spawn(run(locks.clone(), own, dice, number));
        }
        tasks.join_all().await;
        locks.shutdown().await;
    });
}

/// Calls and calls, and takes a last turn at the end.
async fn run(locks: LockManager, mut own: Own, mut dice: Dice, number: usize) {
    let end = last_turns(&own.orders.directory);
    while !end.exists() {
        let call = Call::draw(&mut dice, own.orders.broken);
        let limit = dice.between(&(Duration::ZERO..Duration::from_millis(500)));
        let called = call.make(&locks, &mut own);
        let result =
            if dice.below(8) == 0 { tokio::time::timeout(limit, called).await.ok() } else { Some(called.await) };
        own.note(&call, result);
        tokio::time::sleep(dice.between(&(Duration::ZERO..Duration::from_millis(20)))).await;
    }
    let asked = machine_time();
    loop {
        let call = Call::last(number % KEYS);
        let result = call.make(&locks, &mut own).await;
        let over = result.is_ok();
        let outcome = own.note(&call, Some(result));
        if over {
            own.log.write(&Record::Last { key: call.key, asked, returned: machine_time() });
        }
        if over || outcome == Outcome::Unexpected {
            return;
        }
    }
}

/// The ways to hold a lock.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By the attribute.
    Plain,
    /// The same, without waiting for the release.
    Background,
    /// Renewed.
    Renewed,
    /// With a fencing token.
    Fenced,
    /// With a fencing token, and going on when the lock is lost.
    Proceeding,
    /// With a guard.
    ByHand,
    /// With a guard that is renewed.
    ByHandRenewed,
    /// With a guard that is extended by hand and has a fencing token.
    ByHandExtended,
}

const ALL_WAYS: [Way; 8] = [
    Way::Plain,
    Way::Background,
    Way::Renewed,
    Way::Fenced,
    Way::Proceeding,
    Way::ByHand,
    Way::ByHandRenewed,
    Way::ByHandExtended,
];

const RENEWED: [Way; 3] = [Way::Renewed, Way::Fenced, Way::ByHandRenewed];
const UNRENEWED: [Way; 4] = [Way::Plain, Way::Background, Way::Proceeding, Way::ByHand];

/// One call of a locked function.
#[derive(Debug, Clone)]
struct Call {
    way: Way,
    key: usize,
    ttl: Duration,
    wait: Duration,
    asked: Duration,
    /// How often the body reads and writes.
    updates: u32,
    /// How long it takes from one to the other.
    pause: Duration,
    /// Whether it blocks its thread meanwhile.
    blocking: bool,
}

impl Call {
    fn draw(dice: &mut Dice, broken: Option<Broken>) -> Self {
        let (ttl, ms) = (dice.pick(&TTLS), Duration::from_millis);
        // How many of forty bodies outlast their lease, and in how many steps. Controls that not every body brings out have more of
        // those that do.
        let (outlasting, steps, ways): (_, _, &[Way]) = match broken {
            Some(Broken::LeaseFromReply) => (30, 7, &UNRENEWED),
            Some(Broken::RenewalSets) => (20, 12, &RENEWED),
            // As many renewed as lost on the way.
            _ => (6, 9, if dice.below(2) == 0 { &RENEWED } else { &UNRENEWED }),
        };
        let (ways, updates, pause, blocking): (&[Way], _, _, _) = match dice.below(40) {
            sort if sort < outlasting => (ways, steps, ttl / 4, false),
            // The executor is blocked, for longer than the lease or for a while.
            39 => (&ALL_WAYS, 1, ttl + OVERRUN, true),
            36..39 => (&ALL_WAYS, 1, dice.between(&(ms(5)..ms(40))), true),
            30..36 => (&ALL_WAYS, 3, dice.between(&(ms(3)..ms(30))), false),
            _ => (&ALL_WAYS, 1, dice.between(&(ms(0)..ms(5))), false),
        };
        Self {
            way: dice.pick(ways),
            key: dice.below(KEYS),
            ttl,
            wait: dice.pick(&WAITS),
            asked: machine_time(),
            updates,
            pause,
            blocking,
        }
    }

    /// The last call of a task.
    fn last(key: usize) -> Self {
        let (ttl, wait) = (LONGEST_TTL, LONGEST_WAIT);
        let (updates, pause, blocking) = (1, Duration::from_millis(1), false);
        Self { way: Way::Plain, key, ttl, wait, asked: machine_time(), updates, pause, blocking }
    }

    async fn make(&self, locks: &LockManager, own: &mut Own) -> Result<(), LockError> {
        match self.way {
            Way::Plain => plain(locks, own, self).await,
            Way::Background => background(locks, own, self).await,
            Way::Renewed => renewed(locks, own, self).await,
            Way::Fenced => fenced(locks, own, self).await,
            Way::Proceeding => proceeding(locks, own, self).await,
            Way::ByHand | Way::ByHandRenewed | Way::ByHandExtended => by_hand(locks, own, self).await,
        }
    }

    fn name(&self) -> String {
        key_name(self.key)
    }
}

#[distributed_lock(key = call.name(), ttl = call.ttl, wait = call.wait, guard = lock, manager = locks)]
async fn plain(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    own.body(call, lock, lock.fence()).await;
    Ok(())
}

#[distributed_lock(key = call.name(), ttl = call.ttl, wait = call.wait, release = "background", guard = lock, manager = locks)]
async fn background(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    own.body(call, lock, lock.fence()).await;
    Ok(())
}

#[distributed_lock(
    key = call.name(), ttl = call.ttl, wait = call.wait, renew, max_hold = call.ttl * LONGEST_HOLD, guard = lock, manager = locks
)]
async fn renewed(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    own.body(call, lock, lock.fence()).await;
    Ok(())
}

#[distributed_lock(
    key = call.name(), ttl = call.ttl, wait = call.wait, renew = call.ttl / 4, fence = token, guard = lock, manager = locks
)]
async fn fenced(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    own.body(call, lock, Some(token)).await;
    Ok(())
}

#[distributed_lock(
    key = call.name(), ttl = call.ttl, wait = call.wait, fence = token, on_lost = "proceed", guard = lock, manager = locks
)]
async fn proceeding(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    own.body(call, lock, Some(token)).await;
    Ok(())
}

/// Holds a lock as somebody does who is careful: the guard is asked before every step, and the work ends when the lock is lost.
async fn by_hand(locks: &LockManager, own: &mut Own, call: &Call) -> Result<(), LockError> {
    let request = locks.lock(call.name()).ttl(call.ttl).wait(call.wait);
    let request = match call.way {
        Way::ByHandRenewed => request.renew().max_hold(call.ttl * LONGEST_HOLD),
        Way::ByHandExtended => request.fence(),
        _ => request,
    };
    let guard = request.acquire().await?;
    {
        let mut lost = pin!(guard.lost());
        let mut body = pin!(own.body(call, &guard, guard.fence()));
        poll_fn(|cx| {
            if lost.as_mut().poll(cx).is_ready() || !guard.is_held() {
                return Poll::Ready(());
            }
            body.as_mut().poll(cx)
        })
        .await;
    }
    guard.release().await
}

/// What a task has to itself, and shares with its neighbours.
struct Own {
    orders: Orders,
    store: Watched,
    log: Arc<Log>,
    holds: Arc<AtomicU64>,
    resource: Resource,
}

impl Own {
    /// The body of every locked function: counts up what the lock protects.
    async fn body(&mut self, call: &Call, guard: &LockGuard, fence: Option<i64>) {
        let id = HoldId {
            place: self.orders.place,
            life: self.orders.life,
            number: self.holds.fetch_add(1, Ordering::Relaxed),
        };
        let mut noted = Noted::new(self.log.clone(), self.store.clone(), guard, call, id);
        let mut counting = pin!(self.count(call, guard, fence, id));
        poll_fn(|cx| {
            noted.begin_poll();
            let polled = counting.as_mut().poll(cx);
            noted.end_poll();
            polled
        })
        .await;
    }

    async fn count(&mut self, call: &Call, guard: &LockGuard, fence: Option<i64>, hold: HoldId) {
        const RESOURCE: &str = "nobody molests the resource";
        for update in 0..call.updates {
            let plain = self.resource.read(call.key, None).expect(RESOURCE).unwrap_or_default();
            let fenced = fence.and_then(|token| self.resource.read(call.key, Some(token)).expect(RESOURCE));
            if call.blocking {
                std::thread::sleep(call.pause);
            } else {
                tokio::time::sleep(call.pause).await;
            }
            if update == 1 && matches!(call.way, Way::ByHandExtended) {
                // Should it fail, the lease ends as if it had not been tried; that is seen before the next poll.
                let _ = guard.extend(call.ttl).await;
            }
            let by = Writer { hold, look: POLL.get() };
            // Who goes on without the lock leaves alone what cannot refuse him.
            if !matches!(call.way, Way::Proceeding) {
                self.resource.write(call.key, None, by, plain).expect(RESOURCE);
            }
            if let Some(base) = fenced {
                // Refused or not: that is up to the resource.
                self.resource.write(call.key, fence, by, base).expect(RESOURCE);
            }
        }
    }

    /// Notes what came of a call; `None` when it was dropped.
    fn note(&self, call: &Call, result: Option<Result<(), LockError>>) -> Outcome {
        let outcome = match &result {
            None => Outcome::Dropped,
            Some(Ok(())) => Outcome::Done,
            Some(Err(LockError::Busy(_))) => Outcome::Busy,
            Some(Err(LockError::Lost { .. })) => Outcome::Lost,
            Some(Err(LockError::Unavailable { source, .. })) if source.is_transient() => Outcome::Unavailable,
            Some(Err(_)) => Outcome::Unexpected,
        };
        let text = match result {
            Some(Err(error)) if outcome == Outcome::Unexpected => error.to_string(),
            _ => String::new(),
        };
        let (key, asked, returned) = (call.key, call.asked, machine_time());
        self.log.write(&Record::Called { key, asked, returned, outcome, text });
        outcome
    }
}
