//! What every test begins with.

use std::env;
use std::io::Write;
use std::time::Duration;

use lock_runtime::LockManager;
use lock_tests::{Admin, RedisServer, eventually};

use crate::peer::{Library, Missing, Peer};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server, a client of a foreign library, and one of ours.
#[derive(Debug)]
pub struct Scene {
    /// Ours.
    pub locks: LockManager,
    /// Theirs.
    pub peer: Peer,
    /// Sees what is on the server.
    pub admin: Admin,
    /// Ends with the scene.
    pub server: RedisServer,
}

impl Scene {
    /// Starts all of them. `None` where the library is missing and may be; that is said on standard error.
    ///
    /// # Panics
    ///
    /// When the library is missing and must not be.
    pub async fn set(library: Library) -> Option<Self> {
        let server = RedisServer::start();
        match Peer::start(library, &server.url()) {
            Ok(peer) => {
                let locks = LockManager::connect(&server.url()).await.expect("connect");
                Some(Self { locks, peer, admin: server.admin(), server })
            }
            Err(Missing(what)) => {
                let line =
                    format!("NOT TESTED with {library}: {what} is missing. `tests/run.sh` installs what is needed.");
                assert!(!required(), "{line}");
                // Not `eprintln!`, which the test harness keeps to itself.
                writeln!(std::io::stderr(), "\n*** {line} ***\n").expect("standard error");
                None
            }
        }
    }

    /// Ends the time to live of `key`, and waits until it is gone.
    pub async fn expire(&mut self, key: &str) {
        self.admin.command::<()>(&["PEXPIRE", key, "1"]);
        self.gone(key).await;
    }

    /// Waits until `key` is gone.
    pub async fn gone(&mut self, key: &str) {
        eventually("the lock has expired", PATIENCE, || !self.admin.exists(key)).await;
    }

    /// Waits until somebody of ours stands in line for `key`.
    pub async fn in_line(&mut self) {
        eventually("it is in line", PATIENCE, || self.admin.exists("key:lock_runtime:q1")).await;
    }

    /// How often a lock was handed to somebody in line.
    pub fn handed(&mut self) -> u64 {
        self.admin.command_counts().get("publish").copied().unwrap_or_default()
    }

    /// How often a lock was asked for or given back since the server was started, by whatever means.
    pub fn requests(&mut self) -> u64 {
        let counts = self.admin.command_counts();
        ["set", "eval", "evalsha"].iter().filter_map(|command| counts.get(*command)).sum()
    }
}

/// Whether a missing library is a failure: where tests/run.sh has installed it, and in continuous integration.
fn required() -> bool {
    ["CI", "LOCK_REQUIRE_INTEROP"].iter().any(|name| {
        let value = env::var(name).unwrap_or_default();
        !matches!(&*value, "" | "0" | "false")
    })
}
