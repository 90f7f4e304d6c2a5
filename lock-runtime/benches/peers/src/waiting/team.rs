//! A library's processes, and a server of their own.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lock_tests::{Admin, RedisServer};
use serde_json::Value;

use super::who::Who;

/// No turn takes as long, drawn out as it may be by those who were unlucky in it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The keys of the locks, of which each team has those on its own server.
pub(super) const CONTENDED: &str = "contended";
pub(super) const DRAINED: &str = "drained";
pub(super) const HANDED_OFF: &str = "handed-off";

/// Who takes part, with as many processes as were needed so far.
pub(super) struct Team {
    pub(super) who: Who,
    program: PathBuf,
    /// They end before their server, which some of them would complain about.
    processes: Vec<Process>,
    pub(super) server: RedisServer,
}

impl Team {
    /// Starts a server and the first process.
    ///
    /// # Errors
    ///
    /// What is not installed.
    pub(super) fn muster(who: Who, program: &Path) -> Result<Self, String> {
        let server = RedisServer::start();
        let first = Process::start(who.command(program, &server.url()))?;
        first.ready()?;
        for key in [CONTENDED, DRAINED, HANDED_OFF] {
            who.make(&mut server.admin(), key);
        }
        Ok(Self { who, program: program.to_owned(), processes: vec![first], server })
    }

    /// So many processes, started and connected.
    pub(super) fn processes(&mut self, count: usize) -> &mut [Process] {
        let there = self.processes.len();
        for _ in there..count {
            let command = self.who.command(&self.program, &self.server.url());
            self.processes.push(Process::start(command).expect("installed: there is a first process"));
        }
        for started in self.processes.iter().skip(there) {
            started.ready().expect("installed: there is a first process");
        }
        &mut self.processes[..count]
    }

    /// Has `count` processes do what a line says, at the same time. Their answers.
    pub(super) fn all(&mut self, count: usize, line: &str) -> Vec<Value> {
        let processes = self.processes(count);
        for process in &mut *processes {
            process.say(line);
        }
        processes.iter().map(Process::answer).collect()
    }

    /// Has the server say what it is sent, from now on.
    pub(super) fn listen(&self) -> Listener {
        Listener::start(&self.server)
    }
}

/// One process. It ends with its input: when this is dropped, or the benchmark ends, however that comes.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Process {
    fn start(mut command: Command) -> Result<Self, String> {
        let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(command.get_program().display().to_string());
            }
            Err(error) => panic!("start {command:?}: {error}"),
        };
        let input = child.stdin.take().expect("the input is piped");
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, input, answers })
    }

    /// Waits until it has its library.
    fn ready(&self) -> Result<(), String> {
        let first = self.answer();
        match first["missing"].as_str() {
            Some(what) => Err(what.to_owned()),
            None if first["ready"] == true => Ok(()),
            None => panic!("a process begins with {first}"),
        }
    }

    pub(super) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the process reads on; its errors are above");
    }

    pub(super) fn answer(&self) -> Value {
        let line = self.answers.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("{error}: a process does not answer; its errors are above"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(super) fn ask(&mut self, line: &str) -> Value {
        self.say(line);
        self.answer()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts what clients send to a server: its MONITOR, without what scripts do. It slows the server down, so nothing is
/// timed meanwhile.
pub(super) struct Listener {
    /// Connected before the count, or it would be counted.
    admin: Admin,
    counting: JoinHandle<u64>,
}

/// What the server is sent when the count is to end.
const END: &str = "the count ends here";

impl Listener {
    fn start(server: &RedisServer) -> Self {
        let admin = server.admin();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"MONITOR\r\n").expect("a server");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("what the server is sent"));
        assert_eq!(lines.next().as_deref(), Some("+OK"));
        // `+1700000000.123456 [0 127.0.0.1:60866] "GET" "key"`, and of a script `+… [0 lua] "GET" "key"`.
        let counting = std::thread::spawn(move || {
            let sent = lines.take_while(|line| !line.contains(END)).filter(|line| !line.contains("[0 lua]"));
            u64::try_from(sent.count()).unwrap_or(u64::MAX)
        });
        Self { admin, counting }
    }

    /// How many commands were sent since the start.
    pub(super) fn stop(mut self) -> u64 {
        self.admin.command::<String>(&["ECHO", END]);
        self.counting.join().expect("the server says what it was sent")
    }
}
