//! Functions that nothing is wrong with.

use lock_runtime::LockError;

/// Documented.
#[must_use = "so it says"]
#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn one_line(id: u64) -> Result<u64, LockError> { Ok(id) }

#[lock_runtime::distributed_lock(key = "k:{id}", ttl = "5s")]
async fn early(id: u64, name: &str) -> Result<String, LockError> {
    if id == 0 {
        return Ok(String::new());
    }
    for letter in name.chars() {
        if letter == '!' {
            return Ok(name.to_owned());
        }
    }
    let length = other(name).await;
    Ok(format!("{name}{length}"))
}

async fn other(name: &str) -> usize {
    std::future::ready(name.len()).await
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_busy = "skip", on_error = |_| ())]
async fn unit(log: &mut Vec<u8>) {
    log.push(1);
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", on_error = |_| ())]
async fn nothing() {}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", wait = "1s", on_busy = Ok(name.len()))]
async fn moves(name: String) -> Result<usize, LockError> {
    let bytes = name.into_bytes();
    Ok(bytes.len())
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async fn diverges() -> Result<usize, LockError> {
    panic!("always")
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async fn loops(mut rounds: u32) -> Result<u32, LockError> {
    loop {
        rounds += 1;
        if rounds > 3 {
            return Ok(rounds);
        }
    }
}

#[lock_runtime::distributed_lock(key = "k:{left}", ttl = "5s")]
async fn patterns((left, right): (u8, u8), [first, ..]: [u8; 3], _: u8) -> Result<u8, LockError> {
    Ok(left + right + first)
}

#[lock_runtime::distributed_lock(key = "k:{key}:{N}", ttl = "5s")]
async fn generic<T: std::fmt::Display + Send + Sync, const N: usize>(key: T, _: [T; N]) -> Result<T, LockError> {
    Ok(key)
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s")]
async fn nested(limit: u32) -> Result<impl Iterator<Item = u32>, LockError> {
    Ok((0..limit).map(|n| n * 2))
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", renew, max_hold = "1m", on_lost = "proceed", fence = _token)]
async fn renewed(limit: u32) -> Result<u32, LockError> {
    Ok(limit)
}

#[lock_runtime::distributed_lock(key = "k", ttl = "5s", renew = "1s", min_hold = "1s", on_lost = "cancel")]
async fn at_least(limit: u32) -> Result<u32, LockError> {
    Ok(limit)
}

fn main() {
    let mut log = Vec::new();
    drop((one_line(1), early(1, ""), unit(&mut log), nothing(), moves(String::new()), diverges(), loops(1)));
    drop((patterns((1, 2), [3; 3], 4), generic(1, [1]), nested(1), renewed(1), at_least(1)));
}
