#![doc = include_str!("../README.md")]

mod acquiring;
mod attribute;
mod body;
mod clock;
mod error;
mod fencing;
mod guard;
pub mod guide;
mod handover;
mod hold;
mod holder;
mod inspect;
#[cfg(feature = "inventory")]
mod inventory;
mod keeper;
mod key;
mod keys;
mod lease;
mod manager;
mod outstanding;
mod queue;
mod request;
mod retry;
mod rounds;
mod several;
pub mod store;
pub mod telemetry;
mod terms;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timer;
mod waiting;
mod watch;
mod watchers;
#[cfg(any(feature = "axum", feature = "actix-web"))]
pub mod web;

pub use crate::attribute::{FromLockError, LockOutput, Skip};
pub use crate::clock::Moment;
pub use crate::error::{Busy, LockError, SetupError, StoreError, StoreErrorKind};
pub use crate::guard::LockGuard;
pub use crate::holder::{Holder, Token};
pub use crate::inspect::{LocalLock, LocalState, LockInfo, LockKind};
#[cfg(feature = "inventory")]
pub use crate::inventory::{LockedFunction, inventory};
pub use crate::keeper::Background;
pub use crate::key::{KeyNumber, KeyPart, LockKey};
pub use crate::lease::LostCause;
pub use crate::manager::{LockManager, LockManagerBuilder};
pub use crate::request::LockRequest;
pub use crate::retry::{Delays, Retry};
pub use crate::store::Store;
pub use crate::watch::LockWatch;
#[cfg(feature = "macros")]
pub use lock_macros::{distributed_lock, key};

/// What the expansion names. Not for use by hand: it changes without notice, and the macro crate is pinned to the version.
#[doc(hidden)]
pub mod __private {
    pub use crate::__locked_function as locked_function;
    pub use crate::attribute::{
        BusyBranch, Call, LockOutput, Never, Outcome, Request, Skip, Start, call, fence, keys, run,
    };
    pub use crate::error::Busy;
    pub use crate::guard::LockGuard;
    pub use crate::key::{KeyPart, KeyWriter, LockKey};
    pub use crate::manager::LockManager;
    pub use crate::retry::Retry;
    #[cfg(feature = "inventory")]
    pub use ::inventory::submit;
}

/// Notes a function under the attribute.
#[cfg(feature = "inventory")]
#[doc(hidden)]
#[macro_export]
macro_rules! __locked_function {
    ($function:literal, $template:literal, $name:literal, $arguments:literal $(, $millis:literal)?) => {
        $crate::__private::submit! {
            $crate::LockedFunction::new(
                [$function, ::core::module_path!(), $template, $name, $arguments],
                $crate::__locked_function!(@ttl $($millis)?),
                (::core::file!(), ::core::line!()),
            )
        }
    };
    (@ttl) => { ::core::option::Option::None };
    (@ttl $millis:literal) => { ::core::option::Option::Some(::core::time::Duration::from_millis($millis)) };
}

/// Nobody asks for the functions under the attribute.
#[cfg(not(feature = "inventory"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __locked_function {
    ($($any:tt)*) => {};
}

/// What the model check of the protocol drives. Not for use by hand: it changes without notice.
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod __model {
    pub use crate::handover::fits;
    pub use crate::lease::{Event, Lease, Standing, drift, validity};
}
