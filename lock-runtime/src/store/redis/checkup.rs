//! What is looked at before the first lock is needed: whether the server evicts locks, and whether it does all that they take.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::link::{self, Link};
use super::nodes::Nodes;
use super::pool::Pool;
use super::reply::Fault;
use super::script::{self, Script, Text};
use super::transaction;
use super::{ValueOf, write_keys};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::LockKey;
use crate::store::Claim;
use crate::telemetry;

/// How long the probe key stays where it cannot be deleted.
const PROBE: Duration = Duration::from_secs(5);

/// Every command that is sent, or called by a script, with its arguments for a probe.
const COMMANDS: [(&str, Arguments); 9] = [
    ("PING", |_, _, _| {}),
    ("SET", write_key_and_value),
    ("GET", write_key),
    ("PTTL", write_key),
    ("PEXPIRE", |command, probe, _| {
        command.arg(probe.keys[0].as_str()).arg(probe.ttl_millis());
    }),
    ("EVAL", |command, probe, _| {
        command.arg(TRIVIAL);
        write_keys(command, probe);
    }),
    ("EVALSHA", |command, probe, _| {
        command.arg(Text::new(TRIVIAL.to_owned()).sha);
        write_keys(command, probe);
    }),
    // For fencing tokens.
    ("TIME", |_, _, _| {}),
    ("DEL", write_every_key),
];

/// As [`COMMANDS`], what hand-off takes beyond them: in an order in which each finds what it looks for.
const LINE_COMMANDS: [(&str, Arguments); 8] = [
    ("RPUSH", |command, probe, link| {
        write_line(command, probe, link);
        command.arg("entry");
    }),
    ("LPOS", |command, probe, link| {
        write_line(command, probe, link);
        command.arg("entry");
    }),
    ("LLEN", write_line),
    ("LINDEX", |command, probe, link| {
        write_line(command, probe, link);
        command.arg(0);
    }),
    ("LREM", |command, probe, link| {
        write_line(command, probe, link);
        command.arg(0).arg("another");
    }),
    ("LPOP", write_line),
    ("PUBSUB", |command, probe, link| {
        command.arg(link.counted_by()).arg(link.channel_like(CHANNEL, &probe.keys[0]));
    }),
    ("PUBLISH", |command, probe, link| {
        command.arg(link.channel_like(CHANNEL, &probe.keys[0])).arg("");
    }),
];

/// Nobody listens to it.
const CHANNEL: &str = "lock_runtime:self-test";

type Arguments = fn(&mut Cmd, &Claim, &Link);

const TRIVIAL: &str = "return 1";

fn write_key(command: &mut Cmd, probe: &Claim, _: &Link) {
    command.arg(probe.keys[0].as_str());
}

fn write_line(command: &mut Cmd, probe: &Claim, link: &Link) {
    command.arg(link.naming().line(probe.keys[0].as_str()));
}

/// With the counter, which has no TTL.
fn write_every_key(command: &mut Cmd, probe: &Claim, link: &Link) {
    write_key(command, probe, link);
    if let Some(counter) = &probe.fence {
        command.arg(counter.as_str());
    }
}

fn write_line_and_ttl(command: &mut Cmd, probe: &Claim, link: &Link) {
    write_line(command, probe, link);
    command.arg(probe.ttl_millis());
}

fn write_key_and_value(command: &mut Cmd, probe: &Claim, link: &Link) {
    write_key(command, probe, link);
    command.arg(ValueOf(probe)).arg("PX").arg(probe.ttl_millis());
}

/// Warns if the server may remove locks to make room. Best effort: where it does not say, because it is no Redis or because
/// the user may not ask, nothing is said.
pub(super) async fn warn_of_eviction(link: &Link) {
    let Ok(Some(info)) = info(link, "memory").await else { return };
    if let Some(policy) = figure(&info, "maxmemory_policy").filter(|policy| *policy != "noeviction") {
        telemetry::evicting(link.server(), policy, figure(&info, "maxmemory").is_some_and(|limit| limit != "0"));
    }
}

/// Which server it is, of all that there are.
#[cfg(feature = "redlock")]
#[derive(Debug)]
pub(crate) struct Identity {
    /// Of its process.
    pub(crate) run_id: String,
    pub(crate) is_of_a_cluster: bool,
}

/// Asks the server who it is. `None`: it does not say, because it is no Redis or because the user may not ask.
#[cfg(feature = "redlock")]
pub(super) async fn identify(link: &Link) -> Result<Option<Identity>, StoreError> {
    let Some(info) = info(link, "server").await.map_err(Fault::into_error)? else { return Ok(None) };
    let Some(run_id) = figure(&info, "run_id").map(str::to_owned) else { return Ok(None) };
    let mode = figure(&info, "redis_mode").or(figure(&info, "server_mode"));
    Ok(Some(Identity { run_id, is_of_a_cluster: mode == Some("cluster") }))
}

/// What the server says of `section`. `None`: it refuses to.
async fn info(link: &Link, section: &str) -> Result<Option<String>, Fault> {
    let mut command = link::command("INFO", 0);
    command.arg(section);
    // In one form by the one protocol, in the other by the other.
    match link.ask(&command).await {
        Ok(Value::BulkString(info)) => Ok(Some(String::from_utf8_lossy(&info).into_owned())),
        Ok(Value::VerbatimString { text, .. }) => Ok(Some(text)),
        Ok(_) | Err(Fault::Answered { .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn figure<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Runs every command and every script on the key `probe`, and names all that fail. In a cluster on every node, on a key of the
/// node's own with that name and six letters behind it.
pub(super) async fn self_test(nodes: &Nodes, probe: &LockKey) -> Result<(), StoreError> {
    for (pool, probe) in nodes.probes(probe).await? {
        Box::pin(self_test_of(&pool, &probe)).await?;
    }
    Ok(())
}

async fn self_test_of(pool: &Arc<Pool>, probe: &LockKey) -> Result<(), StoreError> {
    let link = pool.link().await?;
    if link.is_without_scripts() {
        let mut failures = Failures::default();
        for (name, answer) in transaction::rehearse(&link, probe.as_str()).await.map_err(Fault::into_error)? {
            failures.note("the command", name, answer)?;
        }
        warn_of_eviction(&link).await;
        return failures.into_result();
    }
    let mut test = SelfTest { link: &link, probe: Claim::new(probe.clone(), PROBE, "self-test".into()) };
    let mut failures = Failures::default();
    for (name, arguments) in COMMANDS {
        match test.ask(name, arguments).await {
            // It may be run, and that is all that is asked here.
            Err(fault) if name == "EVALSHA" && fault.is_no_script() => {}
            answer => failures.note("the command", name, answer)?,
        }
    }
    // Only where it can be deleted.
    let counter = LockKey::from(format!("{probe}:counter"));
    let counter = link.counter(probe, &counter).unwrap_or(counter);
    test.probe.fence = failures.0.is_empty().then_some(counter);
    for script in script::ALL.iter().filter(|script| !is_for_lines(script)) {
        // On a key that is ours, as far as it can be made so: that takes a script through all of its commands. If it cannot, that
        // was noted above; and so was what keeps the keys from being deleted in the end.
        Failures::default().note("", "SET", test.ask("SET", write_key_and_value).await)?;
        let answer = link.run(script, |command| (script.rehearse)(command, &test.probe, link.naming())).await;
        failures.note("the script", script.name, answer)?;
    }
    Failures::default().note("", "DEL", test.ask("DEL", write_every_key).await)?;
    warn_of_eviction(&link).await;
    failures.into_result()?;
    if link.is_in_line(probe).await.map_err(Fault::into_error)? {
        // What is denied here is no failure: those who wait poll.
        match test.lines().await?.into_result() {
            Err(error) if error.kind() == StoreErrorKind::Denied => link.no_lines(&error),
            lines => lines?,
        }
    }
    Ok(())
}

/// What the self-test says when the server refuses one more command.
pub(super) fn tested(command: &str, answer: Result<Value, Fault>) -> Result<(), StoreError> {
    let mut failures = Failures::default();
    failures.note("the command", command, answer)?;
    failures.into_result()
}

/// Whether a script is about waiting in line, which is not needed for locks to work.
fn is_for_lines(script: &Script) -> bool {
    [&script::ENQUEUE, &script::CONFIRM, &script::RELEASE].iter().any(|for_lines| for_lines.name == script.name)
}

struct SelfTest<'a> {
    link: &'a Link,
    probe: Claim,
}

impl SelfTest<'_> {
    async fn ask(&self, name: &str, arguments: Arguments) -> Result<Value, Fault> {
        let name = if name == "PUBLISH" { self.link.called_by() } else { name };
        let mut command = link::command(name, 0);
        arguments(&mut command, &self.probe, self.link);
        self.link.ask(&command).await
    }

    /// Runs what waiting in line takes. Where it cannot be deleted, what is left of the line ends soon.
    async fn lines(&self) -> Result<Failures, StoreError> {
        let mut failures = Failures::default();
        for (name, arguments) in LINE_COMMANDS {
            failures.note("the command", name, self.ask(name, arguments).await)?;
            if name == "RPUSH" {
                Failures::default().note("", "PEXPIRE", self.ask("PEXPIRE", write_line_and_ttl).await)?;
            }
        }
        for script in script::ALL.iter().filter(|script| is_for_lines(script)) {
            Failures::default().note("", "SET", self.ask("SET", write_key_and_value).await)?;
            let answer =
                self.link.run(script, |command| (script.rehearse)(command, &self.probe, self.link.naming())).await;
            failures.note("the script", script.name, answer)?;
        }
        Failures::default().note("", "DEL", self.ask("DEL", write_every_key).await)?;
        Failures::default().note("", "DEL", self.ask("DEL", write_line).await)?;
        Ok(failures)
    }
}

/// What the server refused to do, together where it said the same of it.
#[derive(Default)]
struct Failures(Vec<(StoreError, Vec<String>)>);

impl Failures {
    /// Notes what was refused. Silence is an error: it is about the server, and not about what was asked.
    fn note(&mut self, what: &str, name: &str, answer: Result<Value, Fault>) -> Result<(), StoreError> {
        let error = match answer {
            Ok(_) => return Ok(()),
            Err(Fault::Silent(error)) => return Err(error),
            // Its slot has left the node meanwhile.
            Err(fault) if fault.is_elsewhere() => return Err(fault.into_error()),
            Err(fault) => fault.into_error(),
        };
        let name = format!("{what} `{name}`");
        let text = error.to_string();
        match self.0.iter_mut().find(|(known, _)| known.to_string() == text) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => self.0.push((error, vec![name])),
        }
        Ok(())
    }

    fn into_result(self) -> Result<(), StoreError> {
        let Some((first, _)) = self.0.first() else { return Ok(()) };
        // What somebody has to mend comes before what may pass.
        let denied = self.0.iter().any(|(error, _)| error.kind() == StoreErrorKind::Denied);
        let kind = if denied { StoreErrorKind::Denied } else { first.kind() };
        let text: Vec<_> = self.0.iter().map(|(error, names)| format!("{}: {error}", names.join(", "))).collect();
        Err(StoreError::new(kind, text.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::script::Dialect;

    /// A command that is new in a script is new in the self-test, and so in the permissions that the README lists.
    #[test]
    fn the_commands_are_those_of_the_scripts() {
        let mut called: Vec<&str> = vec!["PING", "EVAL", "EVALSHA"];
        let texts: Vec<_> = script::ALL.iter().map(|script| &script.text(Dialect::Plain).code).collect();
        for text in texts {
            let calls = text.split("call('").skip(1).filter_map(|rest| rest.split('\'').next());
            called.extend(calls);
        }
        called.sort_unstable();
        called.dedup();
        let mut known: Vec<_> = COMMANDS.iter().chain(&LINE_COMMANDS).map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(called, known);
    }

    #[test]
    fn failures_are_told_together_where_they_are_the_same() {
        let refused = |answer: &str| {
            let answer = redis::parse_redis_value(answer.as_bytes()).and_then(Value::extract_error);
            Err(Fault::read(&answer.expect_err("an error"), "s:1"))
        };
        let mut failures = Failures::default();
        failures.note("the command", "A", Ok(Value::Okay)).expect("no failure");
        failures.note("the command", "B", refused("-OOM x\r\n")).expect("noted");
        failures.note("the command", "C", refused("-NOPERM x\r\n")).expect("noted");
        failures.note("the script", "d", refused("-OOM y\r\n")).expect("noted");
        failures.note("the script", "d", refused("-OOM y\r\n")).expect("noted");
        let error = failures.into_result().expect_err("failures");
        assert_eq!(error.kind(), StoreErrorKind::Denied);
        let text = error.to_string();
        assert!(text.starts_with("the command `B`, the script `d`: redis at s:1 answered OOM: "), "{text}");
        assert!(text.contains("; the command `C`: redis at s:1 answered NOPERM: "), "{text}");

        let silent = Fault::Silent(StoreError::new(StoreErrorKind::Timeout, "no answer"));
        let error = Failures::default().note("the command", "A", Err(silent)).expect_err("no refusal");
        assert_eq!(error.kind(), StoreErrorKind::Timeout);
        assert!(Failures::default().into_result().is_ok());
    }
}
