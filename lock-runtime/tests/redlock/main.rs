//! Redlock over stores in memory, on paused time. (Over real servers: in the workspace's `tests`.)
#![cfg(all(feature = "redlock", feature = "test-util"))]

mod conformance;
mod held;
mod nodes;
mod redsync;
mod trouble;
mod unsettled;
