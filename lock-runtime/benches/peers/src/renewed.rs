//! Many locks, held and renewed by one manager: what that costs, beside a task for each lock that does the same.

use std::alloc::System;
use std::time::{Duration, Instant};

use lock_runtime::LockManager;
use lock_tests::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::{Client, Script};
use stats_alloc::{Region, Stats, StatsAlloc};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::report::{Line, Report, Table};
use crate::rounds::process_time;

/// How many locks.
const LOCKS: u32 = 10_000;

/// As long as a lease that is meant to be renewed often is.
const TTL: Duration = Duration::from_secs(30);

/// Compare and extend, as short as it gets.
const EXTEND: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end";

/// What holding cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// How many locks were lost.
    pub lost: u32,
    /// Of one core, in percent.
    pub core: f64,
    /// Of one core of the server, in percent.
    pub server_core: f64,
    /// Live memory of one lock, in bytes: guard, lease, line and keeper.
    pub memory: f64,
}

/// Holds 10,000 locks for `time`: ours, then by a task for each; `allocator` is the global one of the program.
///
/// # Panics
///
/// When there is no `redis-server`.
#[must_use]
pub fn renewed(allocator: &StatsAlloc<System>, time: Duration) -> (Cost, Cost) {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = RedisServer::start();
    let ours = runtime.block_on(ours(allocator, &server, time));
    let server = RedisServer::start();
    let by_tasks = runtime.block_on(by_tasks(allocator, &server, time));
    (ours, by_tasks)
}

/// The costs as a table and as comparisons.
#[must_use]
pub fn report(ours: Cost, by_tasks: Cost) -> Report {
    let title = format!("Holding {LOCKS} locks of {TTL:?}, renewed every {:?}", TTL / 3);
    let heads = ["", "lost", "% of a core", "% of the server's", "bytes a lock"];
    let mut table = Table::new(&title, &heads);
    for (name, cost) in [("ours", ours), ("a task a lock", by_tasks)] {
        let Cost { lost, core, server_core, memory } = cost;
        let figures = [format!("{core:.2}"), format!("{server_core:.2}"), format!("{memory:.0}")];
        table.row([name.to_owned(), lost.to_string()].into_iter().chain(figures));
    }
    let case = |what: &str| format!("{what} of {LOCKS} renewed locks: ours against a task a lock");
    let lines = vec![
        Line::counted(case("% of a core"), ours.core, by_tasks.core),
        Line::counted(case("% of a core of the server"), ours.server_core, by_tasks.server_core),
        Line::counted(case("bytes a lock"), ours.memory, by_tasks.memory),
    ];
    Report { name: "renewed", tables: vec![table], lines }
}

async fn ours(allocator: &StatsAlloc<System>, server: &RedisServer, time: Duration) -> Cost {
    let locks = LockManager::connect(&server.url()).await.expect("a server");
    // The keeper's thread and its connection are there before it is counted.
    drop(locks.lock("first").ttl(TTL).renew().acquire().await.expect("free"));
    let mut guards = Vec::with_capacity(LOCKS as usize);
    let before = Region::new(allocator);
    for number in 0..LOCKS {
        guards.push(locks.lock(format!("lock:{number}")).ttl(TTL).renew().acquire().await.expect("free"));
    }
    let memory = live_bytes(&before) / f64::from(LOCKS);
    let (core, server_core) = worked(server, time).await;
    let lost = guards.iter().filter(|guard| !guard.is_held()).count();
    drop(guards);
    locks.shutdown().await;
    Cost { lost: u32::try_from(lost).unwrap_or(u32::MAX), core, server_core, memory }
}

/// As most libraries do it: a task and a timer for each lock.
async fn by_tasks(allocator: &StatsAlloc<System>, server: &RedisServer, time: Duration) -> Cost {
    let client = Client::open(server.url()).expect("a good address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a server");
    let before = Region::new(allocator);
    let mut tasks = JoinSet::new();
    for number in 0..LOCKS {
        let key = format!("lock:{number}");
        let taken: bool = redis::cmd("SET")
            .arg(&key)
            .arg("token")
            .arg("NX")
            .arg("PX")
            .arg(TTL.as_secs() * 1000)
            .query_async(&mut connection)
            .await
            .expect("an answer");
        assert!(taken, "the key is free");
        tasks.spawn(keep(key, connection.clone()));
    }
    let memory = live_bytes(&before) / f64::from(LOCKS);
    let (core, server_core) = worked(server, time).await;
    // A task ends when its lock is lost.
    let mut lost = 0;
    while tasks.try_join_next().is_some() {
        lost += 1;
    }
    Cost { lost, core, server_core, memory }
}

async fn keep(key: String, mut connection: MultiplexedConnection) {
    let script = Script::new(EXTEND);
    let mut ticks = interval_at(tokio::time::Instant::now() + TTL / 3, TTL / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut extension = script.key(&key);
        let extended = extension.arg("token").arg(TTL.as_secs() * 1000).invoke_async::<Option<i64>>(&mut connection);
        if extended.await.ok().flatten() != Some(1) {
            return;
        }
    }
}

fn live_bytes(region: &Region<'_, System>) -> f64 {
    let Stats { bytes_allocated, bytes_deallocated, .. } = region.change();
    f64::from(u32::try_from(bytes_allocated.saturating_sub(bytes_deallocated)).unwrap_or(u32::MAX))
}

/// What this process and the server work while `time` passes, in percent of one core.
async fn worked(server: &RedisServer, time: Duration) -> (f64, f64) {
    let (begun, before, server_before) = (Instant::now(), process_time(), server_time(server));
    tokio::time::sleep(time).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let percent = |work: Duration| 100.0 * work.as_secs_f64() / elapsed;
    (percent(process_time().saturating_sub(before)), percent(server_time(server).saturating_sub(server_before)))
}

/// What the server says it has worked.
fn server_time(server: &RedisServer) -> Duration {
    let info: String = server.admin().command(&["INFO", "cpu"]);
    let of = |field: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim().parse::<f64>().expect("seconds")
    };
    Duration::from_secs_f64(of("used_cpu_sys:") + of("used_cpu_user:"))
}
