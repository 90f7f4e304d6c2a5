//! A model of waiting: the line that a server keeps before a key, and the hand-over inside of a process.
//!
//! As in the rest of the crate, what a caller believes is what [`Lease`](lock_runtime::__model::Lease) says, and whether a
//! lease may be handed over is what the runtime's own `fits` says. The scripts (`enqueue.lua`, `confirm.lua`, `grant.lua`,
//! `release.lua`, `contend.lua`), a process's place in line (`store/redis/handoff.rs`, `notes.rs`) and its line of callers
//! (`waiting.rs`, `queue.rs`, `handover.rs`, `guard.rs`) are modelled after the code. A change of those is a change here.
//!
//! # What is modelled
//!
//! - Processes of one or two callers, who line up, give up at every point, and give the lock back, again and again. One has the
//!   turn, and the process one place in the server's line, which the next caller keeps when the first leaves.
//! - A connection for each process, on which nothing overtakes anything. Answers that take any time, or that nobody waits for
//!   any more; notes that take any time, beside them, and are lost, repeated, or late.
//! - A connection that breaks: what was sent may be carried out at any later time, up to any point, or never, beside what is
//!   sent on the next one, under the same channel and, for the place in line, the same token.
//! - Grants that are over before they are confirmed. Processes that die, and that are stopped: those listen, and do nothing.
//! - Two TTLs, so that a confirmation could shorten what another has given, and a lease can be handed over that is not fresh.
//!   Offers that are taken back, and callers who are never polled again. Fencing tokens in rows, with every
//!   confirmation, that go from hand to hand with the lease.
//! - A program that takes the key when it is free, and deletes it without a look at the line.
//!
//! A state is what lies ahead of it, as in the model of the leases; processes that are alike may change places, so two steps of
//! a counterexample that name the same process can be steps of two.
//!
//! *Served* is looked at from every state: as if from there on nothing went wrong and nobody gave up, everybody who waits gets
//! the lock. Within three ticks, which is what is left of the longest lease if nobody gives it back; and one more for each
//! process that is stopped. One fair schedule is looked at, with what is left on broken connections carried out at once, and a
//! second one with it lost.
//!
//! # What is not
//!
//! Clocks are the same everywhere; the drift, renewals, and retries of a release are the other model's. Time goes in ticks of a
//! third of a TTL, and the window of a grant is one. Not modelled: that the window doubles for whoever was too slow, who only
//! polls after three times (`hole_08` of `tests/tests/handoff.rs`); the cap of the line, and of what a script does; several
//! runtimes, and so channels, of one process; rights that are missing; a server that restarts, or is no master any more;
//! metadata, which keep a lease or a place from being passed on; calls that try once beside their process's line; `min_hold`;
//! several keys.
//!
//! Where the code differs from the protocol as it was drawn up, the model is like the code. A call is answered by a
//! confirmation, and the question follows only if that comes to nothing. A connection that breaks counts as a call. How
//! often and how long a lease goes from hand to hand is left open: at every release it may end. With a lease one fencing token is
//! taken for the next holder who wants one; by the code it is none, or many: a lease whose tokens are used up is the one with none.
//!
//! # States
//!
//! All complete, with two threads on two cores that had other work too. "Rounds": how often each caller has the lock; "faults":
//! how many connections break or processes end; without them, any number.
//!
//! | configuration | processes × callers | bounds | states | steps | time |
//! |---|---|---|---|---|---|
//! | two processes, fenced | 2 × 1 | | 139,563 | 0.9 M | 2 s |
//! | more under way | 2 × 1 | | 306,981 | 2.0 M | 4 s |
//! | hand-off alone, without time and polls | 3 × 1 | | 122,129 | 0.8 M | 2 s |
//! | the same, broken connections | 2 × 1 | no strays | 9,269 | 0.1 M | < 1 s |
//! | lost and repeated notes | 2 × 1 | | 101,456 | 0.7 M | 2 s |
//! | foreign | 2 × 1 | | 154,853 | 1.1 M | 2 s |
//! | broken connections, fenced | 2 × 1 | 1 fault, 1 round, nobody gives up | 859,055 | 4.2 M | 9 s |
//! | deaths, foreign | 2 × 1 | | 197,902 | 1.7 M | 3 s |
//! | a death | 3 × 1 | 1 fault, 1 round, 1 note, nobody gives up | 260,889 | 1.6 M | 5 s |
//! | stopped, foreign | 2 × 1 | 1 fault, 1 round, nobody gives up | 93,352 | 0.5 M | 1 s |
//! | callers of one process | 2 + 1 | 1 round, nobody gives up | 604,493 | 2.4 M | 5 s |
//! | not polled | 2 | | 6,630 | 30,787 | < 1 s |
//! | fenced callers, foreign | 2 | | 36,894 | 0.2 M | < 1 s |
//! | fenced callers of two processes | 2 + 1 | 1 round | 1,962,505 | 13.0 M | 23 s |
//! | three processes, long test | 3 × 1 | 1 round, nobody gives up | 1,889,218 | 8.9 M | 20 s |
//! | callers of one process, again and again, long test | 2 + 1 | | 2,236,645 | 16.3 M | 36 s |
//! | broken connections, foreign, long test | 2 × 1 | 1 fault, 1 round, nobody gives up | 2,194,638 | 12.6 M | 56 s |
//!
//! Each mutant of `tests/handoff_rules.rs` is caught, in 2 to 20 steps; most of them within a second, two within 8. Two of
//! them, [`Rule::GhostsAreLaid`] and [`Rule::TheDeadArePassedOver`], cost time only, and are caught
//! because the bound is tight; on real servers, `hole_17` and `hole_20` of `tests/tests/handoff.rs` are about them.

mod check;
mod configuration;
pub(crate) mod few;
mod process;
mod served;
mod server;
mod system;

pub use self::configuration::{Caller, Handoff, LONG, Promise, Rule, SHORT};
pub use self::system::{Action, System};
