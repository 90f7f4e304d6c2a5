//! Connections: one for each runtime, dialled anew when it breaks.
//!
//! A connection is driven by a task, and a task belongs to a runtime. A manager in a `static` meets many runtimes: one
//! `#[tokio::test]` after another, or actix's workers at the same time.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Value};
use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;

use super::reply::Fault;
use super::script::Script;
use crate::error::{StoreError, StoreErrorKind};
use crate::timer;

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
    client: Client,
    server: String,
    pub(super) timeouts: Timeouts,
    slots: Mutex<HashMap<Id, Arc<Slot>>>,
    generations: AtomicU64,
}

/// The place of one runtime's connection.
#[derive(Default)]
struct Slot {
    /// Held while dialling, so that a burst of callers dials once.
    dialling: tokio::sync::Mutex<()>,
    link: Mutex<Option<Arc<Link>>>,
}

impl Slot {
    fn link(&self) -> Option<Arc<Link>> {
        lock(&self.link).as_ref().filter(|link| !link.is_broken()).cloned()
    }
}

impl Pool {
    pub(super) fn new(client: Client, timeouts: Timeouts) -> Self {
        let server = match client.get_connection_info().addr() {
            // Never the URL: it may hold a password.
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => "an address of an unknown kind".to_owned(),
        };
        Self { client, server, timeouts, slots: Mutex::default(), generations: AtomicU64::new(0) }
    }

    /// A pool without connections yet, of the same server.
    pub(super) fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self::new(self.client.clone(), timeouts)
    }

    /// The server's address, for people to read.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The connection of the current runtime, dialled if there is none that works.
    pub(super) async fn link(self: &Arc<Self>) -> Result<Arc<Link>, StoreError> {
        let runtime = Handle::try_current().map_err(|_| {
            StoreError::new(StoreErrorKind::Runtime, "locks in Redis need a tokio runtime: call this inside of one")
        })?;
        let slot = lock(&self.slots).entry(runtime.id()).or_default().clone();
        if let Some(link) = slot.link() {
            return Ok(link);
        }
        let limit = self.timeouts.connect;
        let connecting = timer::timeout(limit, async {
            let _dialling = slot.dialling.lock().await;
            if let Some(link) = slot.link() {
                return Ok(link);
            }
            let link = Arc::new(self.dial(runtime).await?);
            *lock(&slot.link) = Some(link.clone());
            Ok(link)
        })?;
        connecting.await.unwrap_or_else(|_| {
            let text = format!("redis at {} could not be connected to within {limit:?}", self.server);
            Err(StoreError::new(StoreErrorKind::Timeout, text))
        })
    }

    /// A connection for somebody who cannot wait for one: the current runtime's if it works, else another runtime's that
    /// does, else any.
    pub(super) fn any_link(&self) -> Option<Arc<Link>> {
        let own = Handle::try_current().ok().map(|runtime| runtime.id());
        let slots = lock(&self.slots);
        let links = slots.values().filter_map(|slot| lock(&slot.link).clone());
        links.min_by_key(|link| (link.is_broken(), Some(link.runtime.id()) != own))
    }

    async fn dial(self: &Arc<Self>, runtime: Handle) -> Result<Link, StoreError> {
        // The small packets of a lock must not wait for each other, and what lies on a dead link must not be delivered
        // minutes later.
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let tcp = tcp.set_user_timeout(self.timeouts.operation * 4);
        let refused = |error| Fault::read(&error, &self.server).into_error();
        let client = self.client.get_connection_info().clone().set_tcp_settings(tcp);
        let client = Client::open(client).map_err(refused)?;
        // Our caller keeps the time: a timeout of the client's own would tell us less.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connection = without_panic(connection).await?.map_err(refused)?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        // A runtime that ends drops its tasks: the entry goes with them, before the runtime's id can be given out again.
        let entry = Entry { pool: Arc::downgrade(self), runtime: runtime.id(), generation };
        let watch = runtime.spawn(async move {
            let _entry = entry;
            std::future::pending::<()>().await;
        });
        Ok(Link {
            connection,
            server: self.server.clone(),
            runtime,
            generation,
            watch: watch.abort_handle(),
            timeout: self.timeouts.operation,
            broken: AtomicBool::new(false),
            plain_scripts: AtomicBool::new(false),
        })
    }
}

/// Removes a connection from its pool when its runtime ends.
struct Entry {
    pool: Weak<Pool>,
    runtime: Id,
    generation: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut slots = lock(&pool.slots);
        let ours = |slot: &Arc<Slot>| lock(&slot.link).as_ref().is_some_and(|link| link.generation == self.generation);
        let removed = if slots.get(&self.runtime).is_some_and(ours) { slots.remove(&self.runtime) } else { None };
        // The link's own drop must not run under the lock.
        drop(slots);
        drop(removed);
    }
}

/// One connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    server: String,
    /// The runtime that drives it.
    pub(super) runtime: Handle,
    generation: u64,
    watch: AbortHandle,
    timeout: Duration,
    broken: AtomicBool,
    /// Whether the server is older than the line of flags that our scripts begin with.
    plain_scripts: AtomicBool,
}

impl Link {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The server's address, for people to read.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a command and waits for the answer, for as long as an operation may take.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        self.in_time(self.ask_patiently(command)).await
    }

    /// Runs a script: by its hash, and by its text where the server has forgotten it or is too old for its flags.
    pub(super) async fn run(&self, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        self.in_time(self.run_patiently(script, command)).await
    }

    /// After a silence the connection is not used for anything new: what was sent stays in line before what its own
    /// clean-up sends, and everybody else dials anew.
    async fn in_time(&self, answer: impl Future<Output = Result<Value, Fault>>) -> Result<Value, Fault> {
        let answer = timer::timeout(self.timeout, answer).map_err(Fault::Silent)?;
        answer.await.unwrap_or_else(|_| {
            self.broken.store(true, Ordering::Relaxed);
            Err(Fault::Silent(StoreError::new(
                StoreErrorKind::Timeout,
                format!("redis at {} did not answer within {:?}", self.server, self.timeout),
            )))
        })
    }

    /// Sends a command and waits for the answer, or for the connection to break.
    pub(super) async fn ask_patiently(&self, command: &Cmd) -> Result<Value, Fault> {
        let mut connection = self.connection.clone();
        match connection.send_packed_command(command).await.and_then(Value::extract_error) {
            Ok(value) => Ok(value),
            Err(error) => {
                let fault = Fault::read(&error, &self.server);
                if matches!(fault, Fault::Silent(_)) {
                    self.broken.store(true, Ordering::Relaxed);
                }
                Err(fault)
            }
        }
    }

    /// As [`run`](Self::run), until the connection breaks.
    pub(super) async fn run_patiently(&self, script: &Script, command: impl Fn(&mut Cmd)) -> Result<Value, Fault> {
        let by = |name: &str, text: &str| {
            let mut by = redis::cmd(name);
            by.arg(text);
            command(&mut by);
            by
        };
        loop {
            let plain = self.plain_scripts.load(Ordering::Relaxed);
            let text = script.text(plain);
            let by_hash = self.ask_patiently(&by("EVALSHA", &text.sha)).await;
            let Err(fault) = by_hash else { return by_hash };
            if !fault.is_no_script() {
                return Err(fault);
            }
            let by_text = self.ask_patiently(&by("EVAL", &text.code)).await;
            match by_text {
                Err(fault) if fault.is_flags_unknown() && !plain => self.plain_scripts.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.watch.abort();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_without_credentials() {
        let timeouts = Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(1) };
        let pool = Pool::new(Client::open("redis://user:s3cret@db.example:6380/3").expect("a good URL"), timeouts);
        assert_eq!(pool.server(), "db.example:6380");
    }
}
