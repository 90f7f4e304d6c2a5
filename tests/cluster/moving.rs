//! Slots that move from one node to another: MOVED, ASK and TRYAGAIN.

use std::collections::BTreeMap;
use std::process::Command;

use lock_tests::{Admin, Moment, Process, drop_after, eventually};

use super::*;

/// How often a node has sent a client away with `error`.
fn answered(cluster: &RedisCluster, node: usize, error: &str) -> u64 {
    let info: String = cluster.nodes()[node].admin().command(&["INFO", "errorstats"]);
    let line = info.lines().find_map(|line| line.strip_prefix(&*format!("errorstat_{error}:count=")));
    line.map_or(0, |count| count.trim().parse().expect("a number"))
}

/// Promise: MOVED is followed, by whatever is asked for a lock, and the next request goes to the right node at once.
///
/// Turned red by: `Wander::follows` that says no; a map that is not changed by it.
#[tokio::test]
async fn moved_locks_are_followed() {
    let cluster = RedisCluster::start().await;
    let (locks, others) = (connect(&cluster).await, connect(&cluster).await);
    let key = "{work}:1";
    let (slot, from) = (cluster.slot(key), cluster.owner(key));
    let to = another(from);
    let guard = locks.lock(key).ttl(TTL).acquire().await.expect("free");
    let renewed = locks.lock("{work}:2").ttl(TTL / 60).renew().acquire().await.expect("free");
    cluster.move_slot(slot, from, to);

    assert!(guard.ttl().await.expect("an answer") > TTL / 2);
    guard.extend(2 * TTL).await.expect("ours");
    let error = others.lock(key).ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
    tokio::time::sleep(TTL / 20).await;
    assert!(renewed.is_held());
    renewed.release().await.expect("ours");
    guard.release().await.expect("ours");
    assert!(!cluster.nodes()[to].admin().exists(key));
    let redirected = answered(&cluster, from, "MOVED");
    assert!(redirected > 0, "nobody was sent away");
    for _ in 0..20 {
        locked(&locks, key, async {}).await.expect("free");
    }
    assert_eq!(answered(&cluster, from, "MOVED"), redirected, "the node that has the slot is known by now");
}

/// Promise: while a slot is on its way, locks whose keys have gone ahead, and those that are new, are at the target, and all that
/// can be done with a lock is done there; of several keys at two nodes, too. One with a fencing token waits for the slot.
///
/// Turned red by: a request without its ASKING; a release that does not look at each key by itself.
#[tokio::test]
async fn locks_on_their_way_are_asked_for() {
    let cluster = RedisCluster::start().await;
    let (locks, others) = (connect(&cluster).await, connect(&cluster).await);
    let (a, b, new) = ("{work}:a", "{work}:b", "{work}:new");
    let (slot, from) = (cluster.slot(a), cluster.owner(a));
    let to = another(from);
    let (mut source, mut target) = (cluster.nodes()[from].admin(), cluster.nodes()[to].admin());
    let fence = locks.lock("{work}:fenced").ttl(TTL).fence().acquire().await.expect("free");
    let token = fence.fence().expect("a token");
    fence.release().await.expect("ours");
    let both = locks.lock_many([a, b]).ttl(TTL).acquire().await.expect("free");
    let alone = locks.lock("{work}:alone").ttl(TTL).acquire().await.expect("free");
    let renewed = locks.lock("{work}:renewed").ttl(TTL / 60).renew().acquire().await.expect("free");

    cluster.begin_to_move(slot, from, to);
    cluster.move_keys(slot, from, to, Some(":b"));
    // The counter of fencing tokens is to be at the source.
    assert!(target.exists_here(a) && source.exists_here(b));

    let guard = others.lock(new).ttl(TTL).acquire().await.expect("free");
    assert!(target.exists_here(new) && !source.exists_here(new));
    let error = locks.lock(new).ttl(TTL).acquire().await.expect_err("it is held");
    assert!(error.is_busy(), "{error}");
    guard.extend(2 * TTL).await.expect("ours");
    guard.release().await.expect("ours");
    assert!(!target.exists_here(new));
    assert!(alone.ttl().await.expect("an answer") > TTL / 2);
    alone.release().await.expect("ours");
    both.release().await.expect("ours, at two nodes");
    assert!(!target.exists_here(a) && !source.exists_here(b));
    tokio::time::sleep(TTL / 20).await;
    assert!(renewed.is_held());
    renewed.release().await.expect("ours");

    let waiting = tokio::spawn({
        let others = others.clone();
        async move { others.lock("{work}:fenced").ttl(TTL).wait(FAILOVER).fence().acquire().await }
    });
    let mut turned_away = || answered(&cluster, to, "TRYAGAIN") + answered(&cluster, from, "TRYAGAIN") > 0;
    eventually("the lock with a token is asked for", AT_ONCE, &mut turned_away).await;
    cluster.end_move(slot, from, to);
    let guard = waiting.await.expect("no panic").expect("the slot has arrived");
    assert!(guard.fence() > Some(token));
    guard.release().await.expect("ours");
    assert!(answered(&cluster, from, "ASK") > 0, "nobody was sent ahead");
}

/// Looks at keys of slots that are on their way.
trait Here {
    /// Whether the node has the key, whoever has its slot.
    fn exists_here(&mut self, key: &str) -> bool;
}

impl Here for Admin {
    fn exists_here(&mut self, key: &str) -> bool {
        self.keys().iter().any(|found| found == key)
    }
}

/// Promise: an acquisition that is dropped on its way to where its key has gone leaves nothing behind, at no node.
///
/// Turned red by: a clean-up that goes to the node that was asked first and believes its answer; one that does not follow.
#[tokio::test]
async fn nothing_is_left_by_those_who_gave_up_on_the_way() {
    let cluster = RedisCluster::start().await;
    let (slot, from) = (cluster.slot("{work}"), cluster.owner("{work}"));
    let to = another(from);
    let mut moved = 0;
    for (n, on_its_way) in [true, false].into_iter().enumerate() {
        if on_its_way {
            cluster.begin_to_move(slot, from, to);
        }
        for moment in [Moment::Pending, Moment::Woken] {
            for polls in 1..12 {
                // It has not heard of the slot's move; the second one at least.
                let locks = connect(&cluster).await;
                if !on_its_way && polls == 1 && moment == Moment::Pending {
                    locks.lock("{work}:before").ttl(TTL).acquire().await.expect("free").release().await.expect("ours");
                    cluster.end_move(slot, from, to);
                }
                let key = format!("{{work}}:{n}:{moment:?}:{polls}");
                let dropped = drop_after(polls, moment, locks.lock(&*key).ttl(TTL).acquire()).await;
                drop(dropped);
                locks.shutdown().await;
                for node in cluster.nodes() {
                    assert!(!node.admin().keys().contains(&key), "{key} was left at {}", node.port());
                }
                moved += 1;
            }
        }
    }
    assert_eq!(moved, 44);
    assert!(answered(&cluster, from, "ASK") > 0 && answered(&cluster, from, "MOVED") > 0);
}

/// Promise: while slots move to and fro under processes that take locks in them, no lock is held twice, none is lost, and
/// everybody gets a turn.
///
/// Turned red by: a lock that is taken at the source while its slot is on the way (no ASK); a MOVED that ends the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load() {
    const ROUNDS: usize = 12;
    let cluster = RedisCluster::start().await;
    let keys = ["{work}:0", "{work}:1", "{work}:2", "plain"];
    let start = || {
        let arguments = ["take-turns", &cluster.url(), &keys.join(",")];
        Process::spawn(Command::new(env!("CARGO_BIN_EXE_worker")).args(arguments))
    };
    let mut workers: Vec<Process> = (0..4).map(|_| start()).collect();
    for worker in &mut workers {
        assert_eq!(worker.line(FAILOVER), "begun");
    }
    let moves = tokio::task::spawn_blocking(move || {
        for round in 0..ROUNDS {
            for key in ["{work}", "plain"] {
                let (slot, from) = (cluster.slot(key), cluster.owner(key));
                let to = (from + 1 + round % 2) % 3;
                cluster.begin_to_move(slot, from, to);
                // A while in which keys are at both.
                std::thread::sleep(Duration::from_millis(30));
                cluster.move_keys(slot, from, to, None);
                std::thread::sleep(Duration::from_millis(30));
                cluster.end_move(slot, from, to);
            }
        }
        let redirected: u64 =
            (0..3).map(|node| answered(&cluster, node, "MOVED") + answered(&cluster, node, "ASK")).sum();
        (cluster, redirected)
    });
    let (_cluster, redirected) = moves.await.expect("no panic");
    assert!(redirected > 20, "only {redirected} requests were sent elsewhere");
    let mut turns: BTreeMap<String, Vec<(u128, u128, usize)>> = BTreeMap::new();
    for (n, mut worker) in workers.into_iter().enumerate() {
        worker.interrupt();
        let (_, output) = worker.finish(FAILOVER);
        let mut count = 0;
        for line in output.lines().filter(|line| *line != "begun") {
            let words: Vec<&str> = line.split(' ').collect();
            let [key, begin, end] = words[..] else { panic!("worker {n}: {output}") };
            let number = |word: &str| word.parse::<u128>().expect("a number");
            turns.entry(key.to_owned()).or_default().push((number(begin), number(end), n));
            count += 1;
        }
        assert!(count > ROUNDS, "worker {n} had {count} turns");
    }
    let mut all = 0;
    for (key, mut turns) in turns {
        turns.sort_unstable();
        all += turns.len();
        for pair in turns.windows(2) {
            let ((begin, end, who), (next, ..)) = (pair[0], pair[1]);
            assert!(end <= next, "{key}: {} µs by {who} and {} both at once", end - next, pair[1].2);
            assert!(begin <= end);
        }
    }
    println!("{all} turns of 4 processes on 4 keys while slots moved {} times", 2 * ROUNDS);
}
