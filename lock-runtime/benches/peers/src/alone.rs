//! One task on one thread: for what is counted and not timed.

use lock_runtime::LockManager;

use crate::contender::{Contender, Pair as _};
use crate::ours::{OursByAttribute, OursByBuilder};
use crate::peers::{AsyncRedisLock, Distkit, Rslock};
use crate::raw::Raw;

/// Who is counted. All but those in memory need a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The bare commands.
    Raw,
    /// By the builder.
    Builder,
    /// By the attribute.
    Attribute,
    /// By the builder, without a server: nothing but our own work.
    BuilderInMemory,
    /// By the attribute, without a server.
    AttributeInMemory,
    /// See [`crate::Rslock`].
    Rslock,
    /// See [`crate::AsyncRedisLock`].
    AsyncRedisLock,
    /// See [`crate::Distkit`].
    Distkit,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Builder,
        Self::Attribute,
        Self::Rslock,
        Self::AsyncRedisLock,
        Self::Distkit,
        Self::BuilderInMemory,
        Self::AttributeInMemory,
    ];

    /// What tables and command lines call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Builder => "builder",
            Self::Attribute => "attribute",
            Self::BuilderInMemory => "builder-in-memory",
            Self::AttributeInMemory => "attribute-in-memory",
            Self::Rslock => "rslock",
            Self::AsyncRedisLock => "async-redis-lock",
            Self::Distkit => "distkit",
        }
    }

    /// Takes and gives back a lock `pairs` times on a thread of its own, and calls `started` after the first few.
    ///
    /// # Panics
    ///
    /// When there is no server at `url`, or a lock is not got.
    pub fn run(self, url: &str, pairs: u32, started: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let lock_manager = || LockManager::connect_lazy(url).expect("a URL");
            match self {
                Self::Raw => repeat(&Raw::connect(url).await.expect("a server"), pairs, started).await,
                Self::Builder => repeat(&OursByBuilder(lock_manager()), pairs, started).await,
                Self::Attribute => repeat(&OursByAttribute(lock_manager()), pairs, started).await,
                Self::BuilderInMemory => repeat(&OursByBuilder(LockManager::in_memory()), pairs, started).await,
                Self::AttributeInMemory => repeat(&OursByAttribute(LockManager::in_memory()), pairs, started).await,
                Self::Rslock => repeat(&Rslock::new(url), pairs, started).await,
                Self::AsyncRedisLock => {
                    repeat(&AsyncRedisLock::connect(url).await.expect("a server"), pairs, started).await;
                }
                Self::Distkit => repeat(&Distkit::connect(url).await.expect("a server"), pairs, started).await,
            }
        });
    }
}

/// Pairs that dial, have the server remember the script, and let buffers grow to their size.
const WARM_UP: u32 = 50;

async fn repeat(contender: &impl Contender, pairs: u32, started: impl FnOnce()) {
    let mut pair = contender.task(0);
    for _ in 0..WARM_UP {
        pair.once().await;
    }
    started();
    for _ in 0..pairs {
        pair.once().await;
    }
}
