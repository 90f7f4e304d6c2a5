//! Looking at a key: who holds it, and how many stand in its line.

use std::time::Duration;

use redis::Value;

use super::link::Link;
use super::nodes::Nodes;
use super::reply::Fault;
use super::{script, transaction};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::LockKey;
use crate::store::Reading;

/// One request where nothing is in the way; a second one where the connection turns out to be dead, the line is out of the
/// user's reach, or another node has the key.
pub(super) async fn inspect(nodes: &Nodes, key: &LockKey) -> Result<Option<Reading>, StoreError> {
    let mut route = nodes.route(key);
    let (mut with_line, mut is_first) = (true, true);
    loop {
        let link = route.link().await?;
        let fault = match ask(&link, key, with_line && link.gives_to_lines()).await {
            Ok(reading) => return Ok(reading),
            Err(fault) => fault,
        };
        // The user has no right to the line; or key and line are at two nodes for a moment.
        if with_line && (fault.is_denied() || fault.is_on_the_move()) {
            with_line = false;
            continue;
        }
        if route.follows(&fault).await {
            continue;
        }
        match fault.into_error() {
            error if error.kind() == StoreErrorKind::Connection && is_first => is_first = false,
            error => return Err(error),
        }
    }
}

async fn ask(link: &Link, key: &LockKey, with_line: bool) -> Result<Option<Reading>, Fault> {
    if link.is_without_scripts() {
        return Box::pin(transaction::inspect(link, key)).await;
    }
    let answer = link.run(&script::INSPECT, |command| {
        command.arg(1 + usize::from(with_line)).arg(key.as_str());
        if with_line {
            command.arg(link.naming().line(key.as_str()));
        }
    });
    let Value::Array(answer) = answer.await? else { return Err(link.unknown_answer()) };
    let (left, waiting, value) = match &*answer {
        [Value::Int(0)] => return Ok(None),
        [Value::Int(0), Value::Int(left), Value::Int(waiting)] => (left, waiting, None),
        [Value::Int(0), Value::Int(left), Value::Int(waiting), Value::BulkString(value)] => {
            (left, waiting, Some(String::from_utf8_lossy(value).into_owned()))
        }
        _ => return Err(link.unknown_answer()),
    };
    // Below zero: for ever; and, it cannot be told.
    let remaining = u64::try_from(*left).ok().map(Duration::from_millis);
    Ok(Some(Reading::new(value, remaining, u64::try_from(*waiting).ok())))
}
