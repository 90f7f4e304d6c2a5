//! A lock library of another language, in a process of its own.

use std::env;
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Interpreters start slowly on a busy machine; no answer takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The directory in which tests/run.sh installs the libraries, somewhere above the test program.
const INSTALLED: &str = "interop-libraries";

/// Which library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// `redis.lock.Lock` of redis-py, the Python package `redis`.
    RedisPy,
    /// node-redlock on one server, the Node packages `redlock` and `ioredis`.
    NodeRedlock,
}

impl Library {
    /// The command that runs the library's script beside this crate.
    fn command(self) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let (interpreter, script, variable, packages) = match self {
            Self::RedisPy => ("python3", "redis_py.py", "PYTHONPATH", "python"),
            Self::NodeRedlock => ("node", "node_redlock.mjs", "NODE_PATH", "node/node_modules"),
        };
        let mut command = Command::new(interpreter);
        command.arg(scripts.join(script));
        // Without that directory, what is installed on the machine is as good.
        if let Some(installed) = installed() {
            command.env(variable, installed.join(packages));
        }
        command
    }
}

fn installed() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().map(|directory| directory.join(INSTALLED)).find(|directory| directory.is_dir())
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RedisPy => "redis-py",
            Self::NodeRedlock => "node-redlock",
        })
    }
}

/// What it takes to test a library, and is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

/// A running client of a library. It ends with its input: when this is dropped, or the test's process ends, however that
/// comes.
///
/// One line asks, one line answers. A verb the library fails in is answered by `error`, and ends the test.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    version: String,
}

impl Peer {
    /// Starts the library's client on the server at `url`.
    ///
    /// # Errors
    ///
    /// When the interpreter or a package is not installed.
    ///
    /// # Panics
    ///
    /// When the client does not come up for another reason: that must not look like a missing package.
    pub fn start(library: Library, url: &str) -> Result<Self, Missing> {
        let mut command = library.command();
        let mut process = match command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Missing(command.get_program().display().to_string()));
            }
            Err(error) => panic!("start {command:?}: {error}"),
        };
        let input = process.stdin.take().expect("the input is piped");
        let output = BufReader::new(process.stdout.take().expect("the output is piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut peer = Self { process, input, answers, version: library.to_string() };
        let first = peer.answer();
        if let Some(what) = first.strip_prefix("missing ") {
            return Err(Missing(what.to_owned()));
        }
        let version = first.strip_prefix("ready ").unwrap_or_else(|| panic!("{library}: {first}"));
        version.clone_into(&mut peer.version);
        Ok(peer)
    }

    /// The library's name and version, as it says itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Tries once to take the lock; whether it was free. No `ttl` is for ever, which only redis-py can do.
    pub fn acquire(&mut self, key: &str, ttl: Option<Duration>) -> bool {
        let ttl = ttl.unwrap_or_default().as_millis();
        self.ask(&format!("acquire {key} {ttl}"), "acquired", "busy")
    }

    /// Begins to wait for the lock. The [`outcome`](Peer::waited) is asked for later.
    pub fn wait(&mut self, key: &str, ttl: Duration, patience: Duration) {
        self.say(&format!("wait {key} {} {}", ttl.as_millis(), patience.as_millis()));
    }

    /// Whether the wait that was begun ended in having the lock.
    pub fn waited(&mut self) -> bool {
        self.learn("acquired", "busy")
    }

    /// Gives back the lock that was taken, by the library's own means. `false`: the library found that it was not its own
    /// any more.
    pub fn release(&mut self, key: &str) -> bool {
        self.ask(&format!("release {key}"), "released", "not ours")
    }

    /// Extends the lock that was taken. `false`: the library found that it was not its own any more.
    pub fn extend(&mut self, key: &str, ttl: Duration) -> bool {
        self.ask(&format!("extend {key} {}", ttl.as_millis()), "extended", "not ours")
    }

    /// Begins to append the number of entries of the list `log` to it, `times` times, each time under the lock `key` and
    /// with a pause between looking and writing: `7 theirs`.
    pub fn number(&mut self, key: &str, log: &str, times: usize) {
        self.say(&format!("number {key} {log} {times}"));
    }

    /// Waits until the numbering that was begun is done.
    ///
    /// # Panics
    ///
    /// When the library failed in it.
    pub fn numbered(&mut self) {
        assert!(self.learn("numbered", ""));
    }

    fn ask(&mut self, request: &str, yes: &str, no: &str) -> bool {
        self.say(request);
        self.learn(yes, no)
    }

    fn say(&mut self, request: &str) {
        writeln!(self.input, "{request}").expect("the client reads on");
    }

    fn learn(&mut self, yes: &str, no: &str) -> bool {
        let answer = self.answer();
        assert!(answer == yes || answer == no, "{}: {answer}", self.version);
        answer == yes
    }

    fn answer(&mut self) -> String {
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("the client of {} does not answer: {error}; its errors are above", self.version)
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
