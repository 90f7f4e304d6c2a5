//! Renewals: many claims in one request.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::connection::{Link, Pool};
use super::reply::{self, Fault};
use super::{Renewal, ValueOf, join_all, millis, script, write_keys};
use crate::error::{StoreError, StoreErrorKind};

/// The least time that dialling has, which takes more than one round trip.
const DIALLING: Duration = Duration::from_millis(250);

/// Extends all of `renewals`, each of which is answered by itself.
pub(super) async fn renew(
    pool: &Arc<Pool>,
    renewals: &[Renewal<'_>],
    within: Duration,
) -> Vec<Result<bool, StoreError>> {
    let link = match pool.link_within((2 * within).max(DIALLING)).await {
        Ok(link) => link,
        Err(error) => return renewals.iter().map(|_| Err(error.clone())).collect(),
    };
    match together(&link, renewals, within).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        // Perhaps because of a single key, to which the user has lost the right.
        Err(Fault::Answered { error, .. }) if error.kind() == StoreErrorKind::Denied && renewals.len() > 1 => {
            one_by_one(&link, renewals, within).await
        }
        Err(fault) => {
            let error = fault.into_error();
            renewals.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

/// All at the same time: nobody waits for the answer to another.
async fn one_by_one(link: &Link, renewals: &[Renewal<'_>], within: Duration) -> Vec<Result<bool, StoreError>> {
    let each =
        renewals.iter().map(|renewal| async move { alone(link, renewal, within).await.map_err(Fault::into_error) });
    join_all(each).await
}

async fn together(link: &Link, renewals: &[Renewal<'_>], within: Duration) -> Result<Vec<bool>, Fault> {
    let command = |command: &mut Cmd| {
        command.arg(renewals.iter().map(|renewal| renewal.claim.keys.len()).sum::<usize>());
        for key in renewals.iter().flat_map(|renewal| &*renewal.claim.keys) {
            command.arg(key.as_str());
        }
        for Renewal { claim, ttl } in renewals {
            command.arg(claim.keys.len()).arg(ValueOf(claim)).arg(millis(*ttl));
        }
    };
    let Value::Array(answers) = link.run_within(&script::RENEW, command, within).await? else {
        return Err(link.unknown_answer());
    };
    if answers.len() != renewals.len() {
        return Err(link.unknown_answer());
    }
    let is_ours = |answer: &Value| match answer {
        Value::Int(1) => Ok(true),
        Value::Int(0) => Ok(false),
        _ => Err(link.unknown_answer()),
    };
    answers.iter().map(is_ours).collect()
}

async fn alone(link: &Link, renewal: &Renewal<'_>, within: Duration) -> Result<bool, Fault> {
    let command = |command: &mut Cmd| {
        write_keys(command, renewal.claim);
        command.arg(millis(renewal.ttl)).arg("at least");
    };
    let answer = link.run_within(&script::EXTEND, command, within).await;
    Ok(reply::number(answer, link.server())? == 1)
}
