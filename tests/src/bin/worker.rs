//! Another process, for tests that need several.

use std::env;
use std::thread;
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::{LockError, LockManager, distributed_lock};
use lock_tests::{Admin, RedisServer, eventually_blocking, machine_time};
use tokio::task::JoinSet;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["hold-server", state] => hold_server(state == "paused"),
        ["hold-lock", url, key, ttl] => hold_lock(url, key, milliseconds(ttl)),
        ["snatch", url, key] => snatch(url, key),
        ["shut-down", url, threads] => shut_down(url, threads),
        ["contend", url, callers, locks] => contend(url, callers.parse().expect("a number"), locks == "locked"),
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
        "current" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
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

/// Says `ready`, waits for the key `go`, and lets all callers loose on one lock. Prints when each body began and ended, in
/// nanoseconds on the machine's clock.
#[tokio::main]
async fn contend(url: &str, callers: usize, locked: bool) {
    let locks = LockManager::connect(url).await.expect("connect");
    println!("ready");
    let mut admin = Admin::new(url);
    eventually_blocking("the signal to go", Duration::from_secs(30), || admin.exists("go"));

    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let locks = locks.clone();
        tasks.spawn(async move { if locked { with_lock(&locks).await } else { Ok(body().await) } });
    }
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
