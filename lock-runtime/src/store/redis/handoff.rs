//! Waiting in line: hand-off from one process to the next, without polling.
//!
//! Beside a key there is a list, its line. A waiter's entry there says for how long the key is to be granted to it, where it is
//! to be called, and the value that will be stored: `1000 lock_runtime:<connection> <token> <metadata>`. Whoever gives the lock
//! back stores the first one's value, for that short time, and sends it a note. The waiter confirms that it is there, and has
//! the lock; until then it was only kept for it. Everything else that may happen is found out by asking: the place is asked for
//! again, by the same script, whenever a note may have got lost.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::cleanup::{self, Known};
use super::link::{self, Link};
use super::notes::{Call, Ghost};
use super::pool::Pool;
use super::reply::{self, Fault};
use super::script;
use super::{Naming, RedisStore, ValueOf, give_back_value};
use crate::clock::boottime;
use crate::error::StoreErrorKind;
use crate::key::LockKey;
use crate::store::waiter::{Called, Confirmed, Held, Place, Waiter};
use crate::store::{Claim, Done, StoreFuture, millis};

/// For how long a line is kept when nobody asks any more: far longer than anybody in it waits before asking again.
const KEPT: Duration = Duration::from_secs(60);

/// How many entries a line takes: one for each process that waits. Who comes later polls.
const CAPACITY: u32 = 1000;

/// How long a lock is kept for the waiter that it was granted to.
const WINDOW: Duration = Duration::from_secs(1);

/// As above, at most, for waiters who were too slow.
const LONGEST_WINDOW: Duration = Duration::from_secs(10);

/// How often a waiter may fail to confirm before it stands in nobody's way any more.
const FAILURES: u32 = 3;

/// A place in line, and all that may have been sent for it.
pub(super) struct InLine {
    store: RedisStore,
    claim: Claim,
    call: Arc<Call>,
    /// How long the lock is to be kept for us.
    window: Duration,
    failures: u32,
    /// The lock was granted to us, by the last answer.
    granted: bool,
    /// What may stand in line for us: more than one entry after our connection has changed, or our window.
    entries: Vec<String>,
    /// Where we are called. Not always where we ask: whoever has our turn may be on another runtime than the one before, and
    /// another channel would be another entry, at the end of the line.
    home: Option<Arc<Link>>,
    /// Where we asked last,
    link: Option<Arc<Link>>,
    /// and whether that was answered.
    answered: bool,
    /// An earlier connection that may still carry out what was sent.
    stray: Option<Arc<Link>>,
    settled: bool,
}

impl InLine {
    pub(super) fn new(store: &RedisStore, claim: Claim) -> Self {
        Self {
            store: store.clone(),
            call: store.nodes.any().notes.expect(&claim.token),
            window: WINDOW.min(claim.ttl),
            claim,
            failures: 0,
            granted: false,
            entries: Vec::new(),
            home: None,
            link: None,
            answered: true,
            stray: None,
            settled: false,
        }
    }

    /// What is sent from here on goes down `link`.
    fn move_to(&mut self, link: &Arc<Link>) {
        let before = self.link.replace(link.clone()).filter(|before| !Arc::ptr_eq(before, link));
        if let Some(before) = before.filter(|_| !self.answered) {
            self.stray = Some(before);
        }
    }

    /// Where we are called: as before, or else on `link`. `None`: nowhere.
    async fn settle_down(&mut self, link: &Arc<Link>) -> Result<Option<Arc<Link>>, Fault> {
        // In a cluster, the node that has the key calls its own callers, and no others.
        if let Some(home) = self.home.as_ref().filter(|home| !home.is_broken() && home.server() == link.server()) {
            return Ok(Some(home.clone()));
        }
        self.home = link.is_in_line(&self.claim.keys[0]).await?.then(|| link.clone());
        Ok(self.home.clone())
    }

    /// Our entry in line, called on `home`; noted before it is sent.
    fn entry(&mut self, home: &Link) {
        let [token, separator, metadata] = self.claim.value_parts();
        let entry =
            format!("{} {} {token}{separator}{metadata}", millis(self.window), home.channel(&self.claim.keys[0]));
        self.entries.retain(|earlier| *earlier != entry);
        self.entries.push(entry);
    }

    /// The lock was kept for us in vain: too short a time for us, or nobody listens where we are called. The next time others
    /// wait for longer, and at some time not any more.
    fn missed(&mut self) {
        self.failures += 1;
        self.home = None;
        self.window = self.window.saturating_mul(2).min(LONGEST_WINDOW.min(self.claim.ttl));
    }

    /// What the script answered; `granted`: the lock was granted to us before we asked.
    fn read(&mut self, link: &Link, answer: &Value, granted: bool) -> Result<Place, Fault> {
        let Value::Array(answer) = answer else { return Err(link.unknown_answer()) };
        let held = |left: i64, value: &[u8]| {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            (!value.is_empty()).then(|| Held::new(String::from_utf8_lossy(value).into_owned(), left))
        };
        match &**answer {
            [Value::Int(outcome @ (1 | 5))] => {
                if *outcome == 5 {
                    link.cannot_call();
                }
                self.granted = true;
                Ok(Place::Granted)
            }
            [Value::Int(outcome @ (2 | 4)), Value::Int(left), Value::BulkString(value)] => {
                if granted {
                    self.missed();
                }
                if *outcome == 4 {
                    return Ok(Place::none(held(*left, value)));
                }
                // The others have left with this answer.
                self.entries.drain(..self.entries.len().saturating_sub(1));
                Ok(Place::waiting(held(*left, value)))
            }
            [Value::Int(3)] => Ok(Place::foreign(self.claim.keys[0].clone())),
            _ => Err(link.unknown_answer()),
        }
    }

    async fn enqueue(&mut self) -> Result<Place, Fault> {
        let (nodes, keys) = (self.store.nodes.clone(), self.claim.keys.clone());
        let mut route = nodes.route(&keys[0]);
        loop {
            let link = route.link().await.map_err(Fault::Silent)?;
            match self.enqueue_on(&link).await {
                // The key may be at another node than its line, until the slot has arrived: whoever polls needs the key alone.
                Err(fault) if fault.is_on_the_move() => return Ok(Place::none(None)),
                Err(fault) if route.follows(&fault).await => {}
                place => return place,
            }
        }
    }

    async fn enqueue_on(&mut self, link: &Arc<Link>) -> Result<Place, Fault> {
        if self.failures >= FAILURES || link.is_asking() {
            return Ok(Place::none(None));
        }
        let Some(home) = self.settle_down(link).await? else { return Ok(Place::none(None)) };
        self.move_to(link);
        self.entry(&home);
        // Before the question: a call that comes with its answer is news.
        self.call.listen(home.wire());
        self.granted |= self.call.take_granted();
        self.answered = false;
        let answer = link
            .run(&script::ENQUEUE, |command| write_enqueue(command, &self.claim, &self.entries, link.naming()))
            .await;
        self.answered = !matches!(answer, Err(Fault::Silent(_)));
        match answer {
            Ok(answer) => {
                let granted = std::mem::take(&mut self.granted);
                self.read(link, &answer, granted)
            }
            // Somebody has to grant us a permission first, and whoever polls needs fewer.
            Err(Fault::Answered { error, .. }) if error.kind() == StoreErrorKind::Denied => {
                link.no_lines(&error);
                Ok(Place::none(None))
            }
            Err(fault) => Err(fault),
        }
    }

    async fn confirm_granted(
        &mut self,
        ttl: Duration,
        fence: Option<&LockKey>,
        spares: u32,
    ) -> Result<Option<Confirmed>, Fault> {
        let nodes = self.store.nodes.clone();
        let key = &self.claim.keys.clone()[0];
        let placed = fence.and_then(|counter| nodes.counter(key, counter));
        let fence = placed.as_ref().or(fence);
        let mut route = nodes.route(key);
        loop {
            let link = route.link().await.map_err(Fault::Silent)?;
            match self.confirm_on(&link, ttl, fence, spares).await {
                Err(fault) if route.follows(&fault).await => {}
                confirmed => return confirmed,
            }
        }
    }

    async fn confirm_on(
        &mut self,
        link: &Link,
        ttl: Duration,
        fence: Option<&LockKey>,
        spares: u32,
    ) -> Result<Option<Confirmed>, Fault> {
        let granted = std::mem::take(&mut self.granted) | self.call.take_granted();
        // The lease counts from here: before the request is sent.
        let sent = boottime();
        let answer =
            link.run(&script::CONFIRM, |command| write_confirm(command, &self.claim, ttl, fence, spares)).await;
        let answer = match answer {
            Err(fault) if fault.is_not_ours() => Ok(Value::Array(vec![Value::Int(0)])),
            Err(fault) => {
                self.granted = granted;
                Err(match fence {
                    Some(counter) => fault.of_fencing(counter),
                    None => fault,
                })
            }
            answer => answer,
        };
        let Value::Array(answer) = answer? else { return Err(link.unknown_answer()) };
        match (&*answer, fence) {
            ([Value::Int(0)], _) => {
                if granted {
                    self.missed();
                }
                Ok(None)
            }
            ([Value::Int(1)], None) => Ok(Some(Confirmed::new(sent, None))),
            ([Value::Int(1), Value::Int(fence), Value::Int(count)], Some(_)) => {
                Ok(Some(Confirmed::with_fences(sent, *fence, reply::spares(*count))))
            }
            ([Value::Int(3)], Some(counter)) => Err(Fault::unusable_counter(counter, link.server())),
            _ => Err(link.unknown_answer()),
        }
    }
}

impl Waiter for InLine {
    fn claim(&self) -> &Claim {
        &self.claim
    }

    fn ask(&mut self) -> StoreFuture<'_, Place> {
        Box::pin(async move { self.enqueue().await.map_err(Fault::into_error) })
    }

    fn called(&mut self) -> Called<'_> {
        Box::pin(self.call.told())
    }

    fn confirm<'a>(
        &'a mut self,
        ttl: Duration,
        fence: Option<&'a LockKey>,
        spares: u32,
    ) -> StoreFuture<'a, Option<Confirmed>> {
        Box::pin(async move { self.confirm_granted(ttl, fence, spares).await.map_err(Fault::into_error) })
    }

    fn settle(mut self: Box<Self>) -> Claim {
        // Notes are still expected: one that comes late is not to be taken for a ghost's, which would be given back.
        self.settled = true;
        self.claim.clone()
    }
}

/// Without the entries: they hold the token.
impl fmt::Debug for InLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InLine").field("claim", &self.claim).field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let RedisStore { nodes, pending, .. } = &self.store;
        nodes.any().notes.forget(&self.claim.token);
        if self.entries.is_empty() {
            return;
        }
        // Where an answer never came, the clean-up has to follow the request.
        let known = if self.answered { Known::Held } else { Known::Unknown };
        let ends = [(self.link.take(), known), (self.stray.take(), Known::Unknown)];
        for (link, known) in ends.into_iter().filter(|(link, _)| link.is_some()) {
            let entries = self.entries.clone();
            cleanup::start(nodes, link, pending, self.claim.clone(), entries, known, Done::nothing());
        }
    }
}

/// Gives back what was granted to somebody of whom nothing is known. If it fails, the grant ends by itself: soon.
pub(super) async fn give_back_ghost(pool: Arc<Pool>, Ghost { token, key }: Ghost) {
    let Ok(link) = pool.link().await else { return };
    let mut get = link::command("GET", 0);
    get.arg(&key);
    let Ok(Value::BulkString(value)) = link.ask(&get).await else { return };
    // The note has not all of the value. Compared with the whole of it, nothing is deleted that came later.
    let is_ghosts = value.strip_prefix(token.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b' ')));
    if is_ghosts {
        let _ = give_back_value(&link, &key, &value).await;
    }
}

/// What the script that takes a place in line is told.
pub(super) fn write_enqueue(command: &mut Cmd, claim: &Claim, entries: &[String], naming: Naming) {
    let Some((entry, earlier)) = entries.split_last() else { return };
    let key = &claim.keys[0];
    command.arg(2).arg(key.as_str()).arg(naming.line(key.as_str())).arg(ValueOf(claim));
    command.arg(entry).arg(millis(KEPT)).arg(CAPACITY).arg(earlier);
}

/// What the script that makes a lock of a grant is told.
pub(super) fn write_confirm(command: &mut Cmd, claim: &Claim, ttl: Duration, fence: Option<&LockKey>, spares: u32) {
    command.arg(1 + usize::from(fence.is_some())).arg(claim.keys[0].as_str());
    if let Some(counter) = fence {
        command.arg(counter.as_str());
    }
    command.arg(ValueOf(claim)).arg(millis(ttl));
    if fence.is_some() {
        command.arg(u64::from(spares) + 1);
    }
}
