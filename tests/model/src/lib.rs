//! A model of the protocol on one server, which drives the code of the leases, and its exhaustive check.
//!
//! What the clients believe is what [`Lease`](lock_runtime::__model::Lease) of the runtime says when it is told what has happened:
//! that code is the one under test, and is not told again here. The server, the network and the order in which a client asks,
//! renews, releases and cleans up are modelled, after `store/redis/*.lua`, `store/redis.rs`, `store/redis/cleanup.rs`, `request.rs`,
//! `guard.rs` and `keeper.rs`. A change of those is a change here.
//!
//! # What is modelled
//!
//! - Two clients (three in a long test) that acquire with a fencing token, renew, release, drop the guard, and drop the future or
//!   give up waiting at every point; again and again.
//! - Messages that take any time. On one connection they arrive in the order in which they were sent; between connections, in any.
//!   Answers that are late, or that nobody waits for any more, and clean-ups behind what may have been done.
//! - Connections that break: what was sent may be carried out at any later time, up to any point, or never. The clean-up is
//!   repeated on another connection, once.
//! - Clients that die; a server that dies, and comes back with its data, without it, or without it after the longest TTL.
//! - A server that cannot raise the counter of fencing tokens.
//! - Clocks of different rates: one client's is as fast as the server's, the other's so slow that a lease of its own ends in the
//!   same tick as the key.
//!
//! Time and the numbers of acquisitions and faults have no bound: a state is what lies ahead of it, and moments count by how
//! far they are apart, tokens by where they occur, fencing tokens by their order. (A test shows that states which count as one
//! go on alike.) The bounds are the clients, how many connections have something under way at the same time, and a time that
//! goes in thirds of a TTL.
//!
//! # What is not
//!
//! Hand-off to waiters, and the line inside of a process: clients poll. Those are another model, with states and a clock of its own:
//! [`handoff`]. More than one server: [`redlock`]. Several keys. `set_ttl`, `min_hold`, `max_hold`,
//! `shutdown` and the end of a runtime. Replicas. Clocks that are set. Leases of different TTLs. The retries of one operation
//! over a fresh connection; they are the same as an operation that fails, and another one.
//!
//! # States
//!
//! All complete, with two threads on two cores that had other work too.
//!
//! | configuration | connections under way, of one client and of all | states | steps | time |
//! |---|---|---|---|---|
//! | delays | 2, 4 | 249,947 | 1.9 M | 3 s |
//! | broken connections | 2, 3 | 373,410 | 3.2 M | 6 s |
//! | crashes | 2, 3 | 460,910 | 4.3 M | 7 s |
//! | restart with data | 2, 3 | 186,025 | 1.4 M | 3 s |
//! | empty restart after the TTL | 2, 3 | 166,147 | 1.2 M | 2 s |
//! | empty restart at once, with what is left of the promises | 2, 3 | 407,362 | 3.0 M | 6 s |
//! | everything, restart with data | 2, 3 | 685,776 | 7.5 M | 11 s |
//! | the same, long test | 2, 4 | 2,015,099 | 25.9 M | 32 s |
//! | three clients with crashes, long test | 2, 3 | 5,749,979 | 59.7 M | 117 s |
//!
//! Each mutant of `tests/rules.rs` is caught within about a second, in 2 to 12 steps.

mod check;
pub mod handoff;
mod network;
mod protocol;
pub mod redlock;
mod server;
mod system;
mod turns;

pub use crate::check::{Checked, alike_go_on_alike, caught, holds};
pub use crate::protocol::{Promise, Protocol, Restart, Rule, SERVER_TICK, TTL, slowest_tick};
pub use crate::system::{Action, System};
