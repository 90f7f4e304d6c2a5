//! Without scripts: what they do, by transactions, for servers on which nobody may run them.
//!
//! A key is *watched* from before its value is looked at, so that the step which follows is carried out only if nobody has changed
//! the key in between, and it has not expired. Watches are the connection's, which all tasks share, and every `EXEC` ends all of
//! them: so transactions on one connection take turns. One that is given up in the middle leaves its watch behind; the next one
//! may be refused because of it, and is never carried out because of it.
//!
//! Values are read by `GETEX`, which changes nothing here, but counts as a write: a replica refuses it, and so never says of a lock
//! that it has not heard of that it is gone.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, Value, pipe};

use super::How;
use super::link::{Link, command};
use super::reply::Fault;
use crate::clock::{Moment, boottime};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::LockKey;
use crate::store::{Attempt, Claim, Reading, millis};

/// How often a transaction is tried that is refused because the key has changed. Each time somebody has changed it: our own
/// renewal, once, or whoever was given up in the middle on this connection.
const TRIES: usize = 16;

/// Why a store that runs no scripts refuses several keys.
pub(super) const ONE_KEY: &str =
    "a store without scripts (`RedisStore::without_scripts`) locks one key at a time, and not several together";

const NO_FENCES: &str = "a store without scripts (`RedisStore::without_scripts`) has no fencing tokens";

/// What is done to a key that is ours.
enum Step {
    Delete,
    /// So many milliseconds are to be left at least.
    Extend(u64),
    /// So many milliseconds are to be left.
    Expire(u64),
    /// This value takes the place of ours, for so many milliseconds.
    Keep(String, u64),
    /// This value takes the place of ours, for so many milliseconds at least.
    Replace(String, u64),
}

impl Step {
    /// What is sent for it when `left` milliseconds are left. `None`: there is nothing to be done.
    fn command(&self, key: &LockKey, left: u64) -> Option<Cmd> {
        let expire = |time: u64| {
            let mut expire = command("PEXPIRE", 0);
            expire.arg(key.as_str()).arg(time);
            expire
        };
        let set = |value: &str, time: u64| {
            let mut set = command("SET", 0);
            set.arg(key.as_str()).arg(value).arg("PX").arg(time);
            set
        };
        match self {
            Self::Delete => {
                let mut delete = command("DEL", 0);
                delete.arg(key.as_str());
                Some(delete)
            }
            Self::Extend(time) => (left < *time).then(|| expire(*time)),
            Self::Expire(time) => Some(expire(*time)),
            Self::Keep(value, time) => Some(set(value, *time)),
            Self::Replace(value, time) => Some(set(value, left.max(*time))),
        }
    }
}

/// What is under a key, and for how long still; below zero: for ever.
struct Found {
    value: String,
    left: i64,
}

/// Says who holds the key that `claim` was asked for, after a request that was sent behind `sent` has found it held; or takes it
/// over from an earlier claim that this one replaces.
pub(super) async fn contend(link: &Arc<Link>, claim: &Claim, sent: Moment) -> Result<Attempt, Fault> {
    let [key] = &*claim.keys else { return Err(denied(ONE_KEY)) };
    if claim.fence.is_some() {
        return Err(denied(NO_FENCES));
    }
    for replaced in &claim.replaces {
        let step = Step::Replace(claim.value(), claim.ttl_millis());
        if if_it_is(link, How::InTime, key, replaced.clone(), step).await? {
            return Ok(Attempt::acquired(sent));
        }
    }
    match look(link, key).await {
        Ok(None) => Ok(Attempt::busy(None, None)),
        Ok(Some(Found { value, left })) if value == claim.value() || left >= 0 => {
            // Ours as well: it may have been carried out before, and end earlier than a lease would that began now.
            Ok(Attempt::busy_at(key.clone(), Some(value), u64::try_from(left).ok().map(Duration::from_millis)))
        }
        Ok(Some(_)) => Ok(Attempt::foreign(key.clone())),
        Err(fault) if fault.is_not_ours() => Ok(Attempt::foreign(key.clone())),
        Err(fault) => Err(fault),
    }
}

/// Gives `claim` back: compare and delete, or, while the key is to be kept, compare and replace.
pub(super) async fn give_back(link: &Arc<Link>, claim: &Claim, how: How) -> Result<bool, Fault> {
    let [key] = &*claim.keys else { return Err(denied(ONE_KEY)) };
    let kept = millis(claim.kept_for(boottime()));
    if kept > 0 {
        return if_it_is(link, how, key, claim.value(), Step::Keep(claim.tombstone(), kept)).await;
    }
    if link.deletes_if_equal() {
        let mut delete = command("DELIFEQ", 0);
        delete.arg(key.as_str()).arg(claim.value());
        match how.ask(link, &delete).await {
            Ok(Value::Int(deleted)) => return Ok(deleted == 1),
            Ok(_) => return Err(link.unknown_answer()),
            Err(Fault::Answered { error, .. }) if is_missing(&error) => link.deletes_never_if_equal(),
            Err(fault) if fault.is_not_ours() => return Ok(false),
            Err(fault) => return Err(fault),
        }
    }
    if_it_is(link, how, key, claim.value(), Step::Delete).await
}

/// The server does not have the command, or the user may not use it.
fn is_missing(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Denied || error.to_string().contains("unknown command")
}

/// What is done in the place of a script that answers a number, which is answered here as well.
#[derive(Clone, Copy)]
pub(super) enum Instead {
    /// Makes sure that `ttl` is left, at least or exactly. 1: it is. 0: the lock is not ours.
    Extend { ttl: Duration, exactly: bool },
    /// How many milliseconds are left. -2: the lock is not ours.
    Remaining,
    /// It cannot be done.
    Nothing,
}

impl Instead {
    pub(super) async fn run(self, link: &Arc<Link>, claim: &Claim) -> Result<Value, Fault> {
        let [key] = &*claim.keys else { return Err(denied(ONE_KEY)) };
        match self {
            Self::Extend { ttl, exactly } => {
                let step = if exactly { Step::Expire(millis(ttl)) } else { Step::Extend(millis(ttl)) };
                let is_ours = if_it_is(link, How::InTime, key, claim.value(), step).await?;
                Ok(Value::Int(is_ours.into()))
            }
            Self::Remaining => {
                let found = look(link, key).await?.filter(|found| found.value == claim.value());
                // One that somebody made permanent is ours all the same, and has no time of its own.
                Ok(Value::Int(found.map_or(-2, |found| found.left.max(0))))
            }
            Self::Nothing => Err(denied(NO_FENCES)),
        }
    }
}

/// What is under `key`.
pub(super) async fn inspect(link: &Link, key: &LockKey) -> Result<Option<Reading>, Fault> {
    match look(link, key).await {
        Ok(found) => Ok(found.map(|Found { value, left }| {
            Reading::new(Some(value), u64::try_from(left).ok().map(Duration::from_millis), None)
        })),
        Err(fault) if fault.is_not_ours() => Ok(Some(Reading::new(None, None, None))),
        Err(fault) => Err(fault),
    }
}

/// Reads value and time of one moment: there is no transaction about it, for its `EXEC` would end the watch of somebody else's.
async fn look(link: &Link, key: &LockKey) -> Result<Option<Found>, Fault> {
    for _ in 0..TRIES {
        let mut both = pipe();
        both.cmd("GETEX").arg(key.as_str()).cmd("PTTL").arg(key.as_str()).cmd("GETEX").arg(key.as_str());
        let [before, left, value] = answers(link, How::InTime, &both).await?;
        match (before, left, value) {
            (before, Value::Int(left), Value::BulkString(value)) if before == Value::BulkString(value.clone()) => {
                return Ok(Some(Found { value: String::from_utf8_lossy(&value).into_owned(), left }));
            }
            (_, _, Value::Nil) => return Ok(None),
            (Value::Nil | Value::BulkString(_), Value::Int(_), Value::BulkString(_)) => {}
            _ => return Err(link.unknown_answer()),
        }
    }
    Err(restless(link, key))
}

/// Does `step` to `key` if that holds `value`. `false`: it does not, and nothing was done.
///
/// In a task of its own: whoever is not polled any more must not keep the others from their turn. Dropped, it goes on.
async fn if_it_is(link: &Arc<Link>, how: How, key: &LockKey, value: String, step: Step) -> Result<bool, Fault> {
    let (own, key) = (link.clone(), key.clone());
    let transaction = link.runtime.spawn(async move { transact(&own, how, &key, &value, &step).await });
    transaction.await.unwrap_or_else(|_| {
        let text = format!("the connection to redis at {} has ended with its runtime", link.server());
        Err(Fault::Silent(StoreError::new(StoreErrorKind::Connection, text)))
    })
}

async fn transact(link: &Link, how: How, key: &LockKey, value: &str, step: &Step) -> Result<bool, Fault> {
    let _turn = link.turn(how).await?;
    for _ in 0..TRIES {
        let mut watched = pipe();
        // The time before the value: if that is ours, it was when the time was read.
        watched.cmd("WATCH").arg(key.as_str()).cmd("PTTL").arg(key.as_str()).cmd("GETEX").arg(key.as_str());
        let left = match answers(link, how, &watched).await {
            Ok([Value::Okay, Value::Int(left), Value::BulkString(found)]) if found == value.as_bytes() => left,
            Ok([Value::Okay, Value::Int(_), Value::BulkString(_) | Value::Nil]) => return Ok(false),
            Ok(_) => return Err(link.unknown_answer()),
            Err(fault) if fault.is_not_ours() => return Ok(false),
            Err(fault) => return Err(fault),
        };
        // Expired in between: then the transaction is refused. For ever: it is not ours to end.
        let Some(command) = step.command(key, u64::try_from(left).unwrap_or(0)) else { return Ok(true) };
        let mut acting = pipe();
        acting.cmd("MULTI").add_command(command).cmd("EXEC");
        match answers(link, how, &acting).await {
            Ok([Value::Okay, _, Value::Array(done)]) => match &*done {
                [Value::Okay | Value::Int(1)] => return Ok(true),
                [Value::Int(0)] => return Ok(false),
                _ => return Err(link.unknown_answer()),
            },
            // Somebody has changed the key since.
            Ok([Value::Okay, _, Value::Nil]) => {}
            Ok(_) => return Err(link.unknown_answer()),
            Err(fault) => {
                // Whatever it was about: what comes next on this connection might be queued behind a `MULTI` without its end.
                link.break_off();
                return Err(fault);
            }
        }
    }
    Err(restless(link, key))
}

/// The answers to three commands that are sent together; the first error, if there is one.
async fn answers(link: &Link, how: How, commands: &Pipeline) -> Result<[Value; 3], Fault> {
    let answers = how.ask_together(link, commands).await?;
    <[Value; 3]>::try_from(answers).map_err(|_| link.unknown_answer())
}

fn restless(link: &Link, key: &LockKey) -> Fault {
    let text = format!(
        "redis at {}: the key `{key}` has changed {TRIES} times while it was looked at; who else writes to it?",
        link.server()
    );
    Fault::Silent(StoreError::new(StoreErrorKind::Refused, text))
}

fn denied(text: &'static str) -> Fault {
    Fault::Silent(StoreError::new(StoreErrorKind::Denied, text))
}

/// Every command that this takes, on a key of the self-test that holds nothing: what each is called, and its answer.
pub(super) async fn rehearse(link: &Link, key: &str) -> Result<Vec<(&'static str, Result<Value, Fault>)>, Fault> {
    let mut rehearsed = Vec::new();
    let time = |name, key: &str| {
        let mut time = command(name, 0);
        time.arg(key);
        time
    };
    let mut take = time("SET", key);
    take.arg("self-test").arg("NX").arg("PX").arg(5000);
    let mut extend = time("PEXPIRE", key);
    extend.arg(5000);
    for (name, command) in [
        ("PING", command("PING", 0)),
        ("SET", take),
        ("GETEX", time("GETEX", key)),
        ("PTTL", time("PTTL", key)),
        ("PEXPIRE", extend),
        ("DEL", time("DEL", key)),
    ] {
        rehearsed.push((name, link.ask(&command).await));
    }
    let _turn = link.turn(How::InTime).await?;
    let mut transaction = pipe();
    transaction.cmd("WATCH").arg(key).cmd("MULTI").cmd("EXEC");
    let answers = link.ask_each(&transaction).await?;
    if answers.iter().any(Result::is_err) {
        link.break_off();
    }
    rehearsed.extend(["WATCH", "MULTI", "EXEC"].into_iter().zip(answers));
    Ok(rehearsed)
}
