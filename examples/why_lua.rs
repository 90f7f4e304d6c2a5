//! Why a lock is released by a script: what happens between GET and DEL.
//!
//! ```sh
//! redis-server &
//! cargo run --example why_lua
//! ```
//!
//! A takes a lock and is held up until that has expired; B takes it; A goes on, and releases. By hand, A deletes B's lock. By
//! the runtime's script, which compares and deletes in one step, A does not. `REDIS_URL` names another server. B's lock is
//! left there, for half a minute. (Tokens of your own would be random; these are to be told apart at a glance.)

use std::env;
use std::error::Error;
use std::process::{self, ExitCode};
use std::time::Duration;

use lock_runtime::{LockError, LockManager};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// A's lease. Asking for it and looking at it takes a small part of that.
const SHORT: Duration = Duration::from_millis(500);
/// B's lease: long enough to look at what is left.
const LONG: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match replay().await {
        Ok(as_told) if as_told => ExitCode::SUCCESS,
        Ok(_) => {
            println!("\nThis is not what was to be shown.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays both, and says whether they went as they should.
async fn replay() -> Outcome<bool> {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let start_one = "Start a server with `redis-server`, or set REDIS_URL to the address of one.";
    let locks = LockManager::connect(&url).await.map_err(|error| format!("{error}\n{start_one}"))?;
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;

    // A key of its own for each run, which cannot be in anybody's way.
    let by_hand = get_and_del(&mut redis, &format!("why-lua:{}:get-del", process::id())).await?;
    let by_script = lua(&mut redis, &locks, &format!("why-lua:{}:lua", process::id())).await?;

    let verdict = |deleted| if deleted { ("B's", "no") } else { ("nobody's", "yes") };
    println!();
    row("way", "atomic?", ("whose lock was deleted?", "recommended?"));
    row("---", "---", ("---", "---"));
    row("SETNX + GET + DEL", "no", verdict(by_hand));
    row("SETNX + Lua release", "yes", verdict(by_script));
    Ok(by_hand && !by_script)
}

/// The discouraged way: asks whether the lock is one's own, then deletes whatever there is. Whether B's lock was deleted.
async fn get_and_del(redis: &mut MultiplexedConnection, key: &str) -> Outcome<bool> {
    println!("SETNX + GET + DEL, by hand");
    set_nx(redis, "A", key, "a's-token", SHORT).await?;
    let holder: Option<String> = redis.get(key).await?;
    if holder.as_deref() != Some("a's-token") {
        return Err("The lock expired before A had looked at it: this machine is busy, try again.".into());
    }
    println!("  A: GET {key} -> {}: mine, so I may delete it", shown(holder.as_ref()));
    b_takes_over(redis, key).await?;
    let deleted: u8 = redis.del(key).await?;
    println!("  A: DEL {key} -> {deleted}");
    deleted_b(redis, key).await
}

/// The runtime's way, held up at the same place. Whether B's lock was deleted.
async fn lua(redis: &mut MultiplexedConnection, locks: &LockManager, key: &str) -> Outcome<bool> {
    println!("\nSETNX + Lua release, by lock-runtime");
    let guard = locks.lock(key).ttl(SHORT).acquire().await?;
    println!("  A: acquire {key} for {SHORT:?} -> a guard");
    let left = guard.ttl().await?;
    if left.is_zero() {
        return Err("The lock expired before A had looked at it: this machine is busy, try again.".into());
    }
    println!("  A: ttl {key} -> {left:?}: mine");
    b_takes_over(redis, key).await?;
    match guard.release().await {
        Ok(()) => println!("  A: release {key} -> Ok"),
        Err(LockError::Lost { .. }) => println!("  A: release {key} -> Err(Lost)"),
        Err(error) => return Err(error.into()),
    }
    deleted_b(redis, key).await
}

/// What may happen to any program at any time: it is held up, by a long request or a sleeping machine, and its lock expires.
async fn b_takes_over(redis: &mut MultiplexedConnection, key: &str) -> Outcome<()> {
    while redis.exists(key).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("     (A is held up; its lock expires)");
    set_nx(redis, "B", key, "b's-token", LONG).await
}

async fn set_nx(redis: &mut MultiplexedConnection, who: &str, key: &str, token: &str, ttl: Duration) -> Outcome<()> {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(token).arg("NX").arg("PX").arg(ttl.as_millis().to_string());
    let answer: Option<String> = command.query_async(redis).await?;
    println!("  {who}: SET {key} {token} NX PX {} -> {}", ttl.as_millis(), shown(answer.as_ref()));
    answer.map(|_| ()).ok_or_else(|| format!("Somebody else uses the key {key}.").into())
}

/// Whether B has lost its lock, though it has time left.
async fn deleted_b(redis: &mut MultiplexedConnection, key: &str) -> Outcome<bool> {
    let holder: Option<String> = redis.get(key).await?;
    let deleted = holder.as_deref() != Some("b's-token");
    let comment = if deleted { "B works on without a lock, and C may come" } else { "B still holds it" };
    println!("  B: GET {key} -> {}: {comment}", shown(holder.as_ref()));
    Ok(deleted)
}

fn shown(value: Option<&String>) -> &str {
    value.map_or("nothing", String::as_str)
}

fn row(way: &str, atomic: &str, (deleted, recommended): (&str, &str)) {
    println!("| {way:19} | {atomic:7} | {deleted:23} | {recommended:12} |");
}
