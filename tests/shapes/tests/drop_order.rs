//! The order in which things end: the body's locals and the arguments it uses go before the release is sent, on every path, so
//! that a transaction is rolled back under the lock and not after it.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use lock_runtime::{LockError, LockManager, LostCause, distributed_lock};
use lock_shape_tests::{Recorder, Witness, note, noted, recorded, while_busy};
use tokio::time::{sleep, timeout};

#[derive(Clone, Copy, Debug)]
enum End {
    Tail,
    Return,
    QuestionMark,
    Panic,
    PanicLate,
    Never,
}

#[derive(Debug, PartialEq)]
enum AppError {
    Body,
    Lost { completed: bool },
    Lock(String),
}

impl From<LockError> for AppError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Lost { cause: LostCause::Expired, completed, .. } => Self::Lost { completed },
            other => Self::Lock(other.to_string()),
        }
    }
}

/// Ends by `end`, in a frame of its own with a local of its own, as a transaction in a helper would be.
async fn end_by(end: End) -> Result<(), AppError> {
    let _inner = Witness("local of a callee");
    match end {
        End::Tail | End::Return => Ok(()),
        End::QuestionMark => Err(AppError::Body),
        End::Panic => panic!("of the body"),
        End::PanicLate => {
            sleep(Duration::from_millis(1)).await;
            panic!("of the body, late")
        }
        End::Never => pending().await,
    }
}

#[distributed_lock(key = "d", ttl = "1s")]
async fn free_function(used: Witness, _unused: Witness, _: Witness, end: End) -> Result<u8, AppError> {
    let _first = Witness("first local");
    note(format!("body with {}", used.name()));
    let _second = Witness("second local");
    end_by(end).await?;
    if let End::Return = end {
        return Ok(1);
    }
    Ok(2)
}

struct Account {
    witness: Witness,
}

impl Account {
    #[distributed_lock(key = "d", ttl = "1s", guard = lock)]
    async fn method(self, used: Witness, _unused: Witness, _: Witness, end: End) -> Result<u8, AppError> {
        let _first = Witness("first local");
        note(format!("body with {} and {}", used.name(), self.witness.name()));
        let _second = Witness("second local");
        assert!(lock.remaining() > Duration::ZERO);
        end_by(end).await?;
        if let End::Return = end {
            return Ok(1);
        }
        Ok(2)
    }
}

#[async_trait]
trait Ledger {
    async fn boxed(self, used: Witness, end: End) -> Result<u8, AppError>;
}

#[async_trait]
impl Ledger for Account {
    #[distributed_lock(key = "d", ttl = "1s")]
    async fn boxed(self, used: Witness, end: End) -> Result<u8, AppError> {
        let _first = Witness("first local");
        note(format!("body with {}", used.name()));
        end_by(end).await?;
        if let End::Return = end {
            return Ok(1);
        }
        Ok(2)
    }
}

const USED: &str = "used argument";
const UNUSED: &str = "unused argument";
const NAMELESS: &str = "nameless argument";

fn free(end: End) -> impl Future<Output = Result<u8, AppError>> {
    free_function(Witness(USED), Witness(UNUSED), Witness(NAMELESS), end)
}

fn method(end: End) -> impl Future<Output = Result<u8, AppError>> {
    Account { witness: Witness("self") }.method(Witness(USED), Witness(UNUSED), Witness(NAMELESS), end)
}

/// What must have gone when the release was sent, in this order, and what goes later.
struct Order {
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const OF_THE_FREE_FUNCTION: Order = Order {
    before: &["body with used argument", "local of a callee", "second local", "first local", USED],
    after: &[NAMELESS, UNUSED],
};

const OF_THE_METHOD: Order = Order {
    before: &["body with used argument and self", "local of a callee", "second local", "first local", USED, "self"],
    after: &[NAMELESS, UNUSED],
};

const OF_THE_BOXED_METHOD: Order =
    Order { before: &["body with used argument", "local of a callee", "first local", USED, "self"], after: &[] };

impl Order {
    /// The journal, if the lock is given back by `release` or by `abandon`.
    ///
    /// The body takes its arguments into its future in an order of the compiler's, and drops them in it: that is not asked.
    fn assert(&self, given_back: &str, path: &str) {
        let noted = noted();
        let given_back = format!("{given_back} d");
        let position = noted.iter().position(|entry| *entry == given_back);
        let Some(position) = position else { panic!("{path}: no `{given_back}` in {noted:#?}") };
        let sorted = |entries: &[String]| {
            let mut entries: Vec<_> =
                entries.iter().map(|entry| entry.trim_start_matches("drop ").to_owned()).collect();
            entries.sort();
            entries
        };
        let expected = |entries: &[&str]| {
            let mut entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
            entries.sort();
            entries
        };
        assert_eq!(noted[0], "lock d", "{path}: {noted:#?}");
        assert_eq!(sorted(&noted[1..position]), expected(self.before), "{path}: before the release: {noted:#?}");
        // A body that ends by itself ends as a function does: the locals in reverse, then what it was given.
        let locals: Vec<_> = noted[1..position].iter().filter(|entry| entry.contains("local")).collect();
        let in_order: Vec<_> = self.before.iter().filter(|entry| entry.contains("local")).collect();
        assert!(locals.iter().zip(in_order).all(|(noted, local)| noted.ends_with(local)), "{path}: {noted:#?}");
        assert_eq!(sorted(&noted[position + 1..]), expected(self.after), "{path}: after the release: {noted:#?}");
    }
}

/// Promise: on return and on `?`, by every way out of the body, everything of the body is dropped before the release is sent;
/// arguments that it does not use go after it. Red when `run` gives the lock back before it empties the slot.
#[tokio::test(start_paused = true)]
async fn on_return_and_question_mark() {
    for (end, expected) in [(End::Tail, Ok(2)), (End::Return, Ok(1)), (End::QuestionMark, Err(AppError::Body))] {
        drop(noted());
        assert_eq!(recorded().scope(free(end)).await, expected);
        OF_THE_FREE_FUNCTION.assert("release", &format!("free function, {end:?}"));
        assert_eq!(recorded().scope(method(end)).await, expected);
        OF_THE_METHOD.assert("release", &format!("method, {end:?}"));
        let account = Account { witness: Witness("self") };
        assert_eq!(recorded().scope(account.boxed(Witness(USED), end)).await, expected);
        OF_THE_BOXED_METHOD.assert("release", &format!("boxed method, {end:?}"));
    }
}

/// Promise: a panic comes through to the caller as it is; and on its way everything of the body is dropped before the lock is
/// given back.
#[tokio::test(start_paused = true)]
async fn on_panic() {
    for (end, text) in [(End::Panic, "of the body"), (End::PanicLate, "of the body, late")] {
        drop(noted());
        let panic = tokio::spawn(recorded().scope(free(end))).await.expect_err("it panics").into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&text));
        OF_THE_FREE_FUNCTION.assert("abandon", &format!("free function, {end:?}"));
        let panic = tokio::spawn(recorded().scope(method(end))).await.expect_err("it panics").into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&text));
        OF_THE_METHOD.assert("abandon", &format!("method, {end:?}"));
    }
}

/// Promise: when the caller goes away, everything of the body is dropped before the lock is given back.
#[tokio::test(start_paused = true)]
async fn on_cancellation() {
    drop(noted());
    timeout(Duration::from_millis(100), recorded().scope(free(End::Never))).await.expect_err("it takes for ever");
    OF_THE_FREE_FUNCTION.assert("abandon", "free function");
    timeout(Duration::from_millis(100), recorded().scope(method(End::Never))).await.expect_err("it takes for ever");
    OF_THE_METHOD.assert("abandon", "method");
    let task = tokio::spawn(recorded().scope(free(End::Never)));
    sleep(Duration::from_millis(100)).await;
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    OF_THE_FREE_FUNCTION.assert("abandon", "free function in a task");
}

/// Promise: when the lease ends, the body is dropped at its `.await`, everything of it before the lock is given back, and the
/// caller is told.
#[tokio::test(start_paused = true)]
async fn on_loss() {
    drop(noted());
    assert_eq!(recorded().scope(free(End::Never)).await, Err(AppError::Lost { completed: false }));
    OF_THE_FREE_FUNCTION.assert("abandon", "free function");
    assert_eq!(recorded().scope(method(End::Never)).await, Err(AppError::Lost { completed: false }));
    OF_THE_METHOD.assert("abandon", "method");
}

/// Promise: the body is dropped at the very end of its lease, and not when its caller looks next.
#[tokio::test(start_paused = true)]
async fn on_loss_at_once() {
    let locks = recorded();
    drop(noted());
    let mut call = pin!(locks.scope(free(End::Never)));
    poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    tokio::time::advance(Duration::from_secs(2)).await;
    // One poll, long after: it must not reach the body any more.
    assert_eq!(call.await, Err(AppError::Lost { completed: false }));
    OF_THE_FREE_FUNCTION.assert("abandon", "free function");
}

/// Promise: with `release = "background"` the order is the same.
#[tokio::test(start_paused = true)]
async fn in_the_background() {
    #[distributed_lock(key = "d", ttl = "1s", release = "background")]
    async fn background(used: Witness) -> Result<&'static str, AppError> {
        let _local = Witness("local");
        Ok(used.name())
    }
    drop(noted());
    assert_eq!(recorded().scope(background(Witness(USED))).await, Ok(USED));
    assert_eq!(noted(), ["lock d", "drop local", "drop used argument", "abandon d"]);
}

/// Promise: an argument of which the body uses a part goes before the release as a whole. An `async move` block takes the part
/// alone, and copies it if it can be copied, unless it is told otherwise.
#[tokio::test(start_paused = true)]
async fn an_argument_that_is_used_in_part() {
    struct Pair {
        first: Witness,
        #[expect(dead_code, reason = "it is there to be dropped")]
        second: Witness,
        number: u8,
    }

    impl Pair {
        #[distributed_lock(key = "d", ttl = "1s")]
        async fn method(self) -> Result<u8, AppError> {
            note("body");
            Ok(self.number)
        }
    }

    fn pair() -> Pair {
        Pair { first: Witness("first"), second: Witness("second"), number: 1 }
    }

    #[distributed_lock(key = "d", ttl = "1s")]
    async fn of_a_field(pair: Pair) -> Result<u8, AppError> {
        drop(pair.first);
        Ok(1)
    }
    #[distributed_lock(key = "d", ttl = "1s")]
    async fn of_a_copied_field(used: Witness) -> Result<u8, AppError> {
        note(format!("body with {}", used.0));
        Ok(1)
    }
    drop(noted());
    recorded().scope(of_a_field(pair())).await.expect("free");
    assert_eq!(noted(), ["lock d", "drop first", "drop second", "release d"]);
    recorded().scope(of_a_copied_field(Witness(USED))).await.expect("free");
    assert_eq!(noted(), ["lock d", "body with used argument", "drop used argument", "release d"]);
    recorded().scope(pair().method()).await.expect("free");
    assert_eq!(noted(), ["lock d", "body", "drop first", "drop second", "release d"]);
}

/// Promise: `on_error` is called when the body, and what it took with it, is gone.
#[tokio::test(start_paused = true)]
async fn before_on_error() {
    #[distributed_lock(key = "d", ttl = "1s", on_error = |error| note(format!("on_error {}", error.is_lost())))]
    async fn lost(used: Witness) {
        let _local = Witness("local");
        note(used.name());
        pending::<()>().await;
    }
    drop(noted());
    recorded().scope(lost(Witness(USED))).await;
    let order = ["lock d", USED, "drop local", "drop used argument", "abandon d", "on_error true"];
    assert_eq!(noted(), order);
}

/// Promise: where the body does not run, what it would have owned goes before the caller hears of it; and the `on_busy`
/// expression owns it, in place of the body.
#[tokio::test(start_paused = true)]
async fn without_the_lock() {
    #[distributed_lock(key = "d", ttl = "1s", on_busy = { drop(used); note("answered"); Ok(()) })]
    async fn answers(used: Witness) -> Result<(), AppError> {
        note(format!("body with {}", used.name()));
        Ok(())
    }
    let locks = recorded();
    let held = locks.lock("d").ttl(Duration::from_secs(10)).acquire().await.expect("free");
    drop(noted());
    assert!(matches!(locks.scope(free(End::Tail)).await, Err(AppError::Lock(_))));
    let mut gone = noted();
    gone.sort();
    assert_eq!(gone, ["drop nameless argument", "drop unused argument", "drop used argument"]);
    locks.scope(answers(Witness(USED))).await.expect("answered");
    assert_eq!(noted(), ["drop used argument", "answered"]);
    held.release().await.expect("nobody took it");
    while_busy("d", answers(Witness(USED))).await.expect("answered");
}

/// Promise: a release that fails never masks the body's result, its error, or its panic.
#[tokio::test(start_paused = true)]
async fn a_failing_release_masks_nothing() {
    for (end, expected) in [(End::Tail, Ok(2)), (End::Return, Ok(1)), (End::QuestionMark, Err(AppError::Body))] {
        let store = Recorder::new();
        store.stop_answering_releases();
        drop(noted());
        assert_eq!(LockManager::builder(store).build().scope(free(end)).await, expected);
        let noted = noted();
        assert!(noted.contains(&"release d".to_owned()), "it was tried: {noted:#?}");
        assert!(noted.contains(&"abandon d".to_owned()), "and goes on in the background: {noted:#?}");
    }
    let store = Recorder::new();
    store.stop_answering_releases();
    let call = LockManager::builder(store).build().scope(free(End::Panic));
    let panic = tokio::spawn(call).await.expect_err("it panics").into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the body"));
}

/// Promise: what a body shares with its caller is the caller's again when the call is over: the future keeps nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_kept() {
    #[distributed_lock(key = "d", ttl = "1s")]
    async fn shared(value: Arc<u8>) -> Result<usize, AppError> {
        Ok(Arc::strong_count(&value))
    }
    let value = Arc::new(1);
    let mut call = pin!(recorded().scope(shared(value.clone())));
    assert_eq!(call.as_mut().await, Ok(2));
    assert_eq!(Arc::strong_count(&value), 1, "though the future is still there");
}
