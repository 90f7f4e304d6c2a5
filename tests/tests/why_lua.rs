//! The example that shows why a lock is released by a script.

use std::time::Duration;

use lock_tests::{Process, RedisServer, example};

const PATIENCE: Duration = Duration::from_secs(30);

/// Promise: GET + DEL deletes somebody else's lock, and the runtime's release does not, with the same bad luck.
///
/// Turned red by: a `release.lua` that does not compare. (And by a GET + DEL that does no harm: then the example shows
/// nothing.)
#[test]
fn by_hand_it_deletes_somebody_elses_lock_and_by_the_script_it_does_not() {
    let server = RedisServer::start();
    let mut program = Process::spawn(example("why_lua").env("REDIS_URL", server.url()));
    let id = program.pid();
    let (status, output) = program.finish(PATIENCE);
    assert!(status.success(), "{output}");

    let has = |line: &str| assert!(output.lines().any(|other| other.trim() == line), "no line `{line}` in:\n{output}");
    has(&format!("A: DEL why-lua:{id}:get-del -> 1"));
    has(&format!("B: GET why-lua:{id}:get-del -> nothing: B works on without a lock, and C may come"));
    has(&format!("A: release why-lua:{id}:lua -> Err(Lost)"));
    has(&format!("B: GET why-lua:{id}:lua -> b's-token: B still holds it"));
    has("| way                 | atomic? | whose lock was deleted? | recommended? |");
    has("| SETNX + GET + DEL   | no      | B's                     | no           |");
    has("| SETNX + Lua release | yes     | nobody's                | yes          |");

    // Of the two locks that B took for half a minute, the server has one.
    let mut admin = server.admin();
    let kept = format!("why-lua:{id}:lua");
    assert_eq!(admin.keys(), [kept.as_str()]);
    assert_eq!(admin.get(&kept).as_deref(), Some("b's-token"));
    assert!(admin.remaining(&kept).is_some(), "it ends by itself");
}

/// Without a server, it says what to do.
#[test]
fn without_a_server() {
    let mut server = RedisServer::start();
    server.kill();
    let (status, output) = Process::spawn(example("why_lua").env("REDIS_URL", server.url())).finish(PATIENCE);
    assert!(!status.success());
    assert!(output.contains("Start a server"), "{output}");
}
