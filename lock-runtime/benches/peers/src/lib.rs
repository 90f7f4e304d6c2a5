//! What a lock costs: our own against the bare commands and against other libraries, in one run and taking turns.
//!
//! How to run it, and how to read it, is in `lock-runtime/benches/README.md`. A new scenario is a module here that returns
//! a [`Report`], and a target in `benches/` that prints it; a new library is a [`Contender`].

pub mod allocations;
mod alone;
mod chart;
mod contender;
mod figures;
pub mod keys;
#[cfg(feature = "observed")]
mod observed;
mod ours;
mod peers;
mod raw;
mod redlock;
pub mod renewed;
mod report;
mod rounds;
mod scriptless;
mod uncontended;
mod waiting;

pub use alone::Counted;
pub use chart::{Bar, Chart, Role};
pub use contender::{Contender, Pair, TTL};
pub use figures::{Spread, percentile};
#[cfg(feature = "observed")]
pub use observed::observe;
pub use ours::{OursByAttribute, OursByBuilder};
pub use peers::{AsyncRedisLock, Distkit, DistkitOnce, Rslock};
pub use raw::{Raw, RawWithDelay};
pub use redlock::redlock;
pub use report::{Line, Report, Table};
pub use rounds::{Effort, Entrant, Rounds};
pub use scriptless::scriptless;
pub use uncontended::{Outcome, uncontended};
pub use waiting::{Patience, Waiting, serve, waiting};
