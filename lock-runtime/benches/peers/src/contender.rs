//! What is measured: taking a lock and giving it back.

use std::time::Duration;

/// The lease of every lock that is taken here, where the library lets its user choose.
pub const TTL: Duration = Duration::from_secs(10);

/// A library, or a way of using one, as its documentation recommends.
pub trait Contender: Send + Sync + 'static {
    /// What one task does again and again.
    type Pair: Pair;

    /// What tables call it.
    fn name(&self) -> &'static str;

    /// The work of the task with this number, which has a key of its own.
    fn task(&self, number: u32) -> Self::Pair;
}

/// Taking one lock, and giving it back.
pub trait Pair: Send + 'static {
    /// Does it once. Panics when it does not succeed: a lock that was not taken costs little.
    fn once(&mut self) -> impl Future<Output = ()> + Send;
}
