//! Notes: what the server pushes to those who wait in line. A note is a hint, and nothing is believed because of one.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::holder::Token;

/// Whom to call, by the tokens of their claims: on all connections of a store.
#[derive(Debug, Default)]
pub(super) struct Notes {
    calls: Mutex<HashMap<Box<str>, Arc<Call>>>,
    /// How many there are, for a look that costs nothing.
    count: AtomicUsize,
}

/// What is told to one waiter; and, once its claim has become a lock, that a note which comes late has a reader.
#[derive(Debug, Default)]
pub(super) struct Call {
    bell: Notify,
    granted: AtomicBool,
    /// The connection on which it is to be called.
    wire: Mutex<Option<Arc<Wire>>>,
}

/// Whether a connection still works: known to whoever reads from it, too.
#[derive(Debug, Default)]
pub(super) struct Wire {
    broken: AtomicBool,
    /// Answers on it are not those of the requests that they come to.
    out_of_order: AtomicBool,
    /// The task that drives it.
    driver: OnceLock<AbortHandle>,
}

/// A grant to somebody of whom nothing is known: the request for it was carried out after its own clean-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ghost {
    pub(super) token: String,
    pub(super) key: String,
}

impl Notes {
    /// Expects notes for `token`, until it is [forgotten](Self::forget).
    pub(super) fn expect(&self, token: &Token) -> Arc<Call> {
        let call = Arc::new(Call::default());
        let mut calls = self.lock();
        calls.insert(token.proof().into(), call.clone());
        self.count.store(calls.len(), Ordering::Release);
        call
    }

    /// The claim was given back: a note that comes from here on is for nobody.
    pub(super) fn forget(&self, token: &Token) {
        // Most locks were free, and never waited for.
        if self.count.load(Ordering::Acquire) > 0 {
            let mut calls = self.lock();
            calls.remove(token.proof());
            self.count.store(calls.len(), Ordering::Release);
        }
    }

    /// What the server, or the client, has to say about `wire`. Called by whoever reads from the connection: it may not take long.
    pub(super) fn read(&self, wire: &Arc<Wire>, push: &PushInfo) -> Option<Ghost> {
        match push.kind {
            PushKind::Disconnection => self.broke(wire),
            // We never ask for that: the node has given up the slot. See `Link::check_order`.
            PushKind::SUnsubscribe => {
                wire.mix_up();
                self.broke(wire);
            }
            PushKind::Message | PushKind::SMessage => return self.note(push.data.get(1)?),
            _ => {}
        }
        None
    }

    fn note(&self, note: &Value) -> Option<Ghost> {
        let Value::BulkString(note) = note else { return None };
        let (token, key) = str::from_utf8(note).ok()?.split_once(' ')?;
        let call = self.lock().get(token).cloned();
        if let Some(call) = call {
            call.granted.store(true, Ordering::Release);
            call.bell.notify_one();
            return None;
        }
        // Anybody may write to a channel. None of ours has another form.
        Token::is_proof(token).then(|| Ghost { token: token.to_owned(), key: key.to_owned() })
    }

    /// The connection does not work any more: whoever is to be called on it has to ask on another one.
    pub(super) fn broke(&self, wire: &Arc<Wire>) {
        if wire.broken.swap(true, Ordering::AcqRel) {
            return;
        }
        let calls: Vec<_> = self.lock().values().filter(|call| call.is_on(wire)).cloned().collect();
        // Wakers are foreign code: never under the lock.
        for call in calls {
            call.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Call>>> {
        // No code that can panic runs under this lock.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Listens on `wire` from here on, for what has not been told yet.
    pub(super) fn listen(&self, wire: &Arc<Wire>) {
        *self.wire() = Some(wire.clone());
        // What was told before is answered by what is asked now.
        pin!(self.bell.notified()).as_mut().enable();
    }

    /// Resolves when something was told.
    pub(super) async fn told(&self) {
        self.bell.notified().await;
    }

    /// Whether a grant was told of, since this was asked last.
    pub(super) fn take_granted(&self) -> bool {
        self.granted.swap(false, Ordering::AcqRel)
    }

    fn is_on(&self, wire: &Arc<Wire>) -> bool {
        self.wire().as_ref().is_some_and(|own| Arc::ptr_eq(own, wire))
    }

    fn wire(&self) -> MutexGuard<'_, Option<Arc<Wire>>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// Has whoever asks on it told, when it is to be given up.
    pub(super) fn is_driven_by(&self, driver: AbortHandle) {
        let _ = self.driver.set(driver);
    }

    /// Before any answer that comes to the wrong request, and whoever waits for one that never comes is told at once.
    fn mix_up(&self) {
        self.out_of_order.store(true, Ordering::Release);
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }

    #[cfg(feature = "cluster")]
    pub(super) fn is_out_of_order(&self) -> bool {
        self.out_of_order.load(Ordering::Acquire)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Waker};

    use super::*;

    fn message(text: &str) -> PushInfo {
        let data = vec![Value::BulkString(b"channel".to_vec()), Value::BulkString(text.into())];
        PushInfo { kind: PushKind::Message, data }
    }

    fn is_told(call: &Call) -> bool {
        pin!(call.told()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_note_calls_the_one_that_it_names() {
        let (notes, wire) = (Notes::default(), Arc::new(Wire::default()));
        let (token, other) = (Token::fresh(), Token::fresh());
        let (call, silent) = (notes.expect(&token), notes.expect(&other));
        let note = message(&format!("{} a key", token.as_str()));
        assert_eq!(notes.read(&wire, &note), None);
        assert!(call.take_granted() && is_told(&call));
        assert!(!call.take_granted() && !is_told(&call), "once");
        assert!(!silent.take_granted() && !is_told(&silent));
        // Asked anew: what was told before is of no interest.
        assert_eq!(notes.read(&wire, &note), None);
        call.listen(&wire);
        assert!(!is_told(&call));
    }

    #[test]
    fn a_note_for_nobody_is_a_ghost() {
        let (notes, wire) = (Notes::default(), Arc::new(Wire::default()));
        let token = Token::fresh();
        let note = message(&format!("{} a key", token.as_str()));
        let ghost = Ghost { token: token.as_str().to_owned(), key: "a key".to_owned() };
        assert_eq!(notes.read(&wire, &note).as_ref(), Some(&ghost));
        notes.expect(&token);
        assert_eq!(notes.read(&wire, &note), None);
        notes.forget(&token);
        assert_eq!(notes.read(&wire, &note), Some(ghost));
        for nonsense in ["", "key", " key", "floor key", "0123 key", &format!("{}0 key", token.as_str())] {
            assert_eq!(notes.read(&wire, &message(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn whoever_listens_is_told_once_that_the_connection_broke() {
        let notes = Notes::default();
        let (wire, other) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
        let (call, silent) = (notes.expect(&Token::fresh()), notes.expect(&Token::fresh()));
        call.listen(&wire);
        silent.listen(&other);
        let end = PushInfo { kind: PushKind::Disconnection, data: Vec::new() };
        assert_eq!(notes.read(&wire, &end), None);
        assert!(wire.is_broken() && !other.is_broken());
        assert!(is_told(&call) && !call.take_granted());
        notes.broke(&wire);
        assert!(!is_told(&call) && !is_told(&silent));
    }
}
