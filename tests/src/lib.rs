//! What the tests against real servers share: servers and worker processes that cannot outlive their test, waiting for a
//! condition, futures dropped at any poll, captured logs, a network that misbehaves.
//!
//! Nothing here uses the crate under test, except for the worker program.

mod admin;
mod authority;
mod clock;
mod cluster;
mod drop_after;
mod eventually;
mod example;
pub mod http;
mod log;
mod network;
mod process;
mod proxy;
mod replicas;
mod resp;
mod sentinels;
mod server;
mod sometimes;
mod wall_clock;

pub use admin::Admin;
pub use authority::{Authority, Identity};
pub use clock::machine_time;
pub use cluster::RedisCluster;
pub use drop_after::{DropAfter, Moment, drop_after};
pub use eventually::{eventually, eventually_blocking};
pub use example::{example, example_package};
pub use log::Log;
pub use network::Network;
pub use process::{Process, is_running};
pub use proxy::{Caught, Conduct, Proxy, Way, command};
pub use replicas::{begin_to_follow, demote, info, is_linked, promote};
pub use sentinels::{MASTER, Sentinels};
pub use server::{Certificates, RedisServer, ServerOptions};
pub use sometimes::{Count, Sometimes};
pub use wall_clock::WallClock;
