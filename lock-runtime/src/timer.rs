//! Timers that are refused with an error where the runtime has none.

use std::future::Future;
use std::panic::catch_unwind;
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
    // The probe first: the future must not be lost in the unwinding.
    drop(sleep(duration)?);
    Ok(tokio::time::timeout(duration, future))
}

fn no_timers() -> StoreError {
    StoreError::new(
        StoreErrorKind::Runtime,
        "locks need a tokio runtime with timers: run on one, and call `enable_all()` on its builder",
    )
}
