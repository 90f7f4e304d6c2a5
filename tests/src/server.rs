//! A `redis-server` of the test's own.

use std::collections::hash_map::RandomState;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::admin::{Admin, TIMEOUT};
use crate::process::Process;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// Below the range from which systems take the local port of an outgoing connection. Were it inside, a client that
/// redials a dead server could be given the server's own port, and be connected to itself.
const PORTS: Range<u16> = 20_000..30_000;

/// A server on a free port of 127.0.0.1, without persistence. Dropping it kills it; so does the end of the test's process.
#[derive(Debug)]
pub struct RedisServer {
    options: ServerOptions,
    port: u16,
    /// Where it listens for TLS, if it does.
    tls_port: Option<u16>,
    process: Process,
    directory: TempDir,
}

/// How a [`RedisServer`] is started.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    password: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
    certificates: Option<Certificates>,
    /// What a sentinel is told, if it is one.
    sentinel: Option<String>,
    /// The address at which it listens, and the network namespace in which that is, if it is not 127.0.0.1.
    place: Option<(String, String)>,
}

/// What a server that speaks TLS has, in PEM form.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Of the authority that its clients must have a certificate from, if they must have any.
    pub clients: Option<String>,
    /// The server's own,
    pub server: String,
    /// and its private key.
    pub key: String,
}

impl ServerOptions {
    /// Listens for TLS, too, on a port of its own.
    #[must_use]
    pub fn tls(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    pub(crate) fn speaks_tls(&self) -> bool {
        self.certificates.is_some()
    }

    /// Clients must log in with this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Listens at `address`, inside of a network namespace.
    pub(crate) fn at(mut self, address: &str, namespace: &str) -> Self {
        self.place = Some((address.to_owned(), namespace.to_owned()));
        self.arguments(["--protected-mode", "no"])
    }

    fn host(&self) -> &str {
        self.place.as_ref().map_or("127.0.0.1", |(address, _)| address)
    }

    /// Is a sentinel, and is told this.
    #[must_use]
    pub fn sentinel(mut self, configuration: &str) -> Self {
        self.sentinel = Some(configuration.to_owned());
        self
    }

    /// Adds arguments of `redis-server`: `["--maxmemory", "2mb"]`.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Sets variables of the server's environment.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Allows the command `DEBUG`, which servers from 7.0 on refuse and older ones have no switch for.
    ///
    /// # Panics
    ///
    /// When the server does not say its version.
    #[must_use]
    pub fn debug_command(self) -> Self {
        let version = Command::new(program()).arg("--version").output().expect("start redis-server");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let major = version.split("v=").nth(1).and_then(|version| version.split('.').next());
        let major: u32 = major.and_then(|major| major.parse().ok()).expect("a version: `v=7.0.15`");
        if major < 7 { self } else { self.arguments(["--enable-debug-command", "yes"]) }
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When there is no `redis-server`, or it does not start.
    #[must_use]
    pub fn start(self) -> RedisServer {
        let deadline = Instant::now() + START;
        loop {
            let port = free_port();
            // A new one for each try: the supervisor of a server that ended has removed its own.
            let directory = tempfile::Builder::new().prefix("lock-tests-").tempdir().expect("a temporary directory");
            let tls_port = self.certificates.is_some().then(|| free_port_after(port));
            let mut process = self.spawn(port, tls_port, &directory);
            if let Ok(()) = self.wait_until_ready(port, &mut process, deadline) {
                return RedisServer { options: self, port, tls_port, process, directory };
            }
        }
    }

    fn spawn(&self, port: u16, tls_port: Option<u16>, directory: &TempDir) -> Process {
        let mut command = match &self.place {
            None => Command::new(program()),
            Some((_, namespace)) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", namespace]).arg(program());
                inside
            }
        };
        if let Some(configuration) = &self.sentinel {
            // It writes down there what it learns.
            fs::write(directory.path().join("sentinel.conf"), configuration).expect("write a configuration");
            command.args(["sentinel.conf", "--sentinel"]);
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(["--bind", self.host(), "--port", &port.to_string(), "--dir"]).arg(directory.path());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        if let (Some(certificates), Some(port)) = (&self.certificates, tls_port) {
            let mut file = |argument: &str, name: &str, text: &str| {
                fs::write(directory.path().join(name), text).expect("write a certificate");
                command.args([argument, name]);
            };
            file("--tls-cert-file", "server.pem", &certificates.server);
            file("--tls-key-file", "server.key", &certificates.key);
            // It wants to trust somebody, even if it asks nobody.
            let clients = certificates.clients.as_ref();
            file("--tls-ca-cert-file", "clients.pem", clients.unwrap_or(&certificates.server));
            command.args(["--tls-auth-clients", if clients.is_some() { "yes" } else { "no" }]);
            command.args(["--tls-port", &port.to_string()]);
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(directory.path());
        Process::spawn(&command)
    }

    /// Asks until the answer comes from the process that was started here, and not from another on the same port.
    fn wait_until_ready(&self, port: u16, process: &mut Process, deadline: Instant) -> Result<(), PortTaken> {
        let url = self.url(port);
        loop {
            if let Some(status) = process.try_status() {
                let (_, output) = process.finish(START);
                if output.contains("Address already in use") {
                    return Err(PortTaken);
                }
                panic!("redis-server ended with {status}; is it installed? tests/run.sh installs it.\n{output}");
            }
            let answered = Admin::connect(&url, Duration::from_secs(1)).and_then(|mut admin| {
                // A server says who it is while it still reads what it had written, and answers nothing else.
                admin.try_command::<()>(&["PING"])?;
                admin.process_id()
            });
            if answered.is_ok_and(|id| id == process.pid()) {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "redis-server does not answer:\n{}", process.output());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn url(&self, port: u16) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{}:{port}/", self.host()),
            None => format!("redis://{}:{port}/", self.host()),
        }
    }
}

impl RedisServer {
    /// Starts a server without a password.
    #[must_use]
    pub fn start() -> Self {
        Self::options().start()
    }

    /// Starts a server in another way.
    #[must_use]
    pub fn options() -> ServerOptions {
        ServerOptions::default()
    }

    /// Where the server listens, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        self.options.url(self.port)
    }

    /// The address at which it listens.
    #[must_use]
    pub fn host(&self) -> &str {
        self.options.host()
    }

    /// The port there.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server listens for TLS, with the password if there is one.
    ///
    /// # Panics
    ///
    /// When it was started without [certificates](ServerOptions::tls).
    #[must_use]
    pub fn tls_url(&self) -> String {
        let url = self.options.url(self.tls_port.expect("a server that speaks TLS"));
        url.replacen("redis://", "rediss://", 1).replacen("127.0.0.1", "localhost", 1)
    }

    /// The port at which the other nodes of a cluster look for it: the encrypted one, if there is one.
    pub(crate) fn cluster_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// A connection for looking and meddling. It hangs while the server is paused.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(&self.url())
    }

    /// As [`admin`](Self::admin), if the server answers.
    #[must_use]
    pub fn try_admin(&self) -> Option<Admin> {
        Admin::connect(&self.url(), TIMEOUT).ok()
    }

    /// Stops the server in its tracks (SIGSTOP): connections are accepted, nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Lets a paused server go on (SIGCONT), with what it was sent in the meantime.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Kills the server (SIGKILL): connections are refused, and everything is forgotten.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a killed server again, on the same port and without its data.
    ///
    /// # Panics
    ///
    /// When it does not start, or somebody else took the port in the meantime.
    pub fn restart_empty(&mut self) {
        self.process.kill();
        // Its supervisor has removed it, if nothing was in it.
        if self.directory.path().exists() {
            fs::remove_dir_all(self.directory.path()).expect("what it has written");
        }
        self.restart();
    }

    /// Starts a killed server again, on the same port and with what it has written (`--appendonly yes`).
    ///
    /// # Panics
    ///
    /// As [`restart_empty`](Self::restart_empty).
    pub fn restart(&mut self) {
        self.process.kill();
        fs::create_dir_all(self.directory.path()).expect("its directory again");
        let mut process = self.options.spawn(self.port, self.tls_port, &self.directory);
        let ready = self.options.wait_until_ready(self.port, &mut process, Instant::now() + START);
        assert!(ready.is_ok(), "port {} was taken by another process", self.port);
        self.process = process;
    }
}

/// The server's binary.
fn program() -> OsString {
    env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// Another process was faster.
struct PortTaken;

/// A port on which nobody listens at this moment. The search starts anywhere, since many tests look at once.
fn free_port() -> u16 {
    free_port_from(RandomState::new().hash_one(std::process::id()))
}

/// Another one.
fn free_port_after(port: u16) -> u16 {
    free_port_from(u64::from(port - PORTS.start + 1))
}

fn free_port_from(start: u64) -> u16 {
    let ports = usize::from(PORTS.end - PORTS.start);
    let start = usize::try_from(start % 10_000).unwrap_or_default();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    PORTS.cycle().skip(start).take(ports).find(free).expect("a free port")
}
