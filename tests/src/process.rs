//! Child processes that cannot outlive the test which started them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the program given as arguments, and kills it when standard input ends.
///
/// A test holds the other end of that pipe, and whatever ends the test, SIGKILL included, closes it. (A destructor
/// does not run then, and `PR_SET_PDEATHSIG` would need unsafe code.) The first line of output is the program's id.
/// The directory in which it worked goes too, if that is empty: a killed test removes nothing itself. Signals that a terminal
/// sends to the whole group are ignored, or Ctrl-C would end the supervisor alone.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
exec 3<&0
sh -c 'echo "$$"; exec "$@"' program "$@" 3<&- </dev/null 2>&1 &
program=$!
{ read -r _; kill -KILL "$program"; } <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&- </dev/null
wait "$program"
status=$?
kill -KILL "$watch"
rmdir "$PWD" 2>/dev/null
exit "$status"
"#;

/// How long a child that was sent SIGKILL may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// A running program. Dropping it kills the program and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    supervisor: Child,
    /// In a mutex for the sake of servers in a `static`: a receiver cannot be shared between threads.
    lines: Mutex<Receiver<String>>,
    seen: Vec<String>,
}

impl Process {
    /// Starts `command`. Its input is empty; its output and errors are read line by line, together.
    ///
    /// # Panics
    ///
    /// When the supervising shell cannot be started.
    #[must_use]
    pub fn spawn(command: &Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISOR, "supervisor"]).arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            shell.current_dir(directory);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());

        let mut supervisor = shell.spawn().expect("start sh");
        let mut output = BufReader::new(supervisor.stdout.take().expect("the output is piped"));
        let mut first = String::new();
        output.read_line(&mut first).expect("read the program's id");
        let pid = first.trim().parse().ok().and_then(Pid::from_raw).expect("the first line is the program's id");

        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Output that is no UTF-8 ends the reading: none of our programs writes such.
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { name, pid, supervisor, lines: Mutex::new(lines), seen: Vec::new() }
    }

    /// The id of the program (not of its supervisor).
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal, unless the program is already gone.
    fn signal(&mut self, signal: Signal) {
        if self.try_status().is_none() {
            // An error means that it ended just now.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Stops the program in its tracks (SIGSTOP).
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a stopped program go on (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Asks the program to end, as Ctrl-C does.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// The next line of output.
    ///
    /// # Panics
    ///
    /// When there is none within the time.
    pub fn line(&mut self, within: Duration) -> String {
        match self.lines().recv_timeout(within) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(error) => {
                let output = self.output();
                panic!("no further line from {}: {error}; so far:\n{output}", self.name)
            }
        }
    }

    /// Waits for the end of the program, and returns its status and all that it wrote.
    ///
    /// # Panics
    ///
    /// When it is still running after that time.
    pub fn finish(&mut self, within: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + within;
        loop {
            match self.lines().recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let output = self.output();
                    panic!("{} still runs after {within:?}; so far:\n{output}", self.name)
                }
            }
        }
        let status = self.supervisor.wait().expect("wait for the supervisor");
        (status, self.output())
    }

    /// The exit status, when the program has ended.
    ///
    /// # Panics
    ///
    /// When the operating system cannot say.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().expect("ask for the supervisor's status")
    }

    /// What the program has written until now.
    pub fn output(&mut self) -> String {
        let new: Vec<_> = self.lines().try_iter().collect();
        self.seen.extend(new);
        self.seen.join("\n")
    }

    fn lines(&mut self) -> &Receiver<String> {
        self.lines.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the program and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Closes the pipe: the supervisor would kill the program now, had the signal not reached it.
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + DEATH;
        while self.supervisor.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process with this id exists.
#[must_use]
pub fn is_running(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}
