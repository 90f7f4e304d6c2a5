//! What a worker notes of its bodies while they are polled.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::future::Future as _;
use std::io::Write as _;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lock_runtime::{LockGuard, LockWatch, LostCause};
use lock_tests::machine_time;

use super::{Call, Way};
use crate::record::{HoldId, Outcome, Record, Standing};
use crate::watched::{self, Watched};

/// How often a body that goes on says so.
const SIGN_OF_LIFE: Duration = Duration::from_millis(20);

thread_local! {
    /// When the library looked at the clock before the poll that is going on, on this thread.
    pub(super) static POLL: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Notes the polls of one body. Dropped with it.
pub(super) struct Noted {
    log: Arc<Log>,
    store: Watched,
    watch: LockWatch,
    call: Call,
    id: HoldId,
    fence: Option<i64>,
    token: String,
    /// It may be polled without the lock.
    proceeding: bool,
    /// The last look at the clock before a poll.
    look: Duration,
    /// The end of the last poll.
    at: Duration,
    /// When its last line was written; `None` before the first.
    written: Option<Duration>,
}

impl Noted {
    /// The body of `call` under `guard`, before its first poll.
    pub(super) fn new(log: Arc<Log>, store: Watched, guard: &LockGuard, call: &Call, id: HoldId) -> Self {
        Self {
            log,
            store,
            watch: guard.watch(),
            call: call.clone(),
            id,
            fence: guard.fence(),
            token: guard.token().as_str().to_owned(),
            proceeding: matches!(call.way, Way::Proceeding),
            look: Duration::ZERO,
            at: Duration::ZERO,
            written: None,
        }
    }

    pub(super) fn begin_poll(&mut self) {
        let look = watched::take_look().unwrap_or_else(|| {
            self.unexpected("a body was polled without a look at the clock before it");
            machine_time()
        });
        POLL.set(look);
        if self.proceeding && !self.watch.is_held() {
            return;
        }
        self.look = look;
        match self.written {
            None => {
                let (id, key, fence, ttl) = (self.id, self.call.key, self.fence, self.call.ttl);
                let Some((sent, answered)) = self.store.won(&self.token) else {
                    return self.unexpected("a body began under a token that the store does not know");
                };
                let asked = self.call.asked;
                self.write(&Record::Began { id, key, fence, ttl, asked, sent, answered, look });
            }
            Some(written) if look.saturating_sub(written) > SIGN_OF_LIFE => {
                self.write(&Record::Polled { id: self.id, look });
            }
            Some(_) => {}
        }
    }

    pub(super) fn end_poll(&mut self) {
        self.at = machine_time();
    }

    fn write(&mut self, record: &Record) {
        self.log.write(record);
        self.written = Some(machine_time());
    }

    fn unexpected(&self, text: &str) {
        let (key, asked, outcome) = (self.call.key, self.call.asked, Outcome::Unexpected);
        self.log.write(&Record::Called { key, asked, returned: machine_time(), outcome, text: text.to_owned() });
    }

    fn standing(&self) -> Standing {
        if self.watch.is_held() {
            return Standing::Held;
        }
        let lost = pin!(self.watch.lost());
        match lost.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(LostCause::Expired) => Standing::Expired,
            Poll::Ready(LostCause::Gone) => Standing::Gone,
            // It was not a moment ago, and what is lost stays lost.
            Poll::Pending | Poll::Ready(_) => Standing::Given,
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if self.written.is_some() {
            let standing = self.standing();
            let (id, look, at) = (self.id, self.look, self.at);
            self.log.write(&Record::Ended { id, look, at, over: machine_time(), standing });
        }
    }
}

/// A file of lines.
pub(crate) struct Log(Mutex<File>);

impl Log {
    pub(crate) fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create_new(true).append(true).open(path).expect("a log of its own");
        Self(Mutex::new(file))
    }

    /// In one call: a line is there, or it is not.
    pub(crate) fn write(&self, record: &Record) {
        let line = format!("{record}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).expect("room for the log");
    }
}
