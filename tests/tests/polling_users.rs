//! Where the user of a server lacks what it takes to stand in line: whoever waits polls, beside others who poll and beside others who
//! stand in line, and it is told once. One test, for one process has one subscriber.

use std::time::Duration;

use lock_runtime::LockManager;
use lock_runtime::store::redis::RedisStore;
use lock_tests::{Admin, Log, RedisServer, eventually};

const KEY: &str = "polled";
const TTL: Duration = Duration::from_secs(60);
/// Several polls, on a busy machine too; far below the lease.
const SOON: Duration = Duration::from_secs(5);

/// How often a lock was asked for or given back.
fn requests(admin: &mut Admin) -> u64 {
    let counts = admin.command_counts();
    ["set", "eval", "evalsha"].iter().filter_map(|command| counts.get(*command)).sum()
}

/// Promise: whatever right is missing, a lock goes from each to each: among those who lack it, from them to those in line, and back.
/// Each store tells of it once, with the reason, however often it is waited for or connected anew.
///
/// Turned red by: an error where a right is missing; a warning with every wait; waiters in line who never ask.
#[tokio::test]
async fn whoever_may_not_line_up_polls_and_is_told_of_once() {
    let log = Log::capture();
    let told = || log.lines().into_iter().filter(|line| line.contains("\"lock.polling\"")).collect::<Vec<_>>();
    let server = RedisServer::start();
    let mut admin = server.admin();
    let open = |url: &str| LockManager::builder(RedisStore::open(url).expect("a good address")).build();
    let in_line = open(&server.url());
    for (number, missing) in ["resetchannels", "-subscribe", "-publish", "-lpos", "-rpush"].into_iter().enumerate() {
        let before = told().len();
        let name = format!("user-{number}");
        let words = ["ACL", "SETUSER", &name, "on", ">canary", "~*", "resetchannels", "&*", "+@all", missing];
        admin.command::<()>(&words);
        let url = format!("redis://{name}:canary@127.0.0.1:{}/", server.port());
        let [first, second] = [open(&url), open(&url)];
        let turns = [(&first, &second), (&second, &first), (&in_line, &first), (&first, &in_line)];
        // Connections are made anew on the way, by those who know by now.
        for (holder, waiter) in turns.into_iter().chain([(&first, &second), (&second, &first)]) {
            let guard = holder.lock(KEY).ttl(TTL).acquire().await.expect("free");
            let before = requests(&mut admin);
            let waiting = tokio::spawn(waiter.lock(KEY).ttl(TTL).wait(TTL).acquire());
            eventually("it is asked for", SOON, || requests(&mut admin) > before + 1).await;
            guard.release().await.expect("ours");
            let guard = tokio::time::timeout(SOON, waiting).await.expect("soon").expect("no panic");
            guard.expect("the lock").release().await.expect("ours");
            assert_eq!(admin.keys(), [""; 0], "{missing}");
            admin.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        }
        let told = told().split_off(before);
        // Of a right that is missing to call others, only who has had somebody to call.
        let times = if missing == "-publish" { 1..=2 } else { 2..=2 };
        assert!(times.contains(&told.len()), "{missing}: once for each: {told:#?}");
        assert!(told.iter().all(|line| !line.contains("canary") && !line.contains(KEY)), "{told:#?}");
    }
}
