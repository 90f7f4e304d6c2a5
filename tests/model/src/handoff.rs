//! A model of waiting: the line that a server keeps before a key, and the hand-over inside of a process.
//!
//! As in the rest of the crate, what somebody believes is what [`Lease`](lock_runtime::__model::Lease) says, and whether a lease
//! may be handed over is what the runtime's own `fits` says. Modelled are the scripts (`enqueue.lua`, `confirm.lua`, `grant.lua`,
//! `release.lua`, `contend.lua`), a process's place in line (`handoff.rs`, `notes.rs`), and its line of callers (`waiting.rs`,
//! `queue.rs`, `handover.rs`, `guard.rs`).

mod check;
mod configuration;
mod few;
mod process;
mod served;
mod server;
mod system;

pub use self::configuration::{Caller, Handoff, LONG, Promise, Rule, SHORT};
pub use self::system::{Action, System};
