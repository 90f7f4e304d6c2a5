//! Renewals: many claims in one request.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::link::Link;
use super::nodes::Nodes;
use super::reply::{self, Fault};
use super::transaction::Instead;
use super::{Renewal, ValueOf, join_all, millis, script, write_keys};
use crate::error::{StoreError, StoreErrorKind};
use crate::timer;

/// The least time that dialling has, which takes more than one round trip.
const DIALLING: Duration = Duration::from_millis(250);

/// Extends all of `renewals`, each of which is answered by itself: in one request, or in a cluster in one for each slot, which
/// leave together.
pub(super) async fn renew(nodes: &Nodes, renewals: &[Renewal<'_>], within: Duration) -> Vec<Result<bool, StoreError>> {
    if !nodes.is_cluster() {
        return in_one_place(nodes, renewals, within).await;
    }
    let slots = nodes.by_slot(renewals);
    let answered = join_all(slots.iter().map(|(_, renewals)| in_one_place(nodes, renewals, within))).await;
    let mut answers: Vec<_> =
        slots.into_iter().flat_map(|(places, _)| places).zip(answered.into_iter().flatten()).collect();
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// As [`renew`], of keys that are at one server.
async fn in_one_place(nodes: &Nodes, renewals: &[Renewal<'_>], within: Duration) -> Vec<Result<bool, StoreError>> {
    // Without any, it is an invitation to get ready: where, is not known in a cluster.
    let Some(first) = renewals.first() else {
        if !nodes.is_cluster() {
            drop(nodes.any().link_within((2 * within).max(DIALLING)).await);
        }
        return Vec::new();
    };
    let mut route = nodes.route(&first.claim.keys[0]);
    loop {
        let link = match route.link_within((2 * within).max(DIALLING)).await {
            Ok(link) => link,
            Err(error) => return renewals.iter().map(|_| Err(error.clone())).collect(),
        };
        if link.is_without_scripts() {
            // One after the other, whatever is done here: boxed, and rare.
            return join_all(renewals.iter().map(|renewal| Box::pin(by_transaction(&link, renewal, within)))).await;
        }
        let fault = match together(&link, renewals, within).await {
            Ok(answers) => return answers.into_iter().map(Ok).collect(),
            Err(fault) => fault,
        };
        // Perhaps because of a single key, to which the user has lost the right, or which is at another node than the others.
        if (fault.is_on_the_move() || fault.kind() == StoreErrorKind::Denied) && renewals.len() > 1 {
            let each = renewals
                .iter()
                .map(|renewal| async move { alone(nodes, renewal, within).await.map_err(Fault::into_error) });
            // All at the same time: nobody waits for the answer to another.
            return join_all(each).await;
        }
        if !route.follows(&fault).await {
            let error = fault.into_error();
            return renewals.iter().map(|_| Err(error.clone())).collect();
        }
    }
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

async fn by_transaction(link: &Arc<Link>, renewal: &Renewal<'_>, within: Duration) -> Result<bool, StoreError> {
    let extend = Instead::Extend { ttl: renewal.ttl, exactly: false };
    let Ok(answer) = timer::timeout(within, extend.run(link, renewal.claim))?.await else {
        let text = format!("redis at {} did not carry out a transaction within {within:?}", link.server());
        return Err(StoreError::new(StoreErrorKind::Timeout, text));
    };
    Ok(reply::number(answer, link.server()).map_err(Fault::into_error)? == 1)
}

async fn alone(nodes: &Nodes, renewal: &Renewal<'_>, within: Duration) -> Result<bool, Fault> {
    let command = |command: &mut Cmd| {
        write_keys(command, renewal.claim);
        command.arg(millis(renewal.ttl)).arg("at least");
    };
    let mut route = nodes.route(&renewal.claim.keys[0]);
    loop {
        let link = route.link_within((2 * within).max(DIALLING)).await.map_err(Fault::Silent)?;
        match reply::number(link.run_within(&script::EXTEND, command, within).await, link.server()) {
            Err(fault) if route.follows(&fault).await => {}
            answer => return Ok(answer? == 1),
        }
    }
}
