//! Connections: one for each runtime, dialled anew when it breaks.
//!
//! A connection is driven by a task, and a task belongs to a runtime. A manager in a `static` meets many runtimes: one
//! `#[tokio::test]` after another, or actix's workers at the same time.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::address::Address;
use super::learned::Learned;
use super::link::{Greeted, Link};
use super::notes::Notes;
use super::pulse::Pulse;
use super::sentinel::{self, Looks};
use crate::error::{StoreError, StoreErrorKind};
use crate::holder::Token;
use crate::keeper::Background;
use crate::timer;

/// How a store's connections are made and used.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) timeouts: Timeouts,
    /// Nobody may run scripts there.
    pub(super) without_scripts: bool,
}

impl Settings {
    /// A second for everything.
    pub(super) fn new(address: Address) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(1) };
        Self { address, timeouts, without_scripts: false }
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
    pub(super) address: Address,
    pub(super) timeouts: Timeouts,
    pub(super) without_scripts: bool,
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
            without_scripts: settings.without_scripts,
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

    /// Of the same server, or of another node of the same cluster: with what is known of it in common.
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
        Settings { address: self.address.clone(), timeouts: self.timeouts, without_scripts: self.without_scripts }
    }

    /// The first manager that is built on the store lends its keeper. (Another one's would do as well.)
    pub(super) fn attach(&self, background: &Background) {
        let _ = self.background.set(background.clone());
    }

    pub(super) fn background(&self) -> Option<&Background> {
        self.background.get()
    }

    /// Whether the server is a node of a cluster.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.caller.is_some()
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

    async fn dial(self: &Arc<Self>, channel: &Arc<str>, runtime: Handle) -> Result<Arc<Link>, StoreError> {
        let (wire, pulse) = (Arc::default(), Pulse::new(self.timeouts.operation));
        let limit = self.timeouts.connect;
        let address = self.address.locate(limit, &runtime).await?;
        let server = address.name().to_owned();
        let (connection, driver, protocol) = self.greet(&address, &wire, &pulse, &runtime).await?;
        let is_pushed_to = protocol.supports_resp3();
        let looks = self.address.sentinels().map(|_| Looks::new(limit));
        let own = runtime.clone();
        let greeted = Greeted { connection, driver, server, runtime, pulse, wire, is_pushed_to, looks: looks.clone() };
        let link = Arc::new(Link::new(self, greeted, channel.clone()));
        if let Some(looks) = looks {
            link.check_role().await?;
            address.follow(&link)?;
            let (link, watched) = (Arc::downgrade(&link), self.address.clone());
            own.clone().spawn(async move { sentinel::watch(&link, &watched, &looks, limit, &own).await });
        }
        Ok(link)
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

/// Locks a mutex. No code that can panic runs under these, so a poisoned one still holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
