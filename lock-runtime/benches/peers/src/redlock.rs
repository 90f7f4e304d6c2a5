//! The scenario of several independent servers, of which a majority has to agree.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::redlock::Redlock;
use lock_tests::{Conduct, Proxy, RedisServer, Way};
use tokio::runtime::{Builder, Runtime};

use crate::contender::{Contender as _, Pair as _};
use crate::ours::OursByBuilder;
use crate::peers::Rslock;
use crate::report::{Line, Report, Table};
use crate::rounds::{Effort, Entrant, Rounds};

const NODES: usize = 5;

const ONE: &str = "ours, one server";
const OURS: &str = "ours, five servers";
const HUNG: &str = "ours, one of five hangs";
const RSLOCK: &str = "rslock, five servers";
const THIRD: &str = "ours, the third alone";

/// How far away the servers are, where that is what counts: there and back, in ms.
const DISTANCES: [u64; NODES] = [2, 4, 6, 8, 10];

/// Acquires and releases on five servers, by 1 task and by 64 tasks, each with a key that nobody else wants; and by one task on
/// servers that are far away.
///
/// # Panics
///
/// When there is no `redis-server`, or somebody does not get a lock.
#[must_use]
pub fn redlock(effort: Effort) -> Report {
    let servers: Vec<_> = (0..NODES).map(|_| RedisServer::start()).collect();
    let mut stopped = RedisServer::start();
    let mut report = Report { name: "redlock", tables: Vec::new(), lines: Vec::new() };
    let lone = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let crowded = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (runtime, tasks, crowd) in [(&lone, 1, "1 task"), (&crowded, 64, "64 tasks")] {
        near(runtime, &servers, &mut stopped, (tasks, crowd), effort, &mut report);
    }
    commands(&lone, &servers, &mut report);
    far(&crowded, &servers, effort, &mut report);
    report
}

fn near(
    runtime: &Runtime,
    servers: &[RedisServer],
    stopped: &mut RedisServer,
    (tasks, crowd): (u32, &str),
    effort: Effort,
    report: &mut Report,
) {
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    let four_and_one: Vec<_> = urls[1..].iter().cloned().chain([stopped.url()]).collect();
    runtime.block_on(async {
        let one = alone(&urls[0]);
        let five = LockManager::redlock(&urls).await.expect("servers");
        let hung = LockManager::builder(over(&four_and_one)).key_prefix("hung:").build();
        // It hangs when everybody is connected.
        OursByBuilder(hung.clone()).task(0).once().await;
        stopped.pause();
        let entrants = [
            Entrant::new(OursByBuilder(one)).called(ONE),
            Entrant::new(OursByBuilder(five.clone())).called(OURS),
            Entrant::new(OursByBuilder(hung.clone())).called(HUNG),
            Entrant::new(Rslock::over(urls)).called(RSLOCK),
        ];
        let rounds = Rounds::run(&entrants, tasks, effort).await;
        let Effort { rounds: count, turn } = effort;
        let title = format!("Redlock, {crowd} (medians of {count} rounds of {turn:?}); all servers on this machine");
        report.tables.push(table(&rounds, &title));
        for other in [ONE, HUNG, RSLOCK] {
            let micros = |name| rounds.latency(name, 50).as_secs_f64() * 1e6;
            report.lines.push(Line {
                case: format!("redlock, {crowd}, pairs/s: {OURS} against {other}"),
                ours: rounds.per_second(OURS),
                other: rounds.per_second(other),
                ratio: rounds.throughput_ratio(OURS, other),
            });
            let case = format!("redlock, {crowd}, median in µs: {OURS} against {other}");
            report.lines.push(Line::counted(case, micros(OURS), micros(other)));
        }
        stopped.resume();
        five.shutdown().await;
        hung.shutdown().await;
    });
}

/// What the servers are asked, for one acquisition and its release.
fn commands(runtime: &Runtime, servers: &[RedisServer], report: &mut Report) {
    const PAIRS: u32 = 200;
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    let counted = || -> u64 {
        // What clients send, and not what scripts do.
        let sent = |server: &RedisServer| -> u64 {
            let counts = server.admin().command_counts();
            ["set", "eval", "evalsha"].iter().filter_map(|name| counts.get(*name)).sum()
        };
        servers.iter().map(sent).sum()
    };
    runtime.block_on(async {
        let locks = LockManager::redlock(&urls).await.expect("servers");
        let mut pair = OursByBuilder(locks.clone()).task(0);
        pair.once().await;
        let before = counted();
        for _ in 0..PAIRS {
            pair.once().await;
        }
        locks.shutdown().await;
        let each = f64::from(u32::try_from(counted() - before).unwrap_or(u32::MAX)) / f64::from(PAIRS);
        let title = "Commands of one acquisition and its release, to five servers together";
        let mut table = Table::new(title, &["", "commands"]);
        table.row([OURS.to_owned(), format!("{each:.2}")]);
        report.tables.push(table);
        let least = f64::from(2 * u32::try_from(NODES).unwrap_or(u32::MAX));
        let case = "redlock, commands of a pair: ours against 2 a server".to_owned();
        report.lines.push(Line::counted(case, each, least));
    });
}

/// Servers at a distance: a majority of five is there as soon as the third has answered.
fn far(runtime: &Runtime, servers: &[RedisServer], effort: Effort, report: &mut Report) {
    runtime.block_on(async {
        let mut proxies = Vec::new();
        for (server, distance) in servers.iter().zip(DISTANCES) {
            let proxy = Proxy::start(server.port()).await;
            proxy.conduct_all(Way::Replies, Conduct::Delay(Duration::from_millis(distance)));
            proxies.push(proxy);
        }
        let urls: Vec<_> = proxies.iter().map(Proxy::url).collect();
        let third = alone(&urls[NODES / 2]);
        let five = LockManager::builder(over(&urls)).build();
        let entrants = [
            Entrant::new(OursByBuilder(third)).called(THIRD),
            Entrant::new(OursByBuilder(five.clone())).called(OURS),
            Entrant::new(Rslock::over(urls)).called(RSLOCK),
        ];
        let effort = Effort { rounds: effort.rounds / 5 + 1, turn: Duration::from_millis(150) };
        let rounds = Rounds::run(&entrants, 1, effort).await;
        let title = format!("Redlock, 1 task, servers at {DISTANCES:?} ms (medians of {} rounds)", effort.rounds);
        let mut table = Table::new(&title, &["", "median ms", "p99 ms", ": the third alone"]);
        let millis = |name, percent| rounds.latency(name, percent).as_secs_f64() * 1e3;
        for name in rounds.names() {
            table.row([
                name.to_owned(),
                format!("{:.2}", millis(name, 50)),
                format!("{:.2}", millis(name, 99)),
                format!("{:.2}", millis(name, 50) / millis(THIRD, 50)),
            ]);
        }
        report.tables.push(table);
        for other in [THIRD, RSLOCK] {
            let case = format!("redlock, far away, median in ms: {OURS} against {other}");
            report.lines.push(Line::counted(case, millis(OURS, 50), millis(other, 50)));
        }
        five.shutdown().await;
    });
}

/// Beside the others on the same server, who may still be giving back a lock.
fn alone(url: &str) -> LockManager {
    LockManager::builder(RedisStore::open(url).expect("a good address")).key_prefix("alone:").build()
}

fn over(urls: &[String]) -> Redlock<RedisStore> {
    let nodes = urls.iter().map(|url| RedisStore::open(url).expect("a good address"));
    Redlock::new(nodes.collect::<Vec<_>>()).expect("there are nodes")
}

fn table(rounds: &Rounds, title: &str) -> Table {
    let mut table = Table::new(title, &["", "pairs/s", ": one server", ": rslock", "median µs", "p99 µs", "cpu µs"]);
    for name in rounds.names() {
        let micros = |percent| format!("{:.0}", rounds.latency(name, percent).as_secs_f64() * 1e6);
        table.row([
            name.to_owned(),
            format!("{:.0}", rounds.per_second(name)),
            format!("{:.2}", rounds.throughput_ratio(name, ONE).median),
            format!("{:.2}", rounds.throughput_ratio(name, RSLOCK).median),
            micros(50),
            micros(99),
            format!("{:.1}", rounds.work(name) * 1e6),
        ]);
    }
    table
}
