//! The store of the workers: the real one, with a note of what the library does with it; or a broken one, for the controls.

mod line;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lock_runtime::store::redis::RedisStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::store::waiter::Waiter;
use lock_runtime::store::{Attempt, Claim, Done, Extension, RenewFuture, Renewal, Store, StoreFuture};
use lock_runtime::{Background, LockKey, Moment, SetupError, StoreError, StoreErrorKind};
use lock_tests::machine_time;
use redis::{Client, RedisError, cmd};

use self::line::InLine;
use crate::schedule::Fault;
use crate::worker::Log;

/// What is wrong with a store: most are bugs that somebody has shipped, and each has to fail the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Gives back by `DEL`, whoever holds the lock by now.
    BareDelete,
    /// Counts leases from the answer and not from the request.
    LeaseFromReply,
    /// One token for the whole process, and not one for each hold.
    TokenReused,
    /// A clock that loses a third of the time.
    SlowClock,
    /// Renews by `SET`, whoever holds the lock by now.
    RenewalSets,
    /// Always the same fencing token.
    ConstantFence,
    /// The key outlives its lease by far.
    LongKey,
    /// Leaves a key behind for each hold.
    Litter,
    /// Takes every call for a lock, and does not ask the server.
    Unconfirmed,
    /// Makes a lock of every call by `SET`, whoever holds the lock by now.
    ConfirmationSets,
    /// Has no line: whoever waits polls.
    NoLine,
    /// Asks one of the servers, and not a majority of them.
    NoMajority,
}

impl Broken {
    /// Every one, by the name that the command line knows.
    pub const ALL: [(&'static str, Self); 12] = [
        ("bare-delete", Self::BareDelete),
        ("lease-from-reply", Self::LeaseFromReply),
        ("token-reused", Self::TokenReused),
        ("slow-clock", Self::SlowClock),
        ("renewal-sets", Self::RenewalSets),
        ("constant-fence", Self::ConstantFence),
        ("long-key", Self::LongKey),
        ("litter", Self::Litter),
        ("unconfirmed", Self::Unconfirmed),
        ("confirmation-sets", Self::ConfirmationSets),
        ("no-line", Self::NoLine),
        ("no-majority", Self::NoMajority),
    ];

    /// The faults that bring it out, where not just anything does.
    #[must_use]
    pub fn faults(self) -> &'static [Fault] {
        match self {
            // The late release of a lock that was lost meanwhile.
            Self::BareDelete | Self::TokenReused => &[Fault::ClientStopped, Fault::RequestsDelayed],
            Self::LeaseFromReply => &[Fault::RepliesDelayed],
            // What it brings back is believed in for longer than any loss of data explains.
            // And two who hold a lock at once are told apart by their tokens.
            Self::RenewalSets | Self::ConstantFence => &[Fault::KeyDeleted],
            Self::LongKey => &[Fault::ClientKilled],
            // A connection that ends is news too.
            Self::Unconfirmed | Self::ConfirmationSets => &[Fault::ListenersKilled],
            Self::SlowClock | Self::Litter | Self::NoLine | Self::NoMajority => &[],
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, broken)| broken == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Broken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, broken)| *broken);
        known.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is not one of {}", names.join(", "))
        })
    }
}

thread_local! {
    /// When the library looked at the clock last, on this thread, before it polled a body.
    static LOOK: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// When the library looked at the clock, on this thread and since this was asked last.
pub(crate) fn take_look() -> Option<Duration> {
    LOOK.take()
}

/// When an acquisition was under way: before its request was sent, and when its answer was there.
pub(crate) type Won = (Duration, Duration);

/// A store that is watched: a [`RedisStore`], or a [`Redlock`] over several. A cheap clone of a handle.
#[derive(Clone)]
pub struct Watched {
    store: Arc<dyn Store>,
    broken: Option<Broken>,
    /// For what a store that is not broken would not do. None where there is no one server to do it at.
    raw: Option<Client>,
    /// The claim whose token is used again and again.
    reused: Arc<Claim>,
    started: Duration,
    log: Arc<Log>,
    won: Arc<Mutex<HashMap<String, Won>>>,
}

impl Watched {
    /// A store at `urls`, on a majority of the servers if there are several. What becomes of its places in line is written to `log`.
    ///
    /// # Errors
    ///
    /// When a URL cannot be understood.
    pub(crate) fn open(urls: &[String], broken: Option<Broken>, log: Arc<Log>) -> Result<Self, SetupError> {
        let mut nodes = urls.iter().map(|url| RedisStore::open(url)).collect::<Result<Vec<_>, _>>()?;
        if broken == Some(Broken::NoMajority) {
            let one = usize::try_from(std::process::id()).unwrap_or_default() % nodes.len();
            nodes = vec![nodes.swap_remove(one)];
        }
        let store: Arc<dyn Store> =
            if let [one] = &*nodes { Arc::new(one.clone()) } else { Arc::new(Redlock::new(nodes)?) };
        let raw = Client::open(urls[0].as_str()).ok();
        let reused = Claim::new("reused".into(), Duration::from_secs(1), "".into());
        let (reused, started) = (Arc::new(reused), machine_time());
        Ok(Self { store, broken, raw, reused, started, log, won: Arc::default() })
    }

    /// When the claim with this token was won.
    pub(crate) fn won(&self, token: &str) -> Option<Won> {
        self.won.lock().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }

    fn forget(&self, claim: &Claim) {
        self.won.lock().unwrap_or_else(PoisonError::into_inner).remove(claim.token.as_str());
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// The claim as the server is shown it.
    fn shown(&self, claim: &Claim) -> Claim {
        let mut shown = claim.clone();
        if self.is(Broken::TokenReused) {
            shown.token = self.reused.token.clone();
        }
        shown
    }

    /// The moment that a slow clock would have shown then.
    fn clock(&self, moment: Moment) -> Moment {
        if !self.is(Broken::SlowClock) {
            return moment;
        }
        let gone = moment.since_origin().saturating_sub(self.started);
        Moment::from_origin(self.started + gone * 2 / 3)
    }

    /// Sends one command on a connection of its own.
    async fn raw(&self, words: Vec<String>) -> Result<i64, StoreError> {
        let client = self.raw.clone().expect("this store can be broken on single servers only");
        let told = tokio::task::spawn_blocking(move || {
            let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
            connection.set_read_timeout(Some(Duration::from_secs(1)))?;
            let (name, arguments) = words.split_first().expect("a command");
            // Not every answer is a number.
            let answer: redis::Value = cmd(name).arg(arguments).query(&mut connection)?;
            Ok::<_, RedisError>(if let redis::Value::Int(number) = answer { number } else { 0 })
        });
        let unanswered = |text: String| StoreError::new(StoreErrorKind::Connection, text);
        let told = told.await.map_err(|error| unanswered(error.to_string()))?;
        told.map_err(|error| unanswered(error.to_string()))
    }

    async fn delete(&self, claim: &Claim) -> Result<bool, StoreError> {
        let keys = claim.keys.iter().map(|key| key.as_str().to_owned());
        Ok(self.raw(["DEL".to_owned()].into_iter().chain(keys).collect()).await? > 0)
    }

    /// Writes the claim's value, whatever is there.
    async fn set(&self, claim: &Claim, ttl: Duration) -> Result<bool, StoreError> {
        let (key, ttl) = (claim.keys[0].as_str().to_owned(), ttl.as_millis().to_string());
        self.raw(vec!["SET".to_owned(), key, claim.value(), "PX".to_owned(), ttl]).await?;
        Ok(true)
    }

    async fn take(&self, claim: &Claim) -> Result<Attempt, StoreError> {
        let before = machine_time();
        let attempt = self.store.acquire(&self.shown(claim)).await?;
        let Attempt::Acquired { sent, fence, spare_fences, .. } = attempt else { return Ok(attempt) };
        Ok(match self.has_won(claim, before, sent, fence).await? {
            (sent, Some(fence)) => Attempt::acquired_with_fences(sent, fence, self.spares(spare_fences)),
            (sent, None) => Attempt::acquired(sent),
        })
    }

    /// How many fencing tokens more the library is told of.
    fn spares(&self, given: u32) -> u32 {
        // All are alike, and so are those that would go from hand to hand.
        if self.is(Broken::ConstantFence) { 0 } else { given }
    }

    /// Takes note that the claim was won, by a request that was sent after `before`. What the library is told of it.
    async fn has_won(
        &self,
        claim: &Claim,
        before: Duration,
        sent: Moment,
        fence: Option<i64>,
    ) -> Result<(Moment, Option<i64>), StoreError> {
        let won = (before, machine_time());
        self.won.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.token.as_str().to_owned(), won);
        let sent = if self.is(Broken::LeaseFromReply) { self.now() } else { self.clock(sent) };
        if self.is(Broken::LongKey) {
            let key = claim.keys[0].as_str().to_owned();
            self.raw(vec!["PEXPIRE".to_owned(), key, "60000".to_owned()]).await?;
        }
        if self.is(Broken::Litter) {
            let key = format!("litter:{}", claim.token.as_str());
            self.raw(vec!["SET".to_owned(), key, String::new()]).await?;
        }
        Ok((sent, fence.map(|fence| if self.is(Broken::ConstantFence) { 1 } else { fence })))
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("store", &self.store).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Store for Watched {
    fn now(&self) -> Moment {
        // Before the real look: a body that is polled by it is polled later than this.
        LOOK.set(Some(machine_time()));
        self.clock(self.store.now())
    }

    fn fences(&self) -> bool {
        true
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        Box::pin(self.take(claim))
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let shown = self.shown(claim);
            self.store.extend(&shown, ttl, extension).await
        })
    }

    fn renew<'a>(&'a self, renewals: &'a [Renewal<'a>], within: Duration) -> RenewFuture<'a> {
        Box::pin(async move {
            if self.is(Broken::RenewalSets) {
                let mut answers = Vec::new();
                for renewal in renewals {
                    answers.push(self.set(renewal.claim, renewal.ttl).await);
                }
                return answers;
            }
            let shown: Vec<_> = renewals.iter().map(|renewal| (self.shown(renewal.claim), renewal.ttl)).collect();
            let renewals: Vec<_> = shown.iter().map(|(claim, ttl)| Renewal::new(claim, *ttl)).collect();
            self.store.renew(&renewals, within).await
        })
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(async move {
            let shown = self.shown(claim);
            self.store.remaining(&shown).await
        })
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            self.forget(claim);
            if self.is(Broken::BareDelete) {
                return self.delete(claim).await;
            }
            let shown = self.shown(claim);
            self.store.release(&shown).await
        })
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.forget(&claim);
        if !self.is(Broken::BareDelete) {
            return self.store.abandon(self.shown(&claim), done);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let own = self.clone();
            runtime.spawn(async move {
                // What comes of it is all the same to who deletes like that.
                let _ = own.delete(&claim).await;
                drop(done);
            });
        }
    }

    fn keeps_line(&self) -> bool {
        // Where there is one, notes are told apart by their tokens.
        self.store.keeps_line() && !self.is(Broken::TokenReused) && !self.is(Broken::NoLine)
    }

    fn waiter(&self, claim: Claim) -> Option<Box<dyn Waiter>> {
        let waiter = self.store.waiter(claim).filter(|_| self.keeps_line())?;
        Some(Box::new(InLine::new(waiter, self.clone())))
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.drain()
    }

    fn self_test<'a>(&'a self, probe: &'a LockKey) -> StoreFuture<'a, ()> {
        self.store.self_test(probe)
    }

    fn flaw(&self, keys: &[LockKey]) -> Option<String> {
        self.store.flaw(keys)
    }

    fn attach(&self, background: &Background) {
        self.store.attach(background);
    }
}
