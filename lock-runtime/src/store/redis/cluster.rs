//! A Redis Cluster: its nodes, which of them has which slot, and the way to a key.
//!
//! Requests are routed here and not by the client library, which sends a request again by itself, on another connection than the
//! one before: then nobody knows behind which of them a clean-up has to go.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use redis::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::address::Address;
use super::link::{self, Link};
use super::pool::{Pool, Settings};
use super::reply::{Elsewhere, Fault};
use super::slot::{Infix, SLOTS, Tail, slot};
use crate::clock::boottime;
use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::fencing::COUNTER;
use crate::key::LockKey;
use crate::store::Renewal;
use crate::store::waiter::LINE;
use crate::timer;

/// Lines before keys,
static LINES: Tail = Tail::new(LINE);

/// counters of fencing tokens,
static COUNTERS: Tail = Tail::new(COUNTER_TAIL);

/// and channels, and keys for trying things out.
static NAMES: Tail = Tail::new("");

/// What a counter is called behind the letters of its slot: `slot:hijklm:lock_runtime:fence`.
const COUNTER_TAIL: &str = ":lock_runtime:fence";

/// How often a request goes on to where it is said to belong.
const HOPS: u32 = 8;

/// The pause before a cluster is asked again that cannot say, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// How many nodes are asked at once who has which slot.
const ASKED: usize = 6;

/// The nodes of one cluster.
pub(super) struct Cluster {
    /// Where it is asked for at first; at least one.
    seeds: Vec<Arc<Pool>>,
    map: Mutex<Map>,
    /// What the task comes to that is asking who has which slot: a burst of callers asks once.
    asking: Mutex<Option<watch::Receiver<Asked>>>,
    /// With which node to begin.
    turn: AtomicUsize,
}

/// `None` until it is known.
type Asked = Option<Result<(), StoreError>>;

/// Who has which slot, as far as it is known.
#[derive(Default)]
struct Map {
    nodes: Vec<Arc<Pool>>,
    /// For each slot, the number of its node; empty before the first answer.
    owners: Vec<u16>,
}

/// Nobody has the slot.
const NOBODY: u16 = u16::MAX;

/// What is known when it is asked who has which slot.
enum Hint {
    Nothing,
    /// This node knows.
    Knows(Arc<Pool>),
    /// This one was lost, or is no part of a working cluster.
    Lost(Arc<Pool>),
}

impl Cluster {
    /// The cluster that one of `seeds` is a node of.
    pub(super) fn new(seeds: Vec<Settings>) -> Result<Self, SetupError> {
        let mut pools: Vec<Arc<Pool>> = Vec::with_capacity(seeds.len());
        for settings in seeds {
            if settings.address.database() != 0 {
                return Err(SetupError::Address { reason: "a cluster has no databases but the first".into() });
            }
            let pool = match pools.first() {
                Some(first) => first.beside(settings),
                None => Pool::in_cluster(settings),
            };
            pools.push(Arc::new(pool));
        }
        if pools.is_empty() {
            return Err(SetupError::Address { reason: "it names no node of the cluster".into() });
        }
        Ok(Self { seeds: pools, map: Mutex::default(), asking: Mutex::default(), turn: AtomicUsize::new(0) })
    }

    pub(super) fn with(&self, change: impl Fn(&mut Settings)) -> Self {
        let changed = |seed: &Arc<Pool>| {
            let mut settings = seed.settings();
            change(&mut settings);
            settings
        };
        let mut seeds = vec![Arc::new(Pool::in_cluster(changed(self.seed())))];
        for seed in &self.seeds[1..] {
            seeds.push(Arc::new(seeds[0].beside(changed(seed))));
        }
        Self { seeds, map: Mutex::default(), asking: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    pub(super) fn seed(&self) -> &Arc<Pool> {
        &self.seeds[0]
    }

    /// The nodes that have slots, asked for anew.
    pub(super) async fn masters(self: &Arc<Self>) -> Result<Vec<Arc<Pool>>, StoreError> {
        self.ask(Hint::Nothing).await?;
        Ok(self.map().nodes.clone())
    }

    /// A key like `probe` for each node that has slots.
    pub(super) async fn probes(self: &Arc<Self>, probe: &LockKey) -> Result<Vec<(Arc<Pool>, LockKey)>, StoreError> {
        self.ask(Hint::Nothing).await?;
        let map = self.map();
        let probe_at = |(number, node): (usize, &Arc<Pool>)| {
            let slot = map.owners.iter().position(|owner| usize::from(*owner) == number)?;
            let infix = NAMES.infix(probe.as_str(), u16::try_from(slot).ok()?);
            Some((node.clone(), LockKey::from(format!("{probe}{infix}"))))
        };
        Ok(map.nodes.iter().enumerate().filter_map(probe_at).collect())
    }

    pub(super) fn any_link(&self, key: &LockKey) -> Option<Arc<Link>> {
        self.owner(slot(key.as_str().as_bytes()))?.any_link()
    }

    fn owner(&self, slot: u16) -> Option<Arc<Pool>> {
        let map = self.map();
        let owner = map.owners.get(usize::from(slot)).copied().filter(|owner| *owner != NOBODY)?;
        map.nodes.get(usize::from(owner)).cloned()
    }

    /// The node at `host`, the one that is known where it is.
    fn node(&self, host: &str, port: u16) -> Arc<Pool> {
        let settings = self.seed().settings();
        let settings = Settings { address: settings.address.elsewhere(host, port), ..settings };
        let known = |pools: &[Arc<Pool>]| pools.iter().find(|pool| pool.server() == settings.address.name()).cloned();
        let known = known(&self.map().nodes).or_else(|| known(&self.seeds));
        known.unwrap_or_else(|| Arc::new(self.seed().beside(settings)))
    }

    /// `node` has `slot`: it was said by the one that had it before.
    fn moved(self: &Arc<Self>, slot: u16, node: &Arc<Pool>) {
        let mut map = self.map();
        let number = map.number(node);
        if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
            *owner = number;
        }
        drop(map);
        // More than one slot has moved, mostly.
        drop(self.asked(Hint::Knows(node.clone())));
    }

    /// Asks who has which slot.
    async fn ask(self: &Arc<Self>, hint: Hint) -> Result<(), StoreError> {
        let mut asked = self.asked(hint)?;
        let known = asked.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        known.unwrap_or_else(|| {
            let text = "the tokio runtime of this call is shutting down";
            Err(StoreError::new(StoreErrorKind::Runtime, text))
        })
    }

    /// What the question comes to. In a task of its own: a caller that is not polled any more must not keep the others waiting.
    fn asked(self: &Arc<Self>, hint: Hint) -> Result<watch::Receiver<Asked>, StoreError> {
        let runtime = Handle::try_current().map_err(|_| {
            StoreError::new(StoreErrorKind::Runtime, "locks in Redis need a tokio runtime: call this inside of one")
        })?;
        let mut asking = lock(&self.asking);
        // Closed without a word: its runtime has ended.
        if let Some(asked) = asking.as_ref().filter(|asked| asked.has_changed().is_ok()) {
            return Ok(asked.clone());
        }
        let (tell, asked) = watch::channel(None);
        *asking = Some(asked.clone());
        let cluster = self.clone();
        runtime.spawn(async move {
            let timeouts = cluster.seed().timeouts;
            let limit = timeouts.connect.saturating_add(timeouts.operation);
            let outcome = match timer::timeout(limit, cluster.learn(hint)) {
                Ok(learning) => learning.await.unwrap_or_else(|_| Err(unknown(limit))),
                Err(error) => Err(error),
            };
            *lock(&cluster.asking) = None;
            tell.send_replace(Some(outcome));
        });
        Ok(asked)
    }

    async fn learn(&self, hint: Hint) -> Result<(), StoreError> {
        if let Hint::Knows(node) = &hint
            && let Ok(slots) = slots_of(node.clone()).await
        {
            self.learned(&slots);
            return Ok(());
        }
        let lost = if let Hint::Lost(lost) = &hint { Some(lost.server()) } else { None };
        let mut nodes = self.map().nodes.clone();
        // Those that are known work, mostly: of the seeds, all may be gone.
        for seed in &self.seeds {
            if !nodes.iter().any(|node| node.server() == seed.server()) {
                nodes.push(seed.clone());
            }
        }
        if nodes.len() > 1 {
            nodes.retain(|node| Some(node.server()) != lost);
        }
        let begin = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len();
        nodes.rotate_left(begin);
        nodes.truncate(ASKED);
        let slots = first_of(nodes.into_iter().map(slots_of)).await?;
        self.learned(&slots);
        Ok(())
    }

    fn learned(&self, slots: &[Range]) {
        let mut fresh = Map { nodes: Vec::new(), owners: vec![NOBODY; usize::from(SLOTS)] };
        for Range { from, upto, host, port } in slots {
            let node = self.node(host, *port);
            let number = fresh.number(&node);
            for slot in *from..=*upto {
                fresh.owners[usize::from(slot)] = number;
            }
        }
        let before = std::mem::replace(&mut *self.map(), fresh);
        // Connections are dropped outside of the lock.
        drop(before);
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        lock(&self.map)
    }
}

impl Map {
    /// The number of `node`, which is added if it is new.
    fn number(&mut self, node: &Arc<Pool>) -> u16 {
        let known = self.nodes.iter().position(|known| known.server() == node.server());
        let number = known.unwrap_or_else(|| {
            self.nodes.push(node.clone());
            self.nodes.len() - 1
        });
        u16::try_from(number).unwrap_or(NOBODY)
    }
}

/// Slots in a row, and their node.
struct Range {
    from: u16,
    upto: u16,
    host: String,
    port: u16,
}

/// What a node says who has which slot.
async fn slots_of(node: Arc<Pool>) -> Result<Vec<Range>, StoreError> {
    let link = node.link().await?;
    let mut command = link::command("CLUSTER", 0);
    command.arg("SLOTS");
    let answer = link.ask(&command).await.map_err(Fault::into_error)?;
    let ranges: Option<Vec<Range>> = match &answer {
        Value::Array(ranges) => ranges.iter().map(|range| read_range(range, link.server())).collect(),
        _ => None,
    };
    match ranges {
        Some(ranges) if !ranges.is_empty() => Ok(ranges),
        Some(_) => {
            let text = format!("redis at {} is in a cluster in which nobody has any slots", link.server());
            Err(StoreError::new(StoreErrorKind::Refused, text))
        }
        None => Err(link.unknown_answer().into_error()),
    }
}

/// `[first slot, last slot, [host, port, …], replicas…]`. Without a host, it is the one of whoever says so.
fn read_range(range: &Value, server: &str) -> Option<Range> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(from), Value::Int(upto), Value::Array(master), ..] = &**range else { return None };
    let [host, Value::Int(port), ..] = &**master else { return None };
    let host = match host {
        Value::BulkString(host) => str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { host_of(server) } else { host };
    let (from, upto) = (u16::try_from(*from).ok()?, u16::try_from(*upto).ok()?);
    (upto < SLOTS).then_some(Range { from, upto, host: host.to_owned(), port: u16::try_from(*port).ok()? })
}

/// The host of a node's name.
fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}

/// The first of `answers` that is one, or else why there is none.
async fn first_of<T, F: Future<Output = Result<T, StoreError>>>(
    answers: impl Iterator<Item = F>,
) -> Result<T, StoreError> {
    let mut waiting: Vec<Pin<Box<F>>> = answers.map(Box::pin).collect();
    let mut error = None;
    poll_fn(|cx| {
        let mut first = None;
        waiting.retain_mut(|answer| match answer.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(answer)) => {
                first.get_or_insert(answer);
                false
            }
            Poll::Ready(Err(failed)) => {
                error.get_or_insert(failed);
                false
            }
        });
        match first {
            Some(answer) => Poll::Ready(Ok(answer)),
            None if waiting.is_empty() => Poll::Ready(Err(error.take().unwrap_or_else(nobody))),
            None => Poll::Pending,
        }
    })
    .await
}

fn nobody() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "no node of the cluster has the slot of this key")
}

fn unknown(limit: Duration) -> StoreError {
    let text = format!("no node of the cluster has said within {limit:?} who has which slots");
    StoreError::new(StoreErrorKind::Timeout, text)
}

/// The way of one operation through a cluster.
pub(super) struct Wander<'a> {
    cluster: &'a Arc<Cluster>,
    slot: u16,
    hops: u32,
    begun: Option<crate::clock::Moment>,
    /// The node to ask next, which does not have the slot yet.
    asks: Option<Arc<Pool>>,
}

impl<'a> Wander<'a> {
    pub(super) fn new(cluster: &'a Arc<Cluster>, key: &LockKey) -> Self {
        Self { cluster, slot: slot(key.as_str().as_bytes()), hops: 0, begun: None, asks: None }
    }

    pub(super) async fn link(&mut self, limit: Option<Duration>) -> Result<Arc<Link>, StoreError> {
        let cluster = self.cluster;
        let limit = limit.unwrap_or(cluster.seed().timeouts.connect);
        if let Some(node) = self.asks.take() {
            return Ok(node.link_within(limit).await?.asking());
        }
        let known = cluster.owner(self.slot);
        let node = if let Some(node) = known {
            node
        } else {
            cluster.ask(Hint::Nothing).await?;
            cluster.owner(self.slot).ok_or_else(nobody)?
        };
        let error = match node.link_within(limit).await {
            Err(error) if matches!(error.kind(), StoreErrorKind::Connection | StoreErrorKind::Timeout) => error,
            link => return link,
        };
        // Its slots may be another's by now.
        cluster.ask(Hint::Lost(node.clone())).await?;
        match cluster.owner(self.slot) {
            Some(other) if other.server() != node.server() => other.link_within(limit).await,
            _ => Err(error),
        }
    }

    /// Whether to ask again.
    pub(super) async fn follows(&mut self, fault: &Fault) -> bool {
        self.hops += 1;
        let Fault::Elsewhere(elsewhere) = fault else { return self.pauses(fault).await };
        if self.hops > HOPS {
            return false;
        }
        let Elsewhere { host, port, slot, asks, .. } = &**elsewhere;
        let node = self.cluster.node(host, *port);
        if *asks {
            self.asks = Some(node);
        } else {
            self.cluster.moved(*slot, &node);
        }
        true
    }

    /// For as long as an operation may take, it is asked again after a pause.
    async fn pauses(&mut self, fault: &Fault) -> bool {
        let now = boottime();
        let begun = *self.begun.get_or_insert(now);
        if now >= begun.plus(self.cluster.seed().timeouts.operation) {
            return false;
        }
        if fault.is_cluster_down()
            && let Some(node) = self.cluster.owner(self.slot)
        {
            drop(self.cluster.asked(Hint::Lost(node)));
        }
        let pause = PAUSE.0.saturating_mul(1 << self.hops.min(10)).min(PAUSE.1);
        match timer::sleep(pause) {
            Ok(pause) => {
                pause.await;
                true
            }
            Err(_) => false,
        }
    }
}

/// Where the counter is for a lock on `key`: one for each slot, of all locks in it. One for each lock would stay for every key that
/// was ever locked, or be forgotten; and a lock of several keys is to have a token above those of each of them.
pub(super) fn counter(key: &LockKey, counter: &LockKey) -> LockKey {
    let slot = slot(key.as_str().as_bytes());
    let name = counter.as_str();
    if super::slot::slot(name.as_bytes()) == slot {
        return counter.clone();
    }
    // Behind the manager's prefix, and still known as a counter by its end.
    let head = format!("{}slot", name.strip_suffix(COUNTER).unwrap_or(name));
    LockKey::from(format!("{head}{}{COUNTER_TAIL}", COUNTERS.infix(&head, slot)))
}

/// What brings the line before `key` into its slot.
pub(super) fn line_infix(key: &str) -> Infix {
    LINES.infix(key, slot(key.as_bytes()))
}

/// The channel like `channel` that is in the slot of `key`.
pub(super) fn channel(channel: &str, key: &str) -> String {
    format!("{channel}{}", NAMES.infix(channel, slot(key.as_bytes())))
}

/// Why `keys` cannot be one lock.
pub(super) fn flaw(keys: &[LockKey]) -> Option<String> {
    let (first, rest) = keys.split_first()?;
    let of = |key: &LockKey| slot(key.as_str().as_bytes());
    let other = rest.iter().find(|key| of(key) != of(first))?;
    Some(format!(
        "its keys are in different slots of the cluster, `{first}` in {} and `{other}` in {}: keys with the same part in braces, \
         as `{{order:1}}:a` and `{{order:1}}:b`, are in one",
        of(first),
        of(other)
    ))
}

/// The renewals of each slot, with their places in the whole.
pub(super) fn by_slot<'a>(renewals: &[Renewal<'a>]) -> Vec<(Vec<usize>, Vec<Renewal<'a>>)> {
    let mut slots: BTreeMap<u16, (Vec<usize>, Vec<Renewal<'a>>)> = BTreeMap::new();
    for (place, renewal) in renewals.iter().enumerate() {
        let (places, renewals) = slots.entry(slot(renewal.claim.keys[0].as_str().as_bytes())).or_default();
        places.push(place);
        renewals.push(renewal.clone());
    }
    slots.into_values().collect()
}

/// The nodes that a URL names: `redis+cluster://[user:password@]host[:port][,host[:port]…]`, each as a URL of its own. `None`: it
/// is of no cluster.
pub(super) fn seeds(url: &str) -> Option<Result<Vec<Address>, SetupError>> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.strip_suffix("+cluster")?;
    let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    let hosts = hosts.trim_end_matches('/').split(',');
    Some(hosts.map(|host| Address::read(&format!("{scheme}://{user}{at}{host}"))).collect())
}

/// Locks a mutex. No code that can panic runs under these, so a poisoned one still holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
