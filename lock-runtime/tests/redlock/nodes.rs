//! Nodes in memory, each with faults of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_runtime::store::memory::MemoryStore;
use lock_runtime::store::redlock::Redlock;
use lock_runtime::store::{Attempt, Claim, Done, Extension, Store, StoreFuture};
use lock_runtime::test_util::{Faults, Operation};
use lock_runtime::{LockManager, Moment, StoreError};

pub(crate) const TTL: Duration = Duration::from_secs(8);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For ever, to a test.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// What a node may take: a twentieth of the TTL.
pub(crate) const LIMIT: Duration = Duration::from_millis(400);

pub(crate) const OPERATIONS: [Operation; 5] =
    [Operation::Acquire, Operation::Extend, Operation::Remaining, Operation::Release, Operation::RaiseFence];

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// From here on it answers nothing, in good time.
pub(crate) fn hang(door: &Faults<MemoryStore>) {
    for operation in OPERATIONS {
        door.delay(operation, HOUR);
    }
}

/// Several stores in memory, and a door before each of them.
pub(crate) struct Nodes {
    pub(crate) memories: Vec<MemoryStore>,
    pub(crate) doors: Vec<Faults<MemoryStore>>,
}

impl Nodes {
    pub(crate) fn new(count: usize) -> Self {
        let memories: Vec<_> = (0..count).map(|_| MemoryStore::new()).collect();
        let doors = memories.iter().cloned().map(Faults::new).collect();
        Self { memories, doors }
    }

    /// What one process has: its own locks, over the same nodes.
    pub(crate) fn redlock(&self) -> Redlock<Faults<MemoryStore>> {
        Redlock::new(self.doors.clone()).expect("there are nodes")
    }

    pub(crate) fn locks(&self) -> LockManager {
        LockManager::builder(self.redlock()).build()
    }

    pub(crate) fn quorum(&self) -> usize {
        self.memories.len() / 2 + 1
    }

    /// The value of `key` on each node.
    pub(crate) fn values(&self, key: &str) -> Vec<Option<String>> {
        self.memories.iter().map(|node| node.get(key)).collect()
    }

    /// The value that a majority has.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let values = self.values(key);
        let is_held = |value: &&Option<String>| {
            value.is_some() && values.iter().filter(|other| other == value).count() >= self.quorum()
        };
        values.iter().find(is_held).cloned().flatten()
    }

    /// How many nodes have something under `key`.
    pub(crate) fn held(&self, key: &str) -> usize {
        self.values(key).iter().flatten().count()
    }

    /// For how long a majority keeps `key`.
    pub(crate) fn time_left(&self, key: &str) -> Option<Duration> {
        let mut left: Vec<_> = self.memories.iter().filter_map(|node| node.time_left(key)).collect();
        left.sort_unstable();
        left.into_iter().rev().nth(self.quorum() - 1)
    }
}

/// A node that carries out what it is asked, and answers late, or not while it is told not to. As stores do, it takes back a claim whose
/// question is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Deaf {
    memory: MemoryStore,
    silent: Arc<AtomicBool>,
    late: Duration,
}

impl Deaf {
    pub(crate) fn new(memory: MemoryStore) -> Self {
        Self { memory, silent: Arc::default(), late: Duration::ZERO }
    }

    /// Answers so much later than it does what it is asked.
    pub(crate) fn late(memory: MemoryStore, late: Duration) -> Self {
        Self { late, ..Self::new(memory) }
    }

    pub(crate) fn hear(&self, hears: bool) {
        self.silent.store(!hears, Ordering::SeqCst);
    }

    async fn answer<T>(&self, answer: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let answer = answer.await;
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if !self.late.is_zero() {
            tokio::time::sleep(self.late).await;
        }
        answer
    }
}

impl Store for Deaf {
    fn now(&self) -> Moment {
        self.memory.now()
    }

    fn fences(&self) -> bool {
        true
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Attempt> {
        struct Behind<'a>(&'a MemoryStore, Option<&'a Claim>);
        impl Drop for Behind<'_> {
            fn drop(&mut self) {
                if let Some(claim) = self.1 {
                    self.0.abandon(claim.clone(), Done::nothing());
                }
            }
        }
        Box::pin(async move {
            let mut behind = Behind(&self.memory, Some(claim));
            let answer = self.answer(self.memory.acquire(claim)).await;
            behind.1 = None;
            answer
        })
    }

    fn extend<'a>(&'a self, claim: &'a Claim, ttl: Duration, extension: Extension) -> StoreFuture<'a, bool> {
        Box::pin(self.answer(self.memory.extend(claim, ttl, extension)))
    }

    fn remaining<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Option<Duration>> {
        Box::pin(self.answer(self.memory.remaining(claim)))
    }

    fn release<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, bool> {
        Box::pin(self.answer(self.memory.release(claim)))
    }

    fn raise_fence<'a>(&'a self, claim: &'a Claim, fence: i64) -> StoreFuture<'a, bool> {
        Box::pin(self.answer(self.memory.raise_fence(claim, fence)))
    }

    fn abandon(&self, claim: Claim, done: Done) {
        self.memory.abandon(claim, done);
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.memory.drain()
    }

    fn is_remote(&self) -> bool {
        false
    }
}
