//! The harness itself: what it promises to the other tests.

use std::process::Command;
use std::time::Duration;

use lock_tests::{Process, RedisServer, eventually_blocking, is_running};

const SOON: Duration = Duration::from_secs(10);

/// A server answers, is emptied by a restart on the same port, and is gone after its test.
#[test]
fn a_server_starts_restarts_and_ends() {
    let mut server = RedisServer::start();
    let (pid, port) = (server.pid(), server.port());
    assert_ne!(port, 6379);
    server.admin().set("key", "value", &["PX", "60000"]);
    assert_eq!(server.admin().get("key").as_deref(), Some("value"));
    assert!(server.admin().remaining("key").is_some_and(|left| left > Duration::from_secs(50)));
    assert_eq!(server.admin().command_counts()["set"], 1);

    server.kill();
    assert!(!is_running(pid));
    server.restart_empty();
    assert_eq!(server.port(), port);
    assert!(!server.admin().exists("key"));

    let pid = server.pid();
    drop(server);
    assert!(!is_running(pid));
}

/// A server that writes to its disk knows after a restart what it had answered, unless it is to be empty.
#[test]
fn a_server_keeps_what_it_has_written() {
    let mut server = RedisServer::options().arguments(["--appendonly", "yes", "--appendfsync", "always"]).start();
    server.admin().set("key", "value", &[]);
    server.kill();
    server.restart();
    assert_eq!(server.admin().get("key").as_deref(), Some("value"));
    server.restart_empty();
    assert_eq!(server.admin().get("key"), None);
}

/// A paused server keeps what it was sent, and can be killed.
#[test]
fn a_server_pauses() {
    let mut server = RedisServer::start();
    let mut admin = server.admin();
    server.pause();
    let asked = std::thread::spawn(move || admin.command::<String>(&["PING"]));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!asked.is_finished());
    server.resume();
    assert_eq!(asked.join().expect("the answer"), "PONG");

    server.pause();
    let pid = server.pid();
    drop(server);
    assert!(!is_running(pid));
}

/// Clients must know the password.
#[test]
fn a_server_has_a_password() {
    let server = RedisServer::options().password("secret").arguments(["--maxmemory", "32mb"]).start();
    assert!(server.url().contains(":secret@"));
    let limits: Vec<String> = server.admin().command(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(limits, ["maxmemory", "33554432"]);
}

/// Many servers at once each get a port of their own.
#[test]
fn servers_do_not_meet() {
    let start = |_| std::thread::spawn(RedisServer::start);
    let threads: Vec<_> = (0..8).map(start).collect();
    let servers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a server")).collect();
    for (number, server) in servers.iter().enumerate() {
        server.admin().set("number", &number.to_string(), &[]);
    }
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(server.admin().get("number"), Some(number.to_string()));
    }
}

/// A panic in a test takes the server along.
#[test]
fn a_panic_leaves_no_server() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let server = RedisServer::start();
        sender.send(server.pid()).expect("the test waits");
        panic!("on purpose");
    });
    let pid = receiver.recv().expect("the server's id");
    assert!(panicked.join().is_err());
    assert!(!is_running(pid));
}

/// SIGKILL runs no destructor: the server goes all the same, even a paused one.
#[test]
fn a_killed_test_leaves_no_server() {
    for state in ["running", "paused"] {
        let mut worker = Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(["hold-server", state]));
        let server: i32 = worker.line(SOON).parse().expect("the server's id");
        assert!(is_running(server));
        worker.kill();
        eventually_blocking("the server of a killed process ends", SOON, || !is_running(server));
    }
}

/// A program's output, status and end are seen.
#[test]
fn a_process_is_observed() {
    let mut process = Process::spawn(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]));
    assert_eq!(process.line(SOON), "one");
    let (status, output) = process.finish(SOON);
    assert_eq!((status.code(), output.as_str()), (Some(3), "one\ntwo"));
}
