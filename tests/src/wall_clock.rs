//! A wall clock that a test can set, of processes that it starts.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// Replaces the functions of the C library that tell the time.
const REPLACEMENT: &str = include_str!("wall_clock.c");

/// The wall clock of the processes that are started with its [`environment`](WallClock::environment). Their other clocks run as ever.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    shared: PathBuf,
    file: File,
    add: i64,
    _directory: TempDir,
}

impl WallClock {
    /// A wall clock that is right at first. `None`, and a loud line, where there is no C compiler or no `LD_PRELOAD`.
    ///
    /// # Panics
    ///
    /// When continuous integration has no compiler (`CI` is set), or the replacement does not compile.
    #[must_use]
    pub fn new() -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("lock-tests-").tempdir().expect("a temporary directory");
        let (source, library) = (directory.path().join("wall_clock.c"), directory.path().join("wall_clock.so"));
        fs::write(&source, REPLACEMENT).expect("written");
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let outcome = if cfg!(target_os = "linux") { compile.output().ok() } else { None };
        let Some(outcome) = outcome else {
            assert!(env::var_os("CI").is_none(), "continuous integration needs a C compiler");
            eprintln!("*** NOT TESTED: clocks that are set, for which a C compiler is needed (on Linux) ***");
            return None;
        };
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));

        let shared = directory.path().join("wall_clock");
        let file = File::create(&shared).expect("created");
        let mut clock = Self { library, shared, file, add: 0, _directory: directory };
        clock.write(0);
        Some(clock)
    }

    /// What a process needs in its environment to go by this clock.
    #[must_use]
    pub fn environment(&self) -> [(String, OsString); 2] {
        [
            ("LD_PRELOAD".to_owned(), self.library.clone().into()),
            ("LOCK_TESTS_WALL_CLOCK".to_owned(), self.shared.clone().into()),
        ]
    }

    /// Sets the clock so many seconds forwards, or back.
    pub fn step(&mut self, seconds: i64) {
        self.add += seconds * 1_000_000;
        self.write(0);
    }

    /// Lets the clock run fast by so many parts in a million, from now on.
    pub fn run_fast_by(&mut self, parts_per_million: i64) {
        self.write(parts_per_million);
    }

    fn write(&mut self, fast_by: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let since = i64::try_from(now.as_micros()).expect("not that late");
        let change = [self.add, fast_by, since].map(i64::to_ne_bytes).concat();
        self.file.seek(SeekFrom::Start(0)).expect("a file");
        // In one piece: the processes look at it at any time.
        self.file.write_all(&change).expect("written");
    }
}
