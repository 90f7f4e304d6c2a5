//! Who takes part, and the command that runs one process of his.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lock_tests::Admin;

use super::callers::DISTKIT_NAMESPACE;
use crate::chart::Role;

/// The directory in which tests/run.sh installs the libraries of other languages: it is above the program, or in the target
/// directory of something above.
const INSTALLED: &str = "interop-libraries";

/// A library, or a way of using one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Builder,
    Attribute,
    /// See [`InProcess`](super::callers::InProcess).
    InProcess,
    /// See [`Blpop`](super::callers::Blpop).
    Blpop,
    Rslock,
    AsyncRedisLock,
    Distkit,
    RedisPy,
    NodeRedlock,
}

impl Who {
    /// Those who lock between processes.
    pub(super) const BETWEEN_PROCESSES: [Self; 8] = [
        Self::Builder,
        Self::Attribute,
        Self::Blpop,
        Self::Rslock,
        Self::AsyncRedisLock,
        Self::Distkit,
        Self::RedisPy,
        Self::NodeRedlock,
    ];

    /// What tables and command lines call him.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Builder => "ours, builder",
            Self::Attribute => "ours, attribute",
            Self::InProcess => "tokio Mutex, no server",
            Self::Blpop => "BLPOP, no lease",
            Self::Rslock => "rslock",
            Self::AsyncRedisLock => "async-redis-lock",
            Self::Distkit => "distkit",
            Self::RedisPy => "redis-py",
            Self::NodeRedlock => "node-redlock",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::BETWEEN_PROCESSES.into_iter().chain([Self::InProcess]).find(|who| who.name() == name)
    }

    pub(super) const fn role(self) -> Role {
        match self {
            Self::Builder | Self::Attribute => Role::Ours,
            Self::InProcess | Self::Blpop => Role::Floor,
            Self::Rslock | Self::AsyncRedisLock | Self::Distkit | Self::RedisPy | Self::NodeRedlock => Role::Other,
        }
    }

    pub(super) fn is_ours(self) -> bool {
        self.role() == Role::Ours
    }

    /// Between two tries of one who waits, at most; anything for those who are told.
    pub(super) const fn period(self) -> Duration {
        Duration::from_millis(match self {
            Self::Builder | Self::Attribute | Self::InProcess | Self::Blpop => 20,
            Self::Distkit => 50,
            Self::AsyncRedisLock | Self::RedisPy => 100,
            Self::Rslock => 200,
            Self::NodeRedlock => 300,
        })
    }

    /// Makes the lock `key`, if it is none that comes into being when it is taken.
    pub(super) fn make(self, server: &mut Admin, key: &str) {
        if self == Self::Blpop {
            server.command::<()>(&["RPUSH", key, "element"]);
        }
    }

    /// Takes the lock `key` by hand, as a process of ours would hold it.
    pub(super) fn hold(self, server: &mut Admin, key: &str) {
        const VALUE: &str = "0123456789abcdef0123456789abcdef host:1";
        if self != Self::Blpop {
            server.set(&self.redis_key(key), VALUE, &["NX", "PX", "60000"]);
        }
    }

    /// Gives back what was taken by hand.
    pub(super) fn let_go(self, server: &mut Admin, key: &str) {
        if self != Self::Blpop {
            assert!(server.delete(&self.redis_key(key)), "the lock was held all the time");
        }
        self.make(server, key);
    }

    fn redis_key(self, key: &str) -> String {
        match self {
            Self::Distkit => format!("{DISTKIT_NAMESPACE}:{key}"),
            _ => key.to_owned(),
        }
    }

    /// The command that runs one process on the server at `url`; `program` is that of the Rust libraries.
    pub(super) fn command(self, program: &Path, url: &str) -> Command {
        let (interpreter, script, variable, packages) = match self {
            Self::RedisPy => ("python3", "redis_py.py", "PYTHONPATH", "python"),
            Self::NodeRedlock => ("node", "node_redlock.mjs", "NODE_PATH", "node/node_modules"),
            _ => {
                let mut command = Command::new(program);
                command.args([self.name(), url]);
                return command;
            }
        };
        let mut command = Command::new(interpreter);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("others").join(script)).arg(url);
        // Without that directory, what is installed on the machine is as good.
        if let Some(installed) = installed(program) {
            command.env(variable, installed.join(packages));
        }
        command
    }
}

fn installed(program: &Path) -> Option<PathBuf> {
    let above = program.ancestors().flat_map(|directory| [directory.to_owned(), directory.join("target")]);
    above.map(|directory| directory.join(INSTALLED)).find(|directory| directory.is_dir())
}
