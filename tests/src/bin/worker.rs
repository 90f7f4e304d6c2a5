//! Another process, for tests that need several.

use std::env;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::{LockError, LockManager, Moment, distributed_lock};
use lock_tests::{Admin, RedisServer, eventually, eventually_blocking, machine_time};
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinSet;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["hold-server", state] => hold_server(state == "paused"),
        ["hold-lock", url, key, ttl] => hold_lock(url, key, milliseconds(ttl)),
        ["wait-for-lock", url, key, ttl] => wait_for_lock(url, key, milliseconds(ttl)),
        ["snatch", url, key] => snatch(url, key),
        ["shut-down", url, threads] => shut_down(url, threads),
        ["abort", url, key, ttl] => abort(url, key, milliseconds(ttl)),
        ["end-runtime", url, key, ttl, kind, end] => end_runtime(url, key, milliseconds(ttl), kind, end),
        ["ask-at-the-end", url, kind] => ask_at_the_end(url, kind),
        ["note-polls", url, key, ttl, kind] => note_polls(url, key, milliseconds(ttl), kind),
        ["write-late", url, key, ttl] => write_late(url, key, milliseconds(ttl)),
        ["stop-itself", url, key, ttl, look] => {
            stop_itself(url, key, milliseconds(ttl), look.parse().expect("a number"));
        }
        ["watch-wall-clock", url] => watch_wall_clock(url),
        ["contend", url, callers, locks] => contend(url, callers.parse().expect("a number"), locks == "locked"),
        ["take-turns", url, keys] => take_turns(url, keys),
        ["fence", url, key, turns] => fence(url, key, turns.parse().expect("a number")),
        _ => panic!("unknown arguments: {words:?}"),
    }
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("milliseconds"))
}

fn wait_to_be_killed() -> ! {
    loop {
        thread::park();
    }
}

/// Starts a server and prints its id.
fn hold_server(paused: bool) {
    let mut server = RedisServer::start();
    if paused {
        server.pause();
    }
    println!("{}", server.pid());
    wait_to_be_killed();
}

/// Takes a lock and says so.
#[tokio::main]
async fn hold_lock(url: &str, key: &str, ttl: Duration) {
    let locks = LockManager::connect(url).await.expect("connect");
    let _guard = locks.lock(key).ttl(ttl).acquire().await.expect("the lock");
    println!("held");
    wait_to_be_killed();
}

/// Waits for a lock, says `held`, gives it back and ends.
#[tokio::main]
async fn wait_for_lock(url: &str, key: &str, ttl: Duration) {
    let locks = LockManager::connect(url).await.expect("connect");
    let guard = locks.lock(key).ttl(ttl).wait(Duration::MAX).acquire().await.expect("the lock");
    println!("held");
    guard.release().await.expect("ours");
}

/// Takes each of the locks in turn, over and over, and tells for each time when it was held. Until it is interrupted.
#[tokio::main]
async fn take_turns(url: &str, keys: &str) {
    let locks = LockManager::connect(url).await.expect("connect");
    println!("begun");
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    for key in keys.split(',').cycle() {
        let guard = locks.lock(key).ttl(Duration::from_secs(60)).wait(Duration::from_secs(30)).acquire().await;
        let guard = guard.unwrap_or_else(|error| panic!("{error}"));
        let begin = machine_time();
        tokio::task::yield_now().await;
        let end = machine_time();
        match guard.release().await {
            // The answer was lost with the connection; if the lock is still there, it is given back behind.
            Err(LockError::Unavailable { .. }) => {}
            released => released.unwrap_or_else(|error| panic!("{error}")),
        }
        println!("{key} {} {}", begin.as_micros(), end.as_micros());
        if poll_fn(|cx| Poll::Ready(interrupted.as_mut().poll(cx).is_ready())).await {
            break;
        }
    }
    locks.shutdown().await;
}

/// Says `trying`, asks for a lock until it has it, and says so.
#[tokio::main]
async fn snatch(url: &str, key: &str) {
    let locks = LockManager::connect(url).await.expect("connect");
    println!("trying");
    loop {
        match locks.lock(key).ttl(Duration::from_secs(60)).acquire().await {
            Ok(guard) => {
                println!("snatched");
                guard.release().await.expect("ours");
                return;
            }
            Err(LockError::Busy(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Takes locks in every way, has some under way and some just dropped, shuts the manager down and ends.
fn shut_down(url: &str, threads: &str) {
    let mut builder = match threads {
        "current" => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let locks = LockManager::builder(RedisStore::open(url).expect("a good address"));
        let locks = locks.shutdown_grace(Duration::from_millis(100)).build();
        let mut held = Vec::new();
        for n in 0..5 {
            let ttl = Duration::from_secs(600);
            held.push(locks.lock(format!("held:{n}")).ttl(ttl).renew().acquire().await.expect("free"));
            drop(locks.lock(format!("dropped:{n}")).ttl(ttl).acquire().await.expect("free"));
            let locks = locks.clone();
            // Under way when the manager is shut down, or not begun yet: then it is refused.
            tokio::spawn(async move {
                let _guard = locks.lock(format!("late:{n}")).ttl(ttl).renew().acquire().await;
                std::future::pending::<()>().await;
            });
        }
        let last = held.pop();
        tokio::task::yield_now().await;
        drop(held);
        locks.shutdown().await;
        drop(last);
    });
}

/// Ends in the middle of a locked body, without unwinding.
#[tokio::main]
async fn abort(url: &str, key: &str, ttl: Duration) {
    #[distributed_lock(key = key, ttl = ttl, manager = locks)]
    async fn aborting(locks: &LockManager, key: &str, ttl: Duration) -> Result<(), LockError> {
        println!("held");
        tokio::task::yield_now().await;
        std::process::abort()
    }

    let locks = LockManager::connect(url).await.expect("connect");
    aborting(&locks, key, ttl).await.expect("unreachable: it aborts");
}

fn runtime(kind: &str) -> Runtime {
    let mut builder = match kind {
        "current-thread" => Builder::new_current_thread(),
        "multi-thread" => Builder::new_multi_thread(),
        _ => panic!("unknown kind of runtime: {kind}"),
    };
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Ends its runtime while a locked body is waiting in it.
fn end_runtime(url: &str, key: &str, ttl: Duration, kind: &str, end: &str) {
    #[distributed_lock(key = key, ttl = ttl, manager = locks)]
    async fn endless(
        locks: &LockManager,
        key: &str,
        ttl: Duration,
        held: oneshot::Sender<()>,
    ) -> Result<(), LockError> {
        held.send(()).expect("somebody waits");
        std::future::pending().await
    }

    let runtime = runtime(kind);
    let locks = runtime.block_on(async {
        let store = RedisStore::open(url).expect("a good address");
        let locks = LockManager::builder(store).shutdown_grace(Duration::from_millis(200)).build();
        let (held, is_held) = oneshot::channel();
        let (own, key) = (locks.clone(), key.to_owned());
        tokio::spawn(async move { endless(&own, &key, ttl, held).await });
        is_held.await.expect("the lock");
        locks
    });
    println!("held");
    match end {
        "drop" => drop(runtime),
        "shutdown-timeout" => runtime.shutdown_timeout(Duration::from_secs(1)),
        "shutdown-background" => runtime.shutdown_background(),
        "shutdown-manager" => {
            runtime.block_on(locks.shutdown());
            drop(runtime);
        }
        _ => panic!("unknown end: {end}"),
    }
    println!("ended");
}

/// Asks for a lock when it is dropped, and waits for nothing.
struct Late(LockManager);

impl Drop for Late {
    fn drop(&mut self) {
        let request = pin!(self.0.lock("late").ttl(Duration::from_secs(1)).acquire());
        // Either way: what counts is that it comes back.
        let _ = request.poll(&mut Context::from_waker(Waker::noop())).is_ready();
    }
}

/// Ends a runtime with a task in it that asks for its first lock while it is dropped.
fn ask_at_the_end(url: &str, kind: &str) {
    let locks = LockManager::connect_lazy(url).expect("a good address");
    let runtime = runtime(kind);
    let late = Late(locks);
    runtime.spawn(async move {
        let _late = late;
        std::future::pending::<()>().await;
    });
    runtime.block_on(tokio::task::yield_now());
    drop(runtime);
    println!("ended");
}

/// Says `held` from a locked body that is polled every now and then; then how the call ended, and when the body was polled last,
/// in nanoseconds on the machine's clock.
fn note_polls(url: &str, key: &str, ttl: Duration, kind: &str) {
    #[distributed_lock(key = key, ttl = ttl, manager = locks)]
    async fn noting(locks: &LockManager, key: &str, ttl: Duration, last: &Mutex<Duration>) -> Result<(), LockError> {
        for polls in 0_u64.. {
            // First thing in each poll: one that has begun may be stopped anywhere behind this.
            *last.lock().expect("no panic") = machine_time();
            if polls == 2 {
                println!("held");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    let last = Mutex::default();
    let outcome = runtime(kind).block_on(async {
        let locks = LockManager::connect(url).await.expect("connect");
        noting(&locks, key, ttl, &last).await
    });
    let last = last.into_inner().expect("no panic");
    println!("{} {}", outcome.expect_err("it goes on until the lock is lost").kind(), last.as_nanos());
}

/// Says `held` and its fencing token from a locked body that goes on when its lock is lost; when the process has been stopped for
/// most of the lease or longer, writes with that token, and says what came of it.
#[tokio::main]
async fn write_late(url: &str, key: &str, ttl: Duration) {
    #[distributed_lock(key = key, ttl = ttl, fence = token, on_lost = "proceed", manager = locks)]
    async fn writing(locks: &LockManager, key: &str, ttl: Duration, resource: &mut Admin) -> Result<bool, LockError> {
        // Whoever reads the line may stop us right behind it.
        let mut before = machine_time();
        println!("held {token}");
        while machine_time().saturating_sub(before) < ttl / 2 {
            before = machine_time();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(resource.write_fenced("resource", token, "late"))
    }

    let locks = LockManager::connect(url).await.expect("connect");
    let written = writing(&locks, key, ttl, &mut Admin::new(url)).await.expect("the lock");
    println!("{}", if written { "written" } else { "refused" });
}

/// A store that stops the process before one of the looks at the clock that follow its first answer.
#[derive(Debug)]
struct Stopping {
    store: RedisStore,
    answered: AtomicBool,
    looks: AtomicU64,
    stop_before: u64,
}

impl Store for Stopping {
    fn now(&self) -> Moment {
        if self.answered.load(Ordering::SeqCst) && self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.stop_before {
            println!("stopping");
            kill_process(getpid(), Signal::STOP).expect("a signal to oneself");
        }
        self.store.now()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let answer = self.store.acquire(claim).await;
            self.answered.store(true, Ordering::SeqCst);
            answer
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        self.store.extend(claim, ttl, extension)
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        self.store.remaining(claim)
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        self.store.release(claim)
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.store.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }
}

/// Calls a locked function, and stops itself before the given look at the clock after the store's answer (0: never). Prints
/// `body` and the number of looks before it, if the body begins; then how the call ended.
///
/// On one thread, to which the signal is delivered before the look.
#[tokio::main(flavor = "current_thread")]
async fn stop_itself(url: &str, key: &str, ttl: Duration, stop_before: u64) {
    #[distributed_lock(key = key, ttl = ttl, manager = locks)]
    async fn stopped(locks: &LockManager, key: &str, ttl: Duration, store: &Stopping) -> Result<(), LockError> {
        println!("body {}", store.looks.load(Ordering::SeqCst));
        Ok(())
    }

    let store = RedisStore::open(url).expect("a good address");
    let store = Arc::new(Stopping { store, answered: AtomicBool::default(), looks: AtomicU64::default(), stop_before });
    let locks = LockManager::builder(store.clone()).build();
    let outcome = stopped(&locks, key, ttl, &store).await;
    println!("ended {}", outcome.map_or_else(|error| error.kind(), |()| "well"));
}

/// Holds a lock until the wall clock was set twice, and tells what it believed then; after that, tells how long a lease of 300 ms
/// lasts.
#[tokio::main]
async fn watch_wall_clock(url: &str) {
    #[distributed_lock(key = "wall-clock", ttl = "60s", manager = locks, guard = lock)]
    async fn watching(locks: &LockManager) -> Result<(), LockError> {
        let mut before = SystemTime::now();
        println!("held");
        for _ in 0..2 {
            let jump = loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let now = SystemTime::now();
                let jump = match now.duration_since(before) {
                    Ok(forwards) => i128::from(forwards.as_secs()),
                    Err(backwards) => -i128::from(backwards.duration().as_secs()),
                };
                before = now;
                if jump.abs() > 60 {
                    break jump;
                }
            };
            println!("{jump} {}", lock.remaining().as_millis());
        }
        Ok(())
    }

    #[distributed_lock(key = "short", ttl = "300ms", manager = locks)]
    async fn endless(locks: &LockManager) -> Result<(), LockError> {
        std::future::pending().await
    }

    let locks = LockManager::connect(url).await.expect("connect");
    watching(&locks).await.expect("the lock");
    let began = machine_time();
    let error = endless(&locks).await.expect_err("the lease ends");
    println!("{} {}", error.kind(), machine_time().saturating_sub(began).as_millis());
}

/// Asks from all callers at once for a lock that somebody holds, says `asking` when each of them has begun to, and prints when each
/// body began and ended, in nanoseconds on the machine's clock. Without locks, the bodies begin when the key is gone.
#[tokio::main]
async fn contend(url: &str, callers: usize, locked: bool) {
    let locks = LockManager::connect(url).await.expect("connect");
    let barrier = Arc::new(Barrier::new(callers + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (locks, barrier, url) = (locks.clone(), barrier.clone(), url.to_owned());
        tasks.spawn(async move {
            if !locked {
                let mut admin = Admin::new(&url);
                barrier.wait().await;
                eventually("the lock to be free", Duration::from_secs(30), || !admin.exists("contended")).await;
                return Ok(body().await);
            }
            let mut call = pin!(with_lock(&locks));
            let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            assert!(first.is_pending(), "somebody holds the lock, and it takes a round trip to find that out");
            barrier.wait().await;
            call.await
        });
    }
    barrier.wait().await;
    println!("asking");
    for result in tasks.join_all().await {
        let (began, ended) = result.expect("the lock");
        println!("{} {}", began.as_nanos(), ended.as_nanos());
    }
}

/// Says `ready`, waits for the key `go`, and takes the lock as often as told. Each holder adds its fencing token to the list
/// `tokens`, which so has the order of the holds.
#[tokio::main]
async fn fence(url: &str, key: &str, turns: usize) {
    let locks = LockManager::connect(url).await.expect("connect");
    println!("ready");
    let mut admin = Admin::new(url);
    eventually_blocking("the signal to go", Duration::from_secs(30), || admin.exists("go"));

    for _ in 0..turns {
        let (ttl, wait) = (Duration::from_secs(30), Duration::from_secs(50));
        let guard = locks.lock(key).ttl(ttl).wait(wait).fence().acquire().await.expect("the lock");
        let token = guard.fence().expect("its token");
        admin.command::<()>(&["RPUSH", "tokens", &token.to_string()]);
        guard.release().await.expect("nobody's lease was over");
    }
}

#[distributed_lock(key = "contended", ttl = "10s", wait = "50s", manager = locks)]
async fn with_lock(locks: &LockManager) -> Result<(Duration, Duration), LockError> {
    Ok(body().await)
}

async fn body() -> (Duration, Duration) {
    let began = machine_time();
    tokio::time::sleep(Duration::from_millis(2)).await;
    (began, machine_time())
}
