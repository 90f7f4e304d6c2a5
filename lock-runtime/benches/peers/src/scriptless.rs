//! What it costs to do without scripts: transactions, and a server's own command that compares and deletes.

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_tests::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::contender::{Contender, Pair, TTL};
use crate::ours::OursByBuilder;
use crate::raw::Raw;
use crate::report::{Line, Report, Table};
use crate::rounds::{Effort, Entrant, Rounds};

const SCRIPTS: &str = "ours, scripts";

/// `SET key token NX PX ttl`, then `DELIFEQ`: the floor of a server that has it.
#[derive(Clone)]
struct RawNative(MultiplexedConnection);

struct NativePair(MultiplexedConnection, String);

impl Contender for RawNative {
    type Pair = NativePair;

    fn name(&self) -> &'static str {
        "raw SET + DELIFEQ"
    }

    fn task(&self, number: u32) -> NativePair {
        NativePair(self.0.clone(), format!("native:{number}"))
    }
}

impl Pair for NativePair {
    async fn once(&mut self) {
        let Self(connection, key) = self;
        let token = Uuid::new_v4().simple().to_string();
        let ttl = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
        let set = cmd("SET").arg(&*key).arg(&token).arg("NX").arg("PX").arg(ttl).query_async::<bool>(connection).await;
        assert!(set.expect("an answer"), "the key is free");
        let deleted = cmd("DELIFEQ").arg(&*key).arg(&token).query_async::<bool>(connection).await;
        assert!(deleted.expect("an answer"), "the key is ours");
    }
}

/// Acquires and releases on a server of its own, which `REDIS_SERVER` names, with scripts and without.
///
/// # Panics
///
/// When there is no such server, or somebody does not get a lock.
#[must_use]
pub fn scriptless(effort: Effort) -> Report {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let rights = ["ACL", "SETUSER", "plain", "on", ">word", "~*", "&*", "+@all", "-@scripting"];
    admin.command::<()>(&rights);
    let known: Vec<redis::Value> = admin.command(&["COMMAND", "INFO", "DELIFEQ"]);
    let has_it = matches!(&*known, [redis::Value::Array(about)] if !about.is_empty());
    // Who may not use it has to do without it, too.
    let by_transaction = if has_it { "-delifeq" } else { "+del" };
    admin.command::<()>(&["ACL", "SETUSER", "bare", "on", ">word", "~*", "&*", "+@all", "-@scripting", by_transaction]);
    let mut report = Report { name: "scriptless", tables: Vec::new(), lines: Vec::new() };
    let lone = Builder::new_current_thread().enable_all().build().expect("a runtime");
    lone.block_on(compare(&server, has_it, 1, "1 task", effort, &mut report));
    let crowded = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    crowded.block_on(compare(&server, has_it, 64, "64 tasks", effort, &mut report));
    report
}

async fn compare(server: &RedisServer, has_it: bool, tasks: u32, crowd: &str, effort: Effort, report: &mut Report) {
    let url = server.url();
    let without = |user: &str| {
        let url = format!("redis://{user}:word@{}:{}/", server.host(), server.port());
        let store = RedisStore::open(&url).and_then(RedisStore::without_scripts).expect("a server");
        Entrant::new(OursByBuilder(LockManager::builder(store).build()))
    };
    let raw = Raw::connect(&url).await.expect("a server");
    let floor = raw.name();
    let mut entrants = vec![
        Entrant::new(raw),
        Entrant::new(OursByBuilder(LockManager::connect(&url).await.expect("a server"))).called(SCRIPTS),
        without("bare").called("ours, transactions"),
    ];
    if has_it {
        let client = Client::open(url).expect("a URL");
        entrants.push(Entrant::new(RawNative(client.get_multiplexed_async_connection().await.expect("a server"))));
        entrants.push(without("plain").called("ours, DELIFEQ"));
    }
    let rounds = Rounds::run(&entrants, tasks, effort).await;
    let mut table = Table::new(
        &format!("With scripts and without, {crowd} (medians of {} rounds)", effort.rounds),
        &["", "pairs/s", "median µs", "p99 µs", ": raw", ": scripts"],
    );
    for name in rounds.names() {
        let micros = |percent| format!("{:.0}", rounds.latency(name, percent).as_secs_f64() * 1e6);
        table.row([
            name.to_owned(),
            format!("{:.0}", rounds.per_second(name)),
            micros(50),
            micros(99),
            format!("{:.2}", rounds.throughput_ratio(name, floor).median),
            format!("{:.2}", rounds.throughput_ratio(name, SCRIPTS).median),
        ]);
        report.lines.push(Line {
            case: format!("{crowd}, pairs/s: {name} against {SCRIPTS}"),
            ours: rounds.per_second(name),
            other: rounds.per_second(SCRIPTS),
            ratio: rounds.throughput_ratio(name, SCRIPTS),
        });
    }
    report.tables.push(table);
}
