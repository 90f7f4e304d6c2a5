//! One connection: what is asked on it, and how long an answer may take.

use std::borrow::Cow;
#[cfg(feature = "cluster")]
use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
#[cfg(feature = "cluster")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

use super::learned::Learned;
use super::notes::{Notes, Wire};
use super::pool::Pool;
use super::pulse::{Beating, Pulse};
use super::reply::{self, Fault};
use super::script::{Dialect, Script};
use super::sentinel::Looks;
use super::{How, Naming};
use crate::error::{StoreError, StoreErrorKind};
use crate::keeper::{Background, Errand};
use crate::key::LockKey;
use crate::timer;

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
    /// Whether the server is the master still, where sentinels know that.
    looks: Option<Arc<Looks>>,
    /// Nobody may run scripts there,
    without_scripts: bool,
    /// and transactions take turns.
    turns: tokio::sync::Mutex<()>,
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

/// What is one connection's alone.
pub(super) struct Greeted {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: AbortHandle,
    pub(super) server: String,
    pub(super) runtime: Handle,
    pub(super) pulse: Arc<Pulse>,
    pub(super) wire: Arc<Wire>,
    pub(super) is_pushed_to: bool,
    pub(super) looks: Option<Arc<Looks>>,
}

impl Link {
    pub(super) fn new(pool: &Pool, greeted: Greeted, channel: Arc<str>) -> Self {
        let Greeted { connection, driver, server, runtime, pulse, wire, is_pushed_to, looks } = greeted;
        Self {
            connection,
            driver,
            server,
            runtime,
            background: pool.background().cloned(),
            timeout: pool.timeouts.operation,
            pulse,
            wire,
            learned: pool.learned.clone(),
            notes: pool.notes.clone(),
            channel,
            is_pushed_to,
            looks,
            without_scripts: pool.without_scripts,
            turns: tokio::sync::Mutex::default(),
            listens: OnceCell::new(),
            in_cluster: pool.is_of_cluster(),
            #[cfg(feature = "cluster")]
            channels: Mutex::default(),
            #[cfg(feature = "cluster")]
            asks: None,
        }
    }

    /// Whether it is not to be used for anything new. Where nobody has looked, it may be to a master that was replaced.
    pub(super) fn is_broken(&self) -> bool {
        self.wire.is_broken() || self.looks.as_ref().is_some_and(|looks| looks.are_overdue())
    }

    /// Whether the server is the master that the sentinels take it for. Where the user may not ask, the first write tells.
    pub(super) async fn check_role(&self) -> Result<(), StoreError> {
        match self.ask(&command("ROLE", 0)).await {
            Ok(Value::Array(role)) => match role.first() {
                Some(Value::BulkString(name)) if name == b"master" => Ok(()),
                _ => {
                    let text =
                        format!("redis at {} is no master; the sentinels are about to name another", self.server);
                    Err(StoreError::new(StoreErrorKind::Refused, text))
                }
            },
            Ok(_) => Err(self.unknown_answer().into_error()),
            Err(fault) if fault.is_denied() => Ok(()),
            Err(fault) => Err(fault.into_error()),
        }
    }

    /// It is not used for anything new, and nobody waits for a call on it.
    pub(super) fn break_off(&self) {
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
        if self.channels().contains(&channel) {
            return Ok(());
        }
        let mut subscribe = command("SSUBSCRIBE", 0);
        subscribe.arg(&channel);
        self.ask(&subscribe).await?;
        self.channels().insert(channel);
        Ok(())
    }

    /// No code that can panic runs under this mutex, so a poisoned one still holds whole data.
    #[cfg(feature = "cluster")]
    fn channels(&self) -> MutexGuard<'_, HashSet<String>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// As [`ask`](Self::ask), of a command that may take `time` beside that.
    pub(super) async fn ask_for(&self, command: &Cmd, time: Duration) -> Result<Value, Fault> {
        let within = self.timeout.saturating_add(time);
        let answer = timer::timeout(within, self.ask_patiently(command)).map_err(Fault::Silent)?;
        answer.await.unwrap_or_else(|_| Err(self.silence(within)))
    }

    /// Whether what scripts do is to be done by transactions.
    pub(super) fn is_without_scripts(&self) -> bool {
        self.without_scripts
    }

    /// The right to begin a transaction: one at a time.
    pub(super) async fn turn(&self, how: How) -> Result<tokio::sync::MutexGuard<'_, ()>, Fault> {
        let turn = self.turns.lock();
        if how != How::InTime {
            return Ok(turn.await);
        }
        let turn = timer::timeout(self.timeout, turn).map_err(Fault::Silent)?;
        // Nothing is wrong with the connection: too much is asked of it.
        turn.await.map_err(|_| {
            let text = format!("redis at {} has had transactions before this one for {:?}", self.server, self.timeout);
            Fault::Silent(StoreError::new(StoreErrorKind::Timeout, text))
        })
    }

    /// Whether the server may have a command that compares and deletes.
    pub(super) fn deletes_if_equal(&self) -> bool {
        self.learned.deletes_if_equal()
    }

    /// It has not, or not for us.
    pub(super) fn deletes_never_if_equal(&self) {
        self.learned.deletes_never_if_equal();
    }

    /// Sends commands together and waits for their answers, for as long as an operation may take.
    pub(super) async fn ask_each(&self, commands: &Pipeline) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let answers = timer::timeout(self.timeout, self.ask_each_patiently(commands)).map_err(Fault::Silent)?;
        answers.await.unwrap_or_else(|_| Err(self.silence(self.timeout)))
    }

    /// As [`ask_each`](Self::ask_each), until the connection breaks.
    pub(super) async fn ask_each_patiently(&self, commands: &Pipeline) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let mut connection = self.connection.clone();
        let _asking = self.pulse.ask();
        let answers = connection.send_packed_commands(commands, 0, commands.len()).await;
        let answers = answers.map_err(|error| self.fault(&error))?;
        Ok(answers.into_iter().map(|answer| answer.extract_error().map_err(|error| self.fault(&error))).collect())
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
        let answers = connection.send_packed_commands(&both, 0, 2).await;
        self.check_order()?;
        let answers = answers.map_err(|error| self.fault(&error))?;
        let Ok([asking, answer]) = <[Value; 2]>::try_from(answers) else { return Err(self.unknown_answer()) };
        // Who may not ask is sent back from there, and would not know why.
        asking.extract_error().and_then(|_| answer.extract_error()).map_err(|error| self.fault(&error))
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
            looks: self.looks.clone(),
            without_scripts: self.without_scripts,
            turns: tokio::sync::Mutex::default(),
            listens: OnceCell::new(),
            in_cluster: self.in_cluster,
            channels: Mutex::default(),
            asks: Some(self.clone()),
        })
    }

    /// What an error of this connection means. After a silence it is not used any more, nor is one to a replica.
    fn fault(&self, error: &RedisError) -> Fault {
        #[cfg(feature = "cluster")]
        let read = if self.in_cluster { Fault::read_of_node } else { Fault::read };
        #[cfg(not(feature = "cluster"))]
        let read = Fault::read;
        let fault = read(error, &self.server);
        // A master that has become a replica may be found elsewhere: by the sentinels, or by its name.
        if matches!(fault, Fault::Silent(_)) || fault.is_of_replica() {
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
