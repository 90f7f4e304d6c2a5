//! What to think of before, and while, locks are in production: a page for each question.
//!
//! | question | page |
//! |---|---|
//! | How long should the lease be, and the wait? | [`ttl_and_wait`] |
//! | What if the work takes longer than that? | [`renewal`] |
//! | What happens to work that is dropped in the middle? | [`cancellation`] |
//! | How do I keep a late writer from doing harm? | [`fencing`] |
//! | One server, several, a cluster, or no lock at all? | [`topologies`] |
//! | How do I test code that takes locks? | [`testing`] |
//! | Permissions, eviction, monitoring, a lock that is stuck, a change of keys? | [`operations`] |
//! | I know another library; what is it called here? | [`coming_from`] |
//!
//! The arguments of the attribute are in its own documentation, [`distributed_lock`](macro@crate::distributed_lock), and what each
//! method does is with the method. Names of logs and metrics are in [`telemetry`](crate::telemetry).

pub mod cancellation;
pub mod coming_from;
pub mod fencing;
pub mod operations;
pub mod renewal;
pub mod testing;
pub mod topologies;
pub mod ttl_and_wait;
