//! Timers that are refused with an error where the runtime has none.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::time::{Sleep, Timeout};

use crate::error::{StoreError, StoreErrorKind};

/// A timer of the current runtime.
///
/// tokio offers no way to ask whether a runtime has timers; making one panics where it has not. That panic must not reach
/// a handler whose only mistake is the runtime it was started on. (It is printed by the panic hook all the same, and with
/// `panic = "abort"` it ends the process.)
pub(crate) fn sleep(duration: Duration) -> Result<Sleep, StoreError> {
    catch_unwind(|| tokio::time::sleep(duration)).map_err(|_| no_timers())
}

/// `future`, for at most `duration`.
pub(crate) fn timeout<F: Future>(duration: Duration, future: F) -> Result<Timeout<F>, StoreError> {
    // The future is lost in the unwinding, and would be anyway: without a deadline it is not to run.
    catch_unwind(AssertUnwindSafe(|| tokio::time::timeout(duration, future))).map_err(|_| no_timers())
}

fn no_timers() -> StoreError {
    StoreError::new(
        StoreErrorKind::Runtime,
        "locks need a tokio runtime with timers: run on one, and call `enable_all()` on its builder",
    )
}
