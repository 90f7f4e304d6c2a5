//! The live page of the web example, in a real browser: a [`Shop`] that serves it, and the [`Browser`] that shows it.
//!
//! Where chromium or its driver is missing, a test says so on standard error and passes without having tested anything. Under
//! `CI` or `LOCK_REQUIRE_BROWSER=1` it fails instead. `tests/run.sh` installs both.

mod browser;
mod drawn;
mod shop;

use std::time::Duration;

pub use browser::{Browser, Key};
pub use drawn::{Bar, bars};
pub use shop::Shop;

/// Browsers start slowly on a busy machine, and sales take as long as they take.
pub const PATIENCE: Duration = Duration::from_secs(60);
