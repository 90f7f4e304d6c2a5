//! Requests of many tasks at the same moment.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_tests::{Admin, RedisServer};

/// How often the server has read from its clients, and how many commands it has carried out.
fn counters(admin: &mut Admin) -> [u64; 2] {
    let stats: String = admin.command(&["INFO", "stats"]);
    ["total_reads_processed:", "total_commands_processed:"].map(|name| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name)).expect("the counter");
        line.trim().parse().expect("a number")
    })
}

/// Promise: what many tasks ask for at the same moment leaves together, some at a time, and costs neither side a packet and a system
/// call for each request.
///
/// Turned red by: writing each request when it is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_of_many_tasks_leave_together() {
    const TASKS: usize = 64;
    let server = RedisServer::start();
    let manager = LockManager::connect(&server.url()).await.expect("a manager");
    let round = || async {
        let tasks = (0..TASKS).map(|task| {
            let manager = manager.clone();
            tokio::spawn(async move {
                let guard = manager.lock(format!("key {task}")).ttl(Duration::from_secs(30)).acquire().await;
                guard.expect("a free lock").release().await.expect("given back");
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("the task");
        }
    };
    // The server knows the script from here on.
    round().await;
    let mut admin = server.admin();
    let before = counters(&mut admin);
    round().await;
    let after = counters(&mut admin);
    let [reads, commands] = [0, 1].map(|n| after[n] - before[n]);
    assert!(commands >= 2 * TASKS as u64, "{commands} commands");
    // About six requests in each, of 128; one by one, it was never below 64.
    assert!(reads <= 40, "{reads} reads of {commands} commands");
}
