//! Servers that follow each other.

use std::time::Duration;

use crate::admin::Admin;
use crate::eventually::eventually;
use crate::server::RedisServer;

/// How long a full copy may take.
const COPY: Duration = Duration::from_secs(20);

/// Makes `server` a replica of `master`, and returns when it has that one's data in the place of its own.
///
/// # Panics
///
/// When that takes too long.
pub async fn demote(server: &RedisServer, master: &RedisServer) {
    begin_to_follow(server, master);
    let mut admin = server.admin();
    eventually("the replica has its master's data", COPY, || is_linked(&mut admin)).await;
}

/// Makes `server` a replica of `master`, and does not wait for the data.
pub fn begin_to_follow(server: &RedisServer, master: &RedisServer) {
    // Not to wait for further replicas, which are to be sent the data at the same time.
    master.admin().configure("repl-diskless-sync-delay", "0");
    server.admin().command::<()>(&["REPLICAOF", master.host(), &master.port().to_string()]);
}

/// Makes a replica a master again, with the data that it has.
pub fn promote(server: &RedisServer) {
    server.admin().command::<()>(&["REPLICAOF", "NO", "ONE"]);
}

/// Whether a replica has its master's data, and hears of its changes.
pub fn is_linked(replica: &mut Admin) -> bool {
    info(replica, "replication", "master_link_status").as_deref() == Some("up")
}

/// A line of `INFO`.
pub fn info(server: &mut Admin, section: &str, name: &str) -> Option<String> {
    let info: String = server.command(&["INFO", section]);
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}
