//! One process of those who wait: does what the lines on its standard input say, and answers each by a line of JSON.
//!
//! `others/` has the same in other languages. Times are those of [`now`], in nanoseconds.
//!
//! | line | what is done | answer |
//! |---|---|---|
//! | `contend KEY TASKS FROM UNTIL` | so many tasks take the lock and give it back, again and again, and finish what they have begun by then | `waits`: how long each acquisition took; `in_time`: how many of them were before the end |
//! | `once KEY HOLD FROM` | takes the lock, holds it for so many milliseconds, gives it back | `done` |
//! | `take KEY` | takes the lock | |
//! | `free` | gives it back | `at`: when that began |
//! | `wait KEY` | takes the lock, and gives it back | `at`: when it was there |
//!
//! It ends with its input, whatever it is doing then.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use lock_runtime::LockManager;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::callers::{self, Caller as _, Library};
use super::clock::{now, until};
use super::who::Who;

/// Serves until standard input ends; the arguments are the name of a library and the address of a server.
///
/// # Panics
///
/// When a lock is not got, or the other side does not speak as agreed.
pub fn serve() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, url] = &*arguments else { panic!("usage: caller LIBRARY URL") };
    let who = Who::named(name).expect("one of the libraries in Rust");
    // As `#[tokio::main]` makes it on a machine of two cores.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let locks = || runtime.block_on(LockManager::connect(url)).expect("a server");
    let client = || redis::Client::open(url.as_str()).expect("a good address");
    match who {
        Who::Builder => answer(&runtime, callers::Builder(locks())),
        Who::Attribute => answer(&runtime, callers::Attribute(locks())),
        Who::InProcess => answer(&runtime, callers::InProcess(Arc::default())),
        Who::Blpop => answer(&runtime, callers::Blpop(client())),
        Who::Rslock => answer(&runtime, callers::Rslock(rslock::LockManager::new(vec![url.as_str()]))),
        Who::AsyncRedisLock => {
            let locker = runtime.block_on(async_redis_lock::Locker::from_redis_url(url)).expect("a server");
            answer(&runtime, callers::AsyncRedisLock(locker));
        }
        Who::Distkit => {
            let connection = runtime.block_on(client().get_connection_manager()).expect("a server");
            answer(&runtime, callers::Distkit(connection));
        }
        Who::RedisPy | Who::NodeRedlock => panic!("{name} is not in Rust"),
    }
}

fn answer(runtime: &Runtime, library: impl Library) {
    say(&json!({ "ready": true }));
    let library = Arc::new(library);
    let mut taken = None;
    for line in lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match *words {
            ["contend", key, tasks, from, until] => {
                runtime.block_on(contend(&*library, key, number(tasks), number(from), number(until)))
            }
            ["once", key, hold, from] => runtime.block_on(once(&*library, key, number(hold), number(from))),
            ["take", key] => {
                taken = Some(runtime.block_on(take(&*library, key)));
                json!({})
            }
            ["free"] => json!({ "at": runtime.block_on(taken.take().expect("a lock that was taken").give_back()) }),
            ["wait", key] => json!({ "at": runtime.block_on(wait(&*library, key)) }),
            _ => panic!("what is {line:?}?"),
        };
        say(&answer);
    }
}

/// The lines of standard input. Its end is the end of this process, also while it waits for a lock.
fn lines() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        exit(0);
    });
    receiver
}

fn say(answer: &Value) {
    let mut output = stdout().lock();
    writeln!(output, "{answer}").and_then(|()| output.flush()).expect("somebody reads the answers");
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

async fn contend(library: &impl Library, key: &str, tasks: u64, from: u64, end: u64) -> Value {
    let mut contending = Vec::new();
    for _ in 0..tasks {
        let mut caller = library.caller(key).await;
        contending.push(tokio::spawn(async move {
            let (mut waits, mut in_time) = (Vec::with_capacity(1024), 0);
            until(from).await;
            loop {
                let begun = now();
                if begun >= end {
                    return (waits, in_time);
                }
                let there = caller.locked(async { now() }).await;
                waits.push(there - begun);
                in_time += u64::from(there < end);
            }
        }));
    }
    let (mut waits, mut in_time) = (Vec::new(), 0);
    for task in contending {
        let (of_task, of_task_in_time) = task.await.expect("a task that gets its lock");
        waits.extend(of_task);
        in_time += of_task_in_time;
    }
    json!({ "waits": waits, "in_time": in_time })
}

async fn once(library: &impl Library, key: &str, hold: u64, from: u64) -> Value {
    let mut caller = library.caller(key).await;
    until(from).await;
    caller.locked(async { until(now() + hold * 1_000_000).await }).await;
    json!({ "done": now() })
}

async fn wait(library: &impl Library, key: &str) -> u64 {
    let mut caller = library.caller(key).await;
    // In a task, as handlers are: who waits in `block_on` waits on a thread of its own, which has to be woken each time.
    tokio::spawn(async move { caller.locked(async { now() }).await }).await.expect("a task that gets its lock")
}

/// A lock that is held until it is told to be given back.
struct Taken {
    free: oneshot::Sender<()>,
    holding: JoinHandle<u64>,
}

async fn take(library: &impl Library, key: &str) -> Taken {
    let (is_taken, taken) = oneshot::channel();
    let (free, freed) = oneshot::channel();
    let mut caller = library.caller(key).await;
    let holding = tokio::spawn(async move {
        let body = async {
            is_taken.send(()).expect("somebody waits for it");
            freed.await.expect("it is given back");
            now()
        };
        caller.locked(body).await
    });
    taken.await.expect("the lock");
    Taken { free, holding }
}

impl Taken {
    /// When giving it back began.
    async fn give_back(self) -> u64 {
        self.free.send(()).expect("it is held");
        self.holding.await.expect("a lock that is given back")
    }
}
