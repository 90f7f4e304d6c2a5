//! What is learned of a server while it is used. Known to all connections of a store: what one of them has learned must not be
//! lost when it breaks.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::ProtocolVersion;

use crate::telemetry;

/// What is known of the server so far, and of what our user may do.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// It is older than the line of flags that our scripts begin with. Where answers take long, every renewal would begin with
    /// learning it.
    plain_scripts: AtomicBool,
    /// It, or what is between us and it, does not speak the protocol in which it could call us; or it does.
    resp2_only: AtomicBool,
    resp3: AtomicBool,
    /// There are no lines for us to wait in.
    no_lines: AtomicBool,
    /// We may not even give a lock to those who wait in line.
    no_line_keys: AtomicBool,
    /// There is no command that compares and deletes.
    no_delete_if_equal: AtomicBool,
    /// Somebody was told that we poll.
    told: AtomicBool,
}

impl Learned {
    pub(super) fn knows_plain_scripts_only(&self) -> bool {
        self.plain_scripts.load(Ordering::Relaxed)
    }

    pub(super) fn plain_scripts_only(&self) {
        self.plain_scripts.store(true, Ordering::Relaxed);
    }

    /// Whether there may be a command that compares and deletes.
    pub(super) fn deletes_if_equal(&self) -> bool {
        !self.no_delete_if_equal.load(Ordering::Relaxed)
    }

    pub(super) fn deletes_never_if_equal(&self) {
        self.no_delete_if_equal.store(true, Ordering::Relaxed);
    }

    /// In what to greet it.
    pub(super) fn protocol(&self) -> ProtocolVersion {
        if self.resp2_only.load(Ordering::Relaxed) { ProtocolVersion::RESP2 } else { ProtocolVersion::RESP3 }
    }

    /// It answered in the newer protocol.
    pub(super) fn speaks_resp3(&self) {
        self.resp3.store(true, Ordering::Relaxed);
    }

    /// Whether it ever answered in the newer protocol.
    pub(super) fn has_spoken_resp3(&self) -> bool {
        self.resp3.load(Ordering::Relaxed)
    }

    /// It says that it does not speak the newer protocol.
    pub(super) fn speaks_resp2_only(&self) {
        self.resp2_only.store(true, Ordering::Relaxed);
        self.no_lines.store(true, Ordering::Relaxed);
    }

    /// Whether there may be lines to wait in.
    pub(super) fn has_lines(&self) -> bool {
        !self.no_lines.load(Ordering::Relaxed)
    }

    /// There are no lines to wait in, until this process ends or a store is made anew.
    pub(super) fn no_lines(&self, server: &str, why: &dyn Display) {
        self.no_lines.store(true, Ordering::Relaxed);
        self.tell(server, why);
    }

    /// Whether a lock that is given back may go to those who wait in line.
    pub(super) fn gives_to_lines(&self) -> bool {
        !self.no_line_keys.load(Ordering::Relaxed)
    }

    /// As [`no_lines`](Self::no_lines), and those of others are out of reach, too.
    pub(super) fn no_line_keys(&self, server: &str, why: &dyn Display) {
        self.no_line_keys.store(true, Ordering::Relaxed);
        self.no_lines(server, why);
    }

    /// Tells, once, that whoever waits polls.
    pub(super) fn tell(&self, server: &str, why: &dyn Display) {
        if !self.told.swap(true, Ordering::Relaxed) {
            telemetry::polling(server, why);
        }
    }
}
