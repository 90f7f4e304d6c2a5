//! Connections: one for each runtime, dialled anew when it breaks.
//!
//! A connection is driven by a task, and a task belongs to a runtime. A manager in a `static` meets many runtimes: one
//! `#[tokio::test]` after another, or actix's workers at the same time.

use std::borrow::Cow;
#[cfg(feature = "cluster")]
use std::collections::HashSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, RedisError, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::{OnceCell, watch};
use tokio::task::AbortHandle;

use super::address::Address;
use super::handoff::give_back_ghost;
use super::learned::Learned;
use super::notes::{Notes, Wire};
use super::pulse::{Beating, Pulse};
use super::reply::{self, Fault};
use super::script::{Dialect, Script};
use super::{Naming, stream};
use crate::error::{StoreError, StoreErrorKind};
use crate::holder::Token;
use crate::keeper::{Background, Errand};
use crate::key::LockKey;
use crate::timer;

/// How a store's connections are made and used.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) timeouts: Timeouts,
}

impl Settings {
    /// A second for everything.
    pub(super) fn new(address: Address) -> Self {
        Self { address, timeouts: Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(1) } }
    }
}

/// How long the store's operations may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// To make a connection, greeting included.
    pub(super) connect: Duration,
    /// To be answered.
    pub(super) operation: Duration,
}

/// The connections of one store.
pub(super) struct Pool {
    address: Address,
    pub(super) timeouts: Timeouts,
    /// Of a few runtimes, mostly of one.
    slots: Mutex<Vec<(Id, Arc<Slot>)>>,
    /// Where clean-ups run that have no runtime.
    background: Arc<OnceLock<Background>>,
    /// What our callers in a cluster are called, on all of its nodes.
    caller: Option<Arc<str>>,
    pub(super) learned: Arc<Learned>,
    pub(super) notes: Arc<Notes>,
}

/// The place of one runtime's connection.
struct Slot {
    link: Mutex<Option<Arc<Link>>>,
    /// Where those who wait in line are called: the same on every connection that is made in this place, so that whoever comes
    /// back on a new one has kept its place in line.
    channel: Arc<str>,
    /// What the task that is dialling will come to: a burst of callers dials once.
    dialling: Mutex<Option<watch::Receiver<Dialled>>>,
    /// The task that removes this slot from its pool when the runtime ends.
    departure: AbortHandle,
}

/// `None` until it is known.
type Dialled = Option<Result<Arc<Link>, StoreError>>;

impl Slot {
    fn new(pool: &Arc<Pool>, runtime: &Handle) -> Arc<Self> {
        Arc::new_cyclic(|slot| {
            // A runtime that ends drops its tasks: the slot goes with them, before the runtime's id can be given out again.
            let departure = Departure { pool: Arc::downgrade(pool), runtime: runtime.id(), slot: slot.clone() };
            let waiting = runtime.spawn(async move {
                let _departure = departure;
                std::future::pending::<()>().await;
            });
            let channel = match &pool.caller {
                // The same at every node: who has to ask at another one has kept the place in line, too.
                Some(caller) => format!("lock_runtime:{caller}-{}", runtime.id()),
                None => format!("lock_runtime:{}", Token::fresh().as_str()),
            };
            let channel = channel.into();
            Self { link: Mutex::default(), channel, dialling: Mutex::default(), departure: waiting.abort_handle() }
        })
    }

    fn link(&self) -> Option<Arc<Link>> {
        lock(&self.link).as_ref().filter(|link| !link.is_broken()).cloned()
    }
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            address: settings.address,
            timeouts: settings.timeouts,
            slots: Mutex::default(),
            background: Arc::default(),
            caller: None,
            learned: Arc::default(),
            notes: Arc::default(),
        }
    }

    /// Of a node of a cluster: the first that is known.
    #[cfg(feature = "cluster")]
    pub(super) fn in_cluster(settings: Settings) -> Self {
        Self { caller: Some(Token::fresh().as_str().into()), ..Self::new(settings) }
    }

    /// Of another node of the same cluster.
    #[cfg(feature = "cluster")]
    pub(super) fn beside(&self, settings: Settings) -> Self {
        Self {
            background: self.background.clone(),
            caller: self.caller.clone(),
            learned: self.learned.clone(),
            notes: self.notes.clone(),
            ..Self::new(settings)
        }
    }

    /// What a pool of the same server would be made of.
    pub(super) fn settings(&self) -> Settings {
        Settings { address: self.address.clone(), timeouts: self.timeouts }
    }

    /// The first manager that is built on the store lends its keeper. (Another one's would do as well.)
    pub(super) fn attach(&self, background: &Background) {
        let _ = self.background.set(background.clone());
    }

    pub(super) fn background(&self) -> Option<&Background> {
        self.background.get()
    }

    /// The server's address, for people to read.
    pub(super) fn server(&self) -> &str {
        self.address.name()
    }

    /// The connection of the current runtime, dialled if there is none that works.
    pub(super) async fn link(self: &Arc<Self>) -> Result<Arc<Link>, StoreError> {
        self.link_within(self.timeouts.connect).await
    }

    /// As [`link`](Self::link), where dialling may take this long at most: a short lease is not to be lost to a connection that
    /// was dialled while the network was away.
    pub(super) async fn link_within(self: &Arc<Self>, limit: Duration) -> Result<Arc<Link>, StoreError> {
        let runtime = Handle::try_current().map_err(|_| {
            StoreError::new(StoreErrorKind::Runtime, "locks in Redis need a tokio runtime: call this inside of one")
        })?;
        let id = runtime.id();
        if let Some((_, slot)) = lock(&self.slots).iter().find(|(of, _)| *of == id)
            && let Some(link) = slot.link()
        {
            return Ok(link);
        }
        // Boxed: dialling is rare, and its state would be part of every operation's.
        Box::pin(self.dialled_link(runtime, limit.min(self.timeouts.connect))).await
    }

    /// The place of `runtime`'s connection, made if there is none.
    fn slot(self: &Arc<Self>, runtime: &Handle) -> Arc<Slot> {
        let id = runtime.id();
        let known = |slots: &[(Id, Arc<Slot>)]| slots.iter().find(|(of, _)| *of == id).map(|(_, slot)| slot.clone());
        if let Some(slot) = known(&lock(&self.slots)) {
            return slot;
        }
        // Outside of the lock: a runtime that is ending drops what is spawned in the same call, and the departure takes the lock.
        let slot = Slot::new(self, runtime);
        let mut slots = lock(&self.slots);
        if let Some(known) = known(&slots) {
            // Ours is dropped outside of the lock, too.
            drop(slots);
            return known;
        }
        // One that has departed already would stay for ever.
        if !slot.departure.is_finished() {
            slots.push((id, slot.clone()));
        }
        drop(slots);
        slot
    }

    async fn dialled_link(self: &Arc<Self>, runtime: Handle, limit: Duration) -> Result<Arc<Link>, StoreError> {
        let slot = self.slot(&runtime);
        let connecting = timer::timeout(limit, async {
            loop {
                let (mut dialled, joined) = self.dialled(&slot, &runtime, limit);
                let known = dialled.wait_for(Option::is_some).await;
                match known.ok().and_then(|dialled| dialled.clone()) {
                    Some(Ok(link)) => return Ok(link),
                    // Begun before we came, perhaps while the server was still away: no answer to us.
                    Some(Err(_)) if joined => {}
                    Some(Err(error)) => return Err(error),
                    None => {
                        let text = "the tokio runtime of this call is shutting down";
                        return Err(StoreError::new(StoreErrorKind::Runtime, text));
                    }
                }
            }
        })?;
        connecting.await.unwrap_or_else(|_| Err(self.not_in_time(limit)))
    }

    /// What dialling comes to, and whether it was under way already. In a task of its own: a caller that is not polled any
    /// more must not keep the others waiting.
    fn dialled(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        runtime: &Handle,
        limit: Duration,
    ) -> (watch::Receiver<Dialled>, bool) {
        let mut dialling = lock(&slot.dialling);
        if let Some(link) = slot.link() {
            return (watch::channel(Some(Ok(link))).1, false);
        }
        // Closed without a word: its runtime has ended, and ours has got its id.
        if let Some(dialled) = dialling.as_ref().filter(|dialled| dialled.has_changed().is_ok()) {
            return (dialled.clone(), true);
        }
        let (tell, dialled) = watch::channel(None);
        *dialling = Some(dialled.clone());
        let (pool, slot, own) = (self.clone(), slot.clone(), runtime.clone());
        runtime.spawn(async move {
            let outcome = match timer::timeout(limit, pool.dial(&slot.channel, own)) {
                Ok(dialling) => dialling.await.unwrap_or_else(|_| Err(pool.not_in_time(limit))),
                Err(error) => Err(error),
            };
            if let Ok(link) = &outcome {
                *lock(&slot.link) = Some(link.clone());
            }
            *lock(&slot.dialling) = None;
            tell.send_replace(Some(outcome));
        });
        (dialled, false)
    }

    fn not_in_time(&self, limit: Duration) -> StoreError {
        let text = format!("redis at {} could not be connected to within {limit:?}", self.server());
        StoreError::new(StoreErrorKind::Timeout, text)
    }

    /// A connection for somebody who cannot wait for one. Inside a runtime, its own, even a broken one: another runtime's may
    /// be idle, and never get to it. Outside of any, one that works, else any.
    pub(super) fn any_link(&self) -> Option<Arc<Link>> {
        let slots = lock(&self.slots);
        if let Ok(runtime) = Handle::try_current() {
            let (_, slot) = slots.iter().find(|(id, _)| *id == runtime.id())?;
            return lock(&slot.link).clone();
        }
        let links = slots.iter().filter_map(|(_, slot)| lock(&slot.link).clone());
        links.min_by_key(|link| link.is_broken())
    }

    async fn dial(self: &Arc<Self>, channel: &Arc<str>, runtime: Handle) -> Result<Arc<Link>, StoreError> {
        let (wire, pulse) = (Arc::default(), Pulse::new(self.timeouts.operation));
        let (connection, driver, protocol) = self.greet(&wire, &pulse, &runtime).await?;
        Ok(Arc::new(Link {
            connection,
            driver,
            server: self.server().to_owned(),
            runtime,
            background: self.background.get().cloned(),
            timeout: self.timeouts.operation,
            pulse,
            wire,
            learned: self.learned.clone(),
            notes: self.notes.clone(),
            channel: channel.clone(),
            is_pushed_to: protocol.supports_resp3(),
            listens: OnceCell::new(),
            in_cluster: self.caller.is_some(),
            #[cfg(feature = "cluster")]
            channels: Mutex::default(),
            #[cfg(feature = "cluster")]
            asks: None,
        }))
    }

    /// Connects, in the newer protocol if the server has it: in the older one it cannot call us.
    async fn greet(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        pulse: &Arc<Pulse>,
        runtime: &Handle,
    ) -> Result<(MultiplexedConnection, AbortHandle, ProtocolVersion), StoreError> {
        let refused = |error: RedisError| Fault::read_greeting(&error, self.server()).into_error();
        let protocol = self.learned.protocol();
        let error = match self.connect(protocol, wire, pulse, runtime).await? {
            Ok((connection, driver)) => {
                if protocol.supports_resp3() {
                    self.learned.speaks_resp3();
                }
                return Ok((connection, driver, protocol));
            }
            Err(error) => error,
        };
        let unknown = is_protocol_unknown(&error, self.server());
        // Something between us and the server may hang up on what it does not know.
        let hung_up =
            error.is_connection_dropped() && !error.is_connection_refusal() && !self.learned.has_spoken_resp3();
        if !protocol.supports_resp3() || !unknown && !hung_up {
            return Err(refused(error));
        }
        let (connection, driver) =
            self.connect(ProtocolVersion::RESP2, wire, pulse, runtime).await?.map_err(refused)?;
        if unknown {
            self.learned.speaks_resp2_only();
        }
        self.learned
            .tell(self.server(), &"it does not speak RESP3, the protocol in which a server can call its clients");
        Ok((connection, driver, ProtocolVersion::RESP2))
    }

    async fn connect(
        self: &Arc<Self>,
        protocol: ProtocolVersion,
        wire: &Arc<Wire>,
        pulse: &Arc<Pulse>,
        runtime: &Handle,
    ) -> Result<Result<(MultiplexedConnection, AbortHandle), RedisError>, StoreError> {
        let user = self.address.user().set_protocol(protocol);
        // We keep the time: a timeout of the client's own would tell us less.
        let mut config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        if protocol.supports_resp3() {
            config = config.set_push_sender(self.reader(wire, runtime));
        }
        let unheard = self.timeouts.operation.saturating_mul(4).min(Duration::from_secs(60 * 60));
        without_panic(async {
            let stream = stream::connect(&self.address, unheard, pulse.clone()).await?;
            let (connection, driver) = MultiplexedConnection::new_with_config(&user, stream, config).await?;
            let driver = runtime.spawn(driver).abort_handle();
            wire.is_driven_by(driver.clone());
            Ok((connection, driver))
        })
        .await
    }

    /// What reads the notes that come in on a connection: on the task that drives it, which must not wait for anything.
    fn reader(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        runtime: &Handle,
    ) -> impl Fn(PushInfo) -> Result<(), SendError> + use<> {
        let (pool, notes, wire, runtime) = (Arc::downgrade(self), self.notes.clone(), wire.clone(), runtime.clone());
        move |push| {
            if let Some(ghost) = notes.read(&wire, &push)
                && let Some(pool) = pool.upgrade()
            {
                runtime.spawn(give_back_ghost(pool, ghost));
            }
            Ok(())
        }
    }
}

/// Whether the server said that it does not know the protocol of our greeting: in words of its own, unless it is a Redis.
fn is_protocol_unknown(error: &RedisError, server: &str) -> bool {
    match (error.code(), Fault::read(error, server)) {
        (Some("NOPERM"), _) => true,
        (Some(_), fault @ Fault::Answered { .. }) => fault.refused().is_none(),
        _ => error.kind() == ErrorKind::RESP3NotSupported,
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.departure.abort();
    }
}

/// Removes a slot from its pool when its runtime ends.
struct Departure {
    pool: Weak<Pool>,
    runtime: Id,
    slot: Weak<Slot>,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut slots = lock(&pool.slots);
        let ours = slots
            .iter()
            .position(|(id, slot)| *id == self.runtime && std::ptr::eq(Arc::as_ptr(slot), self.slot.as_ptr()));
        let slot = ours.map(|ours| slots.swap_remove(ours));
        // Connections are dropped outside of the lock.
        drop(slots);
        let Some((_, slot)) = slot else { return };
        // Others may wait, on runtimes of their own, for what it would be told.
        if let Some(link) = slot.link() {
            link.break_off();
        }
    }
}

/// One connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// The task that drives it.
    driver: AbortHandle,
    server: String,
    /// The runtime that drives it.
    pub(super) runtime: Handle,
    /// Where the pulse beats: not where its beats are waited for, if there is any other place.
    background: Option<Background>,
    timeout: Duration,
    pulse: Arc<Pulse>,
    wire: Arc<Wire>,
    learned: Arc<Learned>,
    notes: Arc<Notes>,
    /// Where those who wait in line are called,
    channel: Arc<str>,
    /// if anybody can be called on this connection.
    is_pushed_to: bool,
    /// Set when the server has confirmed that it does.
    listens: OnceCell<()>,
    /// The server is a node of a cluster.
    in_cluster: bool,
    /// The channels of a cluster that the server has confirmed, one for each slot in which somebody has waited.
    #[cfg(feature = "cluster")]
    channels: Mutex<HashSet<String>>,
    /// The connection that this one is, where each request asks for a slot which the node does not have yet.
    #[cfg(feature = "cluster")]
    asks: Option<Arc<Link>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        #[cfg(feature = "cluster")]
        if self.asks.is_some() {
            return;
        }
        // Nobody waits for an answer any more, and a server that is stopped might never give it.
        self.driver.abort();
    }
}

impl Link {
    pub(super) fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }

    /// It is not used for anything new, and nobody waits for a call on it.
    fn break_off(&self) {
        self.notes.broke(&self.wire);
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Where those who wait in line before `key` are called.
    pub(super) fn channel(&self, key: &LockKey) -> Cow<'_, str> {
        self.channel_like(&self.channel, key)
    }

    /// The channel `channel`, or the one like it on which somebody before `key` can be called.
    pub(super) fn channel_like<'a>(&self, channel: &'a str, key: &LockKey) -> Cow<'a, str> {
        #[cfg(feature = "cluster")]
        if self.in_cluster {
            return Cow::Owned(super::cluster::channel(channel, key.as_str()));
        }
        let _ = (self, key);
        Cow::Borrowed(channel)
    }

    /// The command that calls somebody,
    pub(super) fn called_by(&self) -> &'static str {
        if self.in_cluster { "SPUBLISH" } else { "PUBLISH" }
    }

    /// and the word by which it is asked who is there to be called.
    pub(super) fn counted_by(&self) -> &'static str {
        if self.in_cluster { "SHARDNUMSUB" } else { "NUMSUB" }
    }

    /// What is kept beside a key is called by this.
    pub(super) fn naming(&self) -> Naming {
        #[cfg(feature = "cluster")]
        if self.in_cluster {
            return Naming::InSlot;
        }
        let _ = self;
        Naming::Plain
    }

    /// Has the server call those who wait in line, before the first of them takes its place: who is not there is passed over.
    /// `false`: it does not.
    pub(super) async fn is_in_line(&self, key: &LockKey) -> Result<bool, Fault> {
        if !self.is_pushed_to || !self.learned.has_lines() {
            return Ok(false);
        }
        #[cfg(feature = "cluster")]
        let listening = if self.in_cluster {
            self.listen_in_slot(key).await
        } else {
            self.listens.get_or_try_init(|| self.listen()).await.copied()
        };
        #[cfg(not(feature = "cluster"))]
        let (_, listening) = (key, self.listens.get_or_try_init(|| self.listen()).await.copied());
        match listening {
            Ok(()) => Ok(true),
            // Shards have channels of their own since 7.0.
            Err(Fault::Answered { error, .. }) if self.in_cluster && error.to_string().contains("unknown command") => {
                self.no_lines(&error);
                Ok(false)
            }
            Err(Fault::Answered { error, .. }) if error.kind() == StoreErrorKind::Denied => {
                self.no_lines(&error);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Subscribes to the channel. To do so twice is harmless.
    pub(super) async fn listen(&self) -> Result<(), Fault> {
        let mut connection = self.connection.clone();
        let answer = pin!(async {
            let subscribed = connection.subscribe(&*self.channel).await;
            subscribed.map(|()| Value::Okay).map_err(|error| self.fault(&error))
        });
        self.in_time(answer).await.map(drop)
    }

    /// Subscribes to the channel in the slot of `key`, unless it has done so. It is never given up: there are not more than slots,
    /// and whoever waits for one key waits for it again.
    #[cfg(feature = "cluster")]
    async fn listen_in_slot(&self, key: &LockKey) -> Result<(), Fault> {
        let channel = self.channel(key).into_owned();
        if lock(&self.channels).contains(&channel) {
            return Ok(());
        }
        let mut subscribe = command("SSUBSCRIBE", 0);
        subscribe.arg(&channel);
        self.ask(&subscribe).await?;
        lock(&self.channels).insert(channel);
        Ok(())
    }

    /// Whether each request asks for a slot that is on its way to the node: nobody can be called there yet.
    pub(super) fn is_asking(&self) -> bool {
        #[cfg(feature = "cluster")]
        if self.asks.is_some() {
            return true;
        }
        let _ = self;
        false
    }

    /// There are no lines for us.
    pub(super) fn no_lines(&self, why: &StoreError) {
        self.learned.no_lines(&self.server, why);
    }

    /// We have no right to the keys under which lines are kept.
    pub(super) fn no_line_keys(&self, why: &StoreError) {
        self.learned.no_line_keys(&self.server, why);
    }

    /// A script of ours found that the user may not call those who wait, or not look who there is.
    pub(super) fn cannot_call(&self) {
        let why = "the user lacks a permission of those that the documentation lists for it: for PUBLISH, PUBSUB, a command of \
                   lists, or the channels `lock_runtime:*`";
        self.learned.no_lines(&self.server, &why);
    }

    /// Whether a lock that is given back may go to those who wait in line.
    pub(super) fn gives_to_lines(&self) -> bool {
        // In a cluster of older servers nobody waits in line, and the script that gives to lines cannot call anybody.
        self.learned.gives_to_lines() && !(self.in_cluster && self.learned.knows_plain_scripts_only())
    }

    /// Where the counter `counter` is for a lock on `key`; `None`: at that name.
    pub(super) fn counter(&self, key: &LockKey, counter: &LockKey) -> Option<LockKey> {
        #[cfg(feature = "cluster")]
        if self.in_cluster {
            return Some(super::cluster::counter(key, counter));
        }
        let _ = (self, key, counter);
        None
    }

    /// The server's address, for people to read.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a command and waits for the answer, for as long as an operation may take.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        let answer = pin!(self.ask_patiently(command));
        self.in_time(answer).await
    }

    /// Runs a script: by its hash, and by its text where the server has forgotten it or is too old for its flags.
    pub(super) async fn run(&self, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        let answer = pin!(self.run_patiently(script, command));
        self.in_time(answer).await
    }

    /// As [`run`](Self::run), but answered `within` this time, or not more than an operation's.
    pub(super) async fn run_within(
        &self,
        script: &Script,
        command: impl Fn(&mut Cmd),
        within: Duration,
    ) -> Result<Value, Fault> {
        let within = within.min(self.timeout);
        let answer = timer::timeout(within, self.run_patiently(script, command)).map_err(Fault::Silent)?;
        answer.await.unwrap_or_else(|_| Err(self.silence(within)))
    }

    /// What `answer` gives, for as long as an operation may take.
    async fn in_time(
        &self,
        // Pinned by the caller: these futures are large, and are not to be moved.
        answer: Pin<&mut impl Future<Output = Result<Value, Fault>>>,
    ) -> Result<Value, Fault> {
        let answer = self.pulse.in_time(answer, |beating| self.beat(beating));
        answer.await.unwrap_or_else(|| Err(self.silence(self.timeout)))
    }

    fn beat(&self, beating: Beating) {
        let beating = match &self.background {
            Some(background) => background.run(Box::pin(beating.go_on())),
            None => Err(Box::pin(beating.go_on()) as Errand),
        };
        if let Err(beating) = beating {
            self.runtime.spawn(beating);
        }
    }

    /// After a silence the connection is not used for anything new: what was sent stays in line before what its own
    /// clean-up sends, and everybody else dials anew.
    fn silence(&self, within: Duration) -> Fault {
        self.break_off();
        Fault::Silent(StoreError::new(
            StoreErrorKind::Timeout,
            format!("redis at {} did not answer within {within:?}", self.server),
        ))
    }

    /// Sends a command and waits for the answer, or for the connection to break.
    pub(super) async fn ask_patiently(&self, command: &Cmd) -> Result<Value, Fault> {
        #[cfg(feature = "cluster")]
        if self.asks.is_some() {
            return Box::pin(self.ask_before_it_moved(command)).await;
        }
        let mut connection = self.connection.clone();
        let _asking = self.pulse.ask();
        let answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        #[cfg(feature = "cluster")]
        self.check_order()?;
        match answer {
            Ok(value) => Ok(value),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// As [`ask_patiently`](Self::ask_patiently), of a slot that is on its way to the node.
    #[cfg(feature = "cluster")]
    async fn ask_before_it_moved(&self, command: &Cmd) -> Result<Value, Fault> {
        let mut connection = self.connection.clone();
        let _asking = self.pulse.ask();
        // In one message: what comes first counts for what comes next on the connection, whoever sends it.
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let answer = connection.send_packed_commands(&both, 1, 1).await;
        let answer = answer.map(|answers| answers.into_iter().next().unwrap_or(Value::Nil));
        self.check_order()?;
        answer.and_then(Value::extract_error).map_err(|error| self.fault(&error))
    }

    /// Whether answers are still those of the requests that they come to. A node that gives up a slot says of itself that our
    /// subscription in it has ended, and the client library takes that for the answer to the oldest request: from there on each
    /// has the answer of the one before it.
    #[cfg(feature = "cluster")]
    fn check_order(&self) -> Result<(), Fault> {
        if !self.wire.is_out_of_order() {
            return Ok(());
        }
        let text = format!("the connection to redis at {} was given up when a slot left the node", self.server);
        Err(Fault::Silent(StoreError::new(StoreErrorKind::Connection, text)))
    }

    /// The same connection, on which each request asks for a slot that is on its way to the node.
    #[cfg(feature = "cluster")]
    pub(super) fn asking(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            connection: self.connection.clone(),
            driver: self.driver.clone(),
            server: self.server.clone(),
            runtime: self.runtime.clone(),
            background: self.background.clone(),
            timeout: self.timeout,
            pulse: self.pulse.clone(),
            wire: self.wire.clone(),
            learned: self.learned.clone(),
            notes: self.notes.clone(),
            channel: self.channel.clone(),
            is_pushed_to: self.is_pushed_to,
            listens: OnceCell::new(),
            in_cluster: self.in_cluster,
            channels: Mutex::default(),
            asks: Some(self.clone()),
        })
    }

    /// What an error of this connection means. After a silence it is not used any more.
    fn fault(&self, error: &RedisError) -> Fault {
        #[cfg(feature = "cluster")]
        let read = if self.in_cluster { Fault::read_of_node } else { Fault::read };
        #[cfg(not(feature = "cluster"))]
        let read = Fault::read;
        let fault = read(error, &self.server);
        if matches!(fault, Fault::Silent(_)) {
            self.break_off();
        }
        fault
    }

    /// The server gave an answer that none of our commands has: what comes next on this connection is not to be trusted.
    pub(super) fn unknown_answer(&self) -> Fault {
        self.break_off();
        reply::unknown(&self.server)
    }

    /// As [`run`](Self::run), until the connection breaks.
    pub(super) async fn run_patiently(&self, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        match self.ask_patiently(&with("EVALSHA", &script.text(self.dialect()).sha, &command)).await {
            Err(fault) if fault.is_no_script() => Box::pin(self.run_text(script, command)).await,
            answer => answer,
        }
    }

    fn dialect(&self) -> Dialect {
        if self.learned.knows_plain_scripts_only() {
            return Dialect::Plain;
        }
        #[cfg(feature = "cluster")]
        if self.in_cluster {
            return Dialect::Sharded;
        }
        Dialect::Flagged
    }

    /// Runs a script by its text, until the connection breaks: in one message, so that it runs even if nobody is there any
    /// more to answer that the server does not know it.
    pub(super) async fn run_text(&self, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        let dialect = self.dialect();
        match self.ask_patiently(&with("EVAL", &script.text(dialect).code, &command)).await {
            Err(fault) if fault.is_flags_unknown() && dialect != Dialect::Plain => {
                self.learned.plain_scripts_only();
                self.ask_patiently(&with("EVAL", &script.text(Dialect::Plain).code, &command)).await
            }
            answer => answer,
        }
    }
}

/// The command `name`, with room for the arguments of a lock and `text` bytes more: it is not to grow bit by bit.
pub(super) fn command(name: &str, text: usize) -> Cmd {
    let mut command = Cmd::with_capacity(8, 192 + text);
    command.arg(name);
    command
}

/// The command `name text …`.
fn with(name: &str, text: &str, arguments: impl Fn(&mut Cmd)) -> Cmd {
    let mut command = command(name, text.len());
    command.arg(text);
    arguments(&mut command);
    command
}

/// `future`, with a panic turned into an error: a runtime without I/O panics in the middle of dialling.
async fn without_panic<T>(future: impl Future<Output = T>) -> Result<T, StoreError> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(StoreError::new(
                StoreErrorKind::Runtime,
                "locks in Redis need a tokio runtime with I/O: call `enable_all()` on its builder",
            ))),
        }
    })
    .await
}

/// Locks a mutex. No code that can panic runs under these, so a poisoned one still holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
