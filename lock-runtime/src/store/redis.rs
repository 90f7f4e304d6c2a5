//! Locks on one Redis server, or on anything that speaks its protocol and runs its scripts.
//!
//! A lock is a plain string key: the value is the token, then a space and the metadata, if there is any. So programs written
//! with bsm/redislock, redsync, redis-py or node-redlock exclude ours on the same key, and the other way round.
//!
//! Those who wait stand in a line, which is a list beside the key: see `redis/handoff.rs`.

mod address;
mod checkup;
mod cleanup;
#[cfg(feature = "cluster")]
mod cluster;
mod greeting;
mod handoff;
mod inspect;
mod learned;
mod link;
mod nodes;
mod notes;
mod pool;
mod pulse;
mod refusal;
mod renewal;
mod replicas;
mod reply;
mod script;
mod sentinel;
mod setup;
#[cfg(feature = "cluster")]
mod slot;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod transaction;

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs, Value};

pub use self::address::Credentials;
#[cfg(feature = "redlock")]
pub(crate) use self::checkup::Identity;
use self::cleanup::Known;
use self::handoff::InLine;
use self::link::Link;
use self::nodes::Nodes;
use self::refusal::Acquire;
use self::replicas::Replicas;
use self::reply::Fault;
use self::script::Script;
#[cfg(feature = "tls")]
pub use self::tls::Tls;
use self::transaction::Instead;
use super::waiter::{LINE, Waiter};
use super::{Attempt, Claim, Done, Extension, Reading, RenewFuture, Renewal, Store, StoreFuture, join_all, millis};
use crate::clock::{Moment, boottime};
use crate::error::{StoreError, StoreErrorKind};
use crate::keeper::Background;
use crate::key::LockKey;
use crate::outstanding::Outstanding;

/// Locks on one Redis server, or in a Redis Cluster.
///
/// Connections are made when they are first needed, one for each tokio runtime that asks, and made anew when they break.
/// Every operation ends within [`operation_timeout`](RedisStore::operation_timeout), a new connection within
/// [`connect_timeout`](RedisStore::connect_timeout) on top, whatever the server does; twice that where a connection turns out
/// to be dead and the operation is tried again on a new one.
///
/// New connections and renewals are timed by tokio's clock: in tests with paused time they can end before a real server answers.
/// Use [`MemoryStore`](super::memory::MemoryStore) there. Everything else is timed on the thread that also renews: a beat of a
/// sixteenth of [`operation_timeout`](RedisStore::operation_timeout), and at most 100 ms, ends what waits too long, up to a beat
/// early.
#[derive(Clone)]
pub struct RedisStore {
    nodes: Arc<Nodes>,
    /// Who has to have a lock beside its server, if anybody.
    replicas: Option<Replicas>,
    pending: Outstanding,
}

impl RedisStore {
    /// Warns if the server may evict locks, as far as it can be found out.
    pub(crate) async fn warn_of_eviction(&self) {
        for pool in self.nodes.all().await.unwrap_or_default() {
            if let Ok(link) = pool.link().await {
                checkup::warn_of_eviction(&link).await;
            }
        }
    }

    /// Asks the server who it is; `None` if it does not say.
    #[cfg(feature = "redlock")]
    pub(crate) async fn identify(&self) -> Result<Option<Identity>, StoreError> {
        checkup::identify(&*self.nodes.any().link().await?).await
    }

    fn is_without_scripts(&self) -> bool {
        self.nodes.any().without_scripts
    }

    /// Runs a script that may be run twice, or what is done `instead` where there are none, and does so when the connection turns
    /// out to be dead: an idle one may have been closed without anybody noticing. The number it answers, and the error of the first
    /// time, if there was one.
    async fn number(
        &self,
        claim: &Claim,
        script: &Script,
        command: impl Fn(&mut Cmd),
        instead: Instead,
    ) -> Result<(i64, Option<StoreError>), StoreError> {
        let mut before = None;
        let mut route = self.nodes.route(&claim.keys[0]);
        loop {
            let link = route.link().await?;
            let answer = if link.is_without_scripts() {
                Box::pin(instead.run(&link, claim)).await
            } else {
                link.run(script, &command).await
            };
            let fault = match reply::number(answer, link.server()) {
                Ok(number) => return Ok((number, before)),
                Err(fault) => fault,
            };
            if route.follows(&fault).await {
                continue;
            }
            match fault.into_error() {
                error if error.kind() == StoreErrorKind::Connection && before.is_none() => before = Some(error),
                error => return Err(error),
            }
        }
    }

    /// Tries to take a claim on `link`, with a plain `SET` first where there is one key and no fencing token to be had.
    async fn take(link: &Arc<Link>, claim: &Claim) -> Result<Attempt, Fault> {
        // Once, before the first request: the script may find that an answer which was lost had already made it ours.
        let sent = boottime();
        let is_plain = claim.replaces.is_empty() || link.is_without_scripts();
        if let ([key], None, true) = (&*claim.keys, &claim.fence, is_plain) {
            let mut command = link::command("SET", 0);
            command.arg(key.as_str()).arg(ValueOf(claim)).arg("NX").arg("PX").arg(claim.ttl_millis());
            match link.ask(&command).await? {
                Value::Okay => return Ok(Attempt::acquired(sent)),
                Value::Nil if !claim.asks_who && claim.replaces.is_empty() => return Ok(Attempt::busy(None, None)),
                Value::Nil => {}
                _ => return Err(link.unknown_answer()),
            }
        }
        if link.is_without_scripts() {
            return Box::pin(transaction::contend(link, claim, sent)).await;
        }
        // Boxed: a lock is mostly free, and the state of this would be part of every acquisition's.
        let answer = Box::pin(link.run(&script::CONTEND, |command| write_contender(command, claim)));
        let answer = match (answer.await, &claim.fence) {
            (Ok(Value::Array(answer)), _) => answer,
            (Ok(_), _) => return Err(link.unknown_answer()),
            (Err(fault), Some(counter)) => return Err(fault.of_fencing(counter)),
            (Err(fault), None) => return Err(fault),
        };
        let nth = |n: i64| claim.keys.get(usize::try_from(n).ok()?.checked_sub(1)?).cloned();
        match &*answer {
            [Value::Int(1)] if claim.fence.is_none() => Ok(Attempt::acquired(sent)),
            [Value::Int(1), Value::Int(fence), Value::Int(count)] if claim.fence.is_some() => {
                Ok(Attempt::acquired_with_fences(sent, *fence, reply::spares(*count)))
            }
            [Value::Int(0), Value::Int(left), Value::BulkString(value), Value::Int(which)] => {
                let left = u64::try_from(*left).ok().map(Duration::from_millis);
                let value = String::from_utf8_lossy(value).into_owned();
                let key = nth(*which).ok_or_else(|| link.unknown_answer())?;
                Ok(Attempt::busy_at(key, Some(value), left))
            }
            [Value::Int(2), Value::Int(which)] => {
                nth(*which).map(Attempt::foreign).ok_or_else(|| link.unknown_answer())
            }
            [Value::Int(3)] => Err(match &claim.fence {
                Some(counter) => Fault::unusable_counter(counter, link.server()),
                None => link.unknown_answer(),
            }),
            _ => Err(link.unknown_answer()),
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("server", &self.nodes.any().server()).finish_non_exhaustive()
    }
}

impl Store for RedisStore {
    fn now(&self) -> Moment {
        boottime()
    }

    fn fences(&self) -> bool {
        !self.is_without_scripts()
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(async move {
            let placed = self.nodes.placed(claim);
            let claim = placed.as_deref().unwrap_or(claim);
            let nodes = self.replicas.as_ref().map_or(&self.nodes, |replicas| &replicas.nodes);
            let mut route = nodes.route(&claim.keys[0]);
            loop {
                let link = route.link().await?;
                // Armed before the first byte is sent: whatever ends this future from here on, a clean-up follows the request.
                let armed = Armed { store: self, link: &link, claim: Some(claim) };
                let taken = Self::take(&link, claim).await;
                if let (Ok(Attempt::Acquired { .. }), Some(replicas)) = (&taken, &self.replicas) {
                    // Boxed: rare, and its state would be part of every acquisition's. Dropped or too late, the clean-up follows.
                    if let Err(fault) = Box::pin(replicas.wait(&link)).await {
                        return Err(fault.into_error());
                    }
                }
                let fault = match taken {
                    Ok(attempt) => {
                        armed.disarm();
                        return Ok(attempt);
                    }
                    Err(fault) => fault,
                };
                if fault.is_turned_away() {
                    armed.disarm();
                    if route.follows(&fault).await {
                        continue;
                    }
                    return Err(fault.into_error());
                }
                // What the server refused was not done. But a script over several keys may have been stopped half-way, and
                // an error that we do not know may come from something between us and the server.
                let ([key], Some(refused)) = (&*claim.keys, fault.refused()) else {
                    return Err(fault.into_error());
                };
                armed.disarm();
                return if refused == Acquire::Foreign {
                    Ok(Attempt::foreign(key.clone()))
                } else {
                    Err(fault.into_error())
                };
            }
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let how = match extension {
                Extension::AtLeast => "at least",
                Extension::Exactly => "exactly",
            };
            let command = |command: &mut Cmd| {
                write_keys(command, claim);
                command.arg(millis(ttl)).arg(how);
            };
            let instead = Instead::Extend { ttl, exactly: extension == Extension::Exactly };
            let answer = self.number(claim, &script::EXTEND, command, instead).await?;
            match (answer, extension) {
                // The first request may still be carried out, and cut short what was believed since.
                ((1, Some(error)), Extension::Exactly) => Err(error),
                ((answer, _), _) => Ok(answer == 1),
            }
        })
    }

    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], within: Duration) -> RenewFuture<'a> {
        Box::pin(renewal::renew(&self.nodes, renewals, within))
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(async move {
            let command = |command: &mut Cmd| write_keys(command, claim);
            let (left, _) = self.number(claim, &script::REMAINING, command, Instead::Remaining).await?;
            Ok(u64::try_from(left).ok().map(Duration::from_millis))
        })
    }

    fn inspect<'a>(&'a self, key: &'a LockKey) -> StoreFuture<'a, Option<Reading>> {
        Box::pin(inspect::inspect(&self.nodes, key))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut lost_answer = None;
            let mut route = self.nodes.route(&claim.keys[0]);
            loop {
                let link = route.link().await?;
                let answer = give_back(&link, claim, &[], How::InTime).await;
                match &answer {
                    // Not before: a note that comes late would be answered by another release, and ours find nothing.
                    Ok(_) => self.nodes.any().notes.forget(&claim.token),
                    Err(fault) if fault.is_on_the_move() && claim.keys.len() > 1 => {
                        return Box::pin(give_back_each(&self.nodes, claim)).await.map_err(Fault::into_error);
                    }
                    Err(fault) if route.follows(fault).await => continue,
                    Err(_) => {}
                }
                return match (answer.map_err(Fault::into_error), lost_answer) {
                    // An idle connection may have been closed without anybody noticing.
                    (Err(error), None) if error.kind() == StoreErrorKind::Connection => {
                        lost_answer = Some(error);
                        continue;
                    }
                    // The first request may have done it, or not: "not ours" would be a guess.
                    (Ok(false), Some(error)) => Err(error),
                    (answer, _) => answer,
                };
            }
        })
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.nodes.any().notes.forget(&claim.token);
        let link = self.nodes.any_link(&claim.keys[0]);
        cleanup::start(&self.nodes, link, &self.pending, claim, Vec::new(), Known::Held, done);
    }

    fn keeps_line(&self) -> bool {
        // What a grant has written is not waited for.
        self.replicas.is_none() && !self.is_without_scripts() && self.nodes.any().learned.has_lines()
    }

    fn waiter(&self, claim: Claim) -> Option<Box<dyn Waiter>> {
        // A claim that replaces another one has nobody to wait for.
        let lines_up = claim.keys.len() == 1 && claim.replaces.is_empty() && self.keeps_line();
        lines_up.then(|| -> Box<dyn Waiter> { Box::new(InLine::new(self, claim)) })
    }

    fn self_test<'a>(&'a self, probe: &'a LockKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            checkup::self_test(&self.nodes, probe).await?;
            match &self.replicas {
                Some(replicas) => replicas.self_test().await,
                None => Ok(()),
            }
        })
    }

    fn attach(&self, background: &Background) {
        self.nodes.attach(background);
    }

    fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        if self.is_without_scripts() && keys.len() > 1 {
            return Some(transaction::ONE_KEY.to_owned());
        }
        self.nodes.flaw(keys)
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let placed = self.nodes.placed(claim);
            let claim = placed.as_deref().unwrap_or(claim);
            let Some(counter) = &claim.fence else {
                let text = "a claim that asks for no fencing token has no counter to be raised";
                return Err(StoreError::new(StoreErrorKind::Protocol, text));
            };
            // May be carried out twice, or late: it never lowers the counter.
            let lift = |command: &mut Cmd| write_lift(command, claim, Some(counter), fence);
            match self.number(claim, &script::LIFT, lift, Instead::Nothing).await?.0 {
                3 => Err(Fault::unusable_counter(counter, self.nodes.any().server()).into_error()),
                answer => Ok(answer == 1),
            }
        })
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.pending.none())
    }
}

/// A claim whose request may have been sent. Dropped, it sends the clean-up behind.
struct Armed<'a> {
    store: &'a RedisStore,
    link: &'a Arc<Link>,
    claim: Option<&'a Claim>,
}

impl Armed<'_> {
    fn disarm(mut self) {
        self.claim = None;
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim {
            let RedisStore { nodes, pending, .. } = self.store;
            let link = Some(self.link.clone());
            cleanup::start(nodes, link, pending, claim.clone(), Vec::new(), Known::Unknown, Done::nothing());
        }
    }
}

/// How long the answer to a release is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// As long as an operation may take.
    InTime,
    /// As long as the connection lives.
    Patiently,
    /// As long as the connection lives; and in one single message, which is carried out even if the server answers when nobody
    /// waits any more.
    Behind,
}

impl How {
    async fn ask(self, link: &Link, command: &Cmd) -> Result<Value, Fault> {
        match self {
            Self::InTime => link.ask(command).await,
            Self::Patiently | Self::Behind => link.ask_patiently(command).await,
        }
    }

    /// The answers to what is sent together, or the first error among them.
    async fn ask_together(self, link: &Link, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        let answers = match self {
            Self::InTime => link.ask_each(commands).await?,
            Self::Patiently | Self::Behind => link.ask_each_patiently(commands).await?,
        };
        answers.into_iter().collect()
    }

    async fn run(self, link: &Link, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        match self {
            Self::InTime => link.run(script, command).await,
            Self::Patiently => link.run_patiently(script, command).await,
            Self::Behind => link.run_text(script, command).await,
        }
    }
}

/// Gives `claim` back: compare, and hand over to the first in line, or delete; while the keys are to be kept, compare and
/// replace. `entries` leave the line. `false`: not ours, and nothing was deleted that was not.
async fn give_back(link: &Arc<Link>, claim: &Claim, entries: &[String], how: How) -> Result<bool, Fault> {
    if link.is_without_scripts() {
        return Box::pin(transaction::give_back(link, claim, how)).await;
    }
    let kept = millis(claim.kept_for(boottime()));
    if kept > 0 {
        let command = |command: &mut Cmd| {
            write_keys(command, claim);
            command.arg(claim.tombstone()).arg(kept);
        };
        return Ok(reply::number(how.run(link, &script::FLOOR, command).await, link.server())? == 1);
    }
    let release = |command: &mut Cmd| write_release(command, claim, entries, link.naming());
    with_line_or_plain(link, how, release, |command| write_keys(command, claim)).await
}

/// As [`give_back`], each of the keys by itself: they are at two nodes of a cluster for a moment.
async fn give_back_each(nodes: &Nodes, claim: &Claim) -> Result<bool, Fault> {
    let mut all = true;
    for key in &*claim.keys {
        let alone = Claim { keys: Arc::new([key.clone()]), ..claim.clone() };
        let mut route = nodes.route(key);
        all &= loop {
            let link = route.link().await.map_err(Fault::Silent)?;
            match give_back(&link, &alone, &[], How::InTime).await {
                Err(fault) if route.follows(&fault).await => {}
                answer => break answer?,
            }
        };
    }
    Ok(all)
}

/// As [`give_back`], of the claim that has stored `value` under `key`.
async fn give_back_value(link: &Link, key: &str, value: &[u8]) -> Result<bool, Fault> {
    let release = |command: &mut Cmd| {
        command.arg(2).arg(key).arg(link.naming().line(key)).arg(value);
    };
    let plain = |command: &mut Cmd| {
        command.arg(1).arg(key).arg(value);
    };
    with_line_or_plain(link, How::InTime, release, plain).await
}

/// Runs the release that looks after the lines, or the plain one where the user has no right to those.
async fn with_line_or_plain(
    link: &Link,
    how: How,
    release: impl Fn(&mut Cmd),
    plain: impl Fn(&mut Cmd),
) -> Result<bool, Fault> {
    let mut denied = None;
    if link.gives_to_lines() {
        match how.run(link, &script::RELEASE, release).await {
            Err(fault) if fault.is_denied() => denied = Some(fault),
            // The key may be at another node than its line: it goes to nobody, and whoever waits finds it free.
            Err(fault) if fault.is_on_the_move() => {}
            answer => {
                let answer = reply::number(answer, link.server())?;
                if answer == 3 {
                    link.cannot_call();
                }
                return Ok(answer > 0);
            }
        }
    }
    // Boxed: rare, and its state would be part of every release's.
    let answer = Box::pin(how.run(link, &script::RELEASE_PLAIN, plain)).await;
    let answer = reply::number(answer, link.server())?;
    if let Some(fault) = denied {
        link.no_line_keys(&fault.into_error());
    }
    Ok(answer == 1)
}

/// The arguments that every script begins with: the keys, and the value that proves them ours.
fn write_keys(command: &mut Cmd, claim: &Claim) {
    write_value(command, claim, claim.keys.iter());
}

/// What the script that raises the counter of fencing tokens is told.
fn write_lift(command: &mut Cmd, claim: &Claim, counter: Option<&LockKey>, fence: i64) {
    write_value(command, claim, claim.keys.iter().chain(counter));
    command.arg(fence);
}

/// What the script that gives a claim back is told: each key with its line, and the entries that leave it.
fn write_release(command: &mut Cmd, claim: &Claim, entries: &[String], naming: Naming) {
    command.arg(2 * claim.keys.len());
    for key in &*claim.keys {
        command.arg(key.as_str()).arg(naming.line(key.as_str()));
    }
    command.arg(ValueOf(claim)).arg(entries);
}

/// What the script that takes a claim is told.
fn write_contender(command: &mut Cmd, claim: &Claim) {
    write_value(command, claim, claim.keys.iter().chain(&claim.fence));
    command.arg(claim.ttl_millis());
    match (&claim.fence, &*claim.replaces) {
        (Some(_), _) => drop(command.arg(u64::from(claim.spare_fences) + 1)),
        (None, []) => {}
        (None, _) => drop(command.arg("")),
    }
    for value in &claim.replaces {
        command.arg(value);
    }
}

/// As [`write_keys`], with more keys than the claim's own.
fn write_value<'a>(command: &mut Cmd, claim: &Claim, keys: impl Iterator<Item = &'a LockKey> + Clone) {
    command.arg(keys.clone().count());
    for key in keys {
        command.arg(key.as_str());
    }
    command.arg(ValueOf(claim));
}

/// The [value](Claim::value) of a claim, written as an argument without a string of its own.
struct ValueOf<'a>(&'a Claim);

impl ToRedisArgs for ValueOf<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        for part in self.0.value_parts() {
            // Into the command's own buffer: this cannot fail.
            let _ = argument.write_all(part.as_bytes());
        }
    }
}

/// What is kept beside a key is called by a rule.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// As the key, and what it is.
    Plain,
    /// So that it is in the key's slot.
    #[cfg(feature = "cluster")]
    InSlot,
}

impl Naming {
    fn line(self, key: &str) -> Line<'_> {
        Line { key, naming: self }
    }
}

/// Where the line of a key is kept, written as an argument without a string of its own.
struct Line<'a> {
    key: &'a str,
    naming: Naming,
}

impl ToRedisArgs for Line<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut write = |parts: &[&str]| {
            let mut argument = out.writer_for_next_arg();
            for part in parts {
                // Into the command's own buffer: this cannot fail.
                let _ = argument.write_all(part.as_bytes());
            }
        };
        match self.naming {
            Naming::Plain => write(&[self.key, LINE]),
            #[cfg(feature = "cluster")]
            Naming::InSlot => write(&[self.key, cluster::line_infix(self.key).as_str(), LINE]),
        }
    }
}
