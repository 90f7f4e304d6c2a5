//! A holder's process that is killed or stopped.

use std::time::{Duration, Instant};

use lock_tests::{RedisServer, eventually_blocking, machine_time};
use tokio::runtime::Builder;

use crate::{AT_ONCE, DEADLINE, PROCESS, TTL, connect, worker};

/// Longer than a worker needs to tell that it holds the lock, and to be stopped after that.
const LEASE: Duration = Duration::from_millis(700);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Promise: a crash frees the lock when its ttl is over, and not much later.
///
/// Turned red by: `SET` without `PX`.
#[tokio::test]
async fn row_08_holder_killed() {
    let server = RedisServer::start();
    let locks = connect(&server).await;
    let ttl = Duration::from_millis(1500);
    let mut holder = worker(&["hold-lock", &server.url(), "crash", &ttl.as_millis().to_string()]);
    assert_eq!(holder.line(PROCESS), "held");

    let started = Instant::now();
    holder.kill();
    assert!(server.admin().exists("crash"), "nobody was there to release it");
    let guard = locks.lock("crash").ttl(ttl).wait(TTL).acquire().await.expect("the lock");
    let waited = started.elapsed();
    assert!(waited < ttl + AT_ONCE / 2, "freed only after {waited:?}");
    guard.release().await.expect("released");
}

/// Promise: when a process is stopped for longer than its lease (SIGSTOP, a debugger, a frozen container), its body is not polled
/// once when it goes on, its call is *lost*, and the lock of the next holder stays. (Whoever is stopped between the look at the
/// clock and the poll behind it, some hundred nanoseconds, is beyond this promise, and beyond every other.)
///
/// Turned red by: a deadline that is a timer beside the body (`select!`) or a task that aborts it; a release by bare `DEL`.
#[test]
fn row_09_holder_stopped_for_longer_than_its_lease() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let start = |(number, kind): (usize, &'static str)| {
        let key = format!("{number}: {kind}");
        (worker(&["note-polls", &server.url(), &key, &LEASE.as_millis().to_string(), kind]), key)
    };
    let kinds = ["current-thread", "multi-thread"].into_iter().cycle().take(4).enumerate();
    let mut stopped: Vec<_> = kinds.map(start).collect();
    for (holder, key) in &mut stopped {
        assert_eq!(holder.line(PROCESS), "held");
        holder.pause();
        assert!(admin.exists(key), "it was stopped too late");
    }
    for (mut holder, key) in stopped {
        eventually_blocking("its lease is over", LEASE + AT_ONCE, || !admin.exists(&key));
        block_on(async {
            let locks = connect(&server).await;
            let next = locks.lock(key.as_str()).ttl(TTL).acquire().await.expect("the next holder");
            assert_eq!(holder.output(), "held", "it was stopped too late");
            let resumed = machine_time();
            holder.resume();
            let (status, output) = holder.finish(PROCESS);
            let (kind, last) = output.lines().last().and_then(|line| line.rsplit_once(' ')).expect("two words");
            assert!(status.success() && kind == "lost", "{output}");
            let last: u128 = last.parse().expect("a number");
            assert!(last > 0 && last < resumed.as_nanos(), "{key}: polled after it went on");
            next.release().await.expect("still theirs");
        });
    }
}

/// Promise: a body that writes all the same after such a stop is refused by a resource that looks at the fencing token: the next
/// holder's is higher.
///
/// Turned red by: tokens that do not rise; a token that is not the one of the lock.
#[test]
fn row_09_stale_writer_refused_by_its_token() {
    let server = RedisServer::start();
    let mut admin = server.admin();
    let mut holder = worker(&["write-late", &server.url(), "fenced", &LEASE.as_millis().to_string()]);
    let first = holder.line(PROCESS);
    let first: i64 = first.strip_prefix("held ").and_then(|token| token.parse().ok()).expect("a token");
    holder.pause();
    assert!(admin.write_fenced("resource", first, "early"), "nobody is later yet");
    eventually_blocking("its lease is over", LEASE + AT_ONCE, || !admin.exists("fenced"));
    block_on(async {
        let locks = connect(&server).await;
        let next = locks.lock("fenced").ttl(TTL).fence().acquire().await.expect("the next holder");
        let second = next.fence().expect("asked for");
        assert!(second > first, "{second} after {first}");
        assert!(admin.write_fenced("resource", second, "next"));
        holder.resume();
        assert_eq!(holder.line(PROCESS), "refused");
        assert_eq!(admin.command::<String>(&["HGET", "resource", "value"]), "next");
        next.release().await.expect("still theirs");
    });
}

/// Promise: when a process is stopped between the answer to its `SET` and the first poll of its body, wherever that is, and goes on
/// when the lock is another's, its body never begins.
///
/// Turned red by: a first poll without a look at the clock; reusing an earlier look.
#[test]
fn row_10_holder_stopped_before_its_body_begins() {
    let server = RedisServer::start();
    let ttl = LEASE.as_millis().to_string();
    let start = |key: &str, look: u64| worker(&["stop-itself", &server.url(), key, &ttl, &look.to_string()]);

    let (_, output) = start("not stopped", 0).finish(PROCESS);
    let (looks, end) = output.strip_prefix("body ").and_then(|output| output.split_once('\n')).expect("two lines");
    assert_eq!(end, "ended well");
    let looks: u64 = looks.parse().expect("a number");
    assert!(looks >= 1, "the body begins without a look at the clock");

    let mut stopped: Vec<_> = (1..=looks).map(|look| (start(&format!("look {look}"), look), look)).collect();
    for (holder, _) in &mut stopped {
        assert_eq!(holder.line(PROCESS), "stopping");
    }
    let mut admin = server.admin();
    for (mut holder, look) in stopped {
        let key = format!("look {look}");
        eventually_blocking("its lease is over", LEASE + AT_ONCE, || !admin.exists(&key));
        block_on(async {
            let next = connect(&server).await.lock(key.as_str()).ttl(TTL).acquire().await.expect("the next holder");
            // More than once: it had said that it would stop, and perhaps was not there yet.
            eventually_blocking("it goes on", DEADLINE, || {
                holder.resume();
                holder.output().contains("ended")
            });
            let output = holder.output();
            // Asked again, since it was late, it finds the lock busy.
            assert!(["stopping\nended lost", "stopping\nended busy"].contains(&&*output), "{key}: {output}");
            next.release().await.expect("still theirs");
        });
    }
}
