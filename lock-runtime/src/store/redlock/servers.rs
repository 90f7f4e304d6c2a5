//! The servers of a Redlock, looked at before the first lock is needed.

use super::Redlock;
use super::ballot::{Verdict, Vote, verdict};
use super::nodes::quorum_of;
use super::outcome::failure;
use crate::error::SetupError;
use crate::store::join_all;
use crate::store::redis::{Identity, RedisStore};

/// A Redlock over the servers at `urls`, of which a majority has answered, and which are not each other's.
pub(crate) async fn connect(
    urls: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Redlock<RedisStore>, SetupError> {
    let nodes = urls.into_iter().map(|url| RedisStore::open(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let redlock = Redlock::new(nodes.iter().cloned())?;
    // All at once: a server that is away takes a second.
    let votes: Vec<_> = join_all(nodes.iter().map(RedisStore::identify)).await.into_iter().map(Vote::Cast).collect();
    if verdict(&votes, quorum_of(votes.len()), |_| true) != Some(Verdict::Yes) {
        let source = failure(&votes, "no majority of the servers answered");
        return Err(SetupError::Unreachable { source });
    }
    independent(&votes)?;
    join_all(nodes.iter().map(RedisStore::warn_of_eviction)).await;
    Ok(redlock)
}

/// Nodes that fail together are one node.
fn independent(votes: &[Vote<Option<Identity>>]) -> Result<(), SetupError> {
    let known: Vec<_> =
        votes.iter().enumerate().filter_map(|(node, vote)| Some((node + 1, vote.answer()?.as_ref()?))).collect();
    for (n, (node, identity)) in known.iter().enumerate() {
        if identity.is_of_a_cluster {
            let reason = format!("node {node} belongs to a cluster, whose nodes are not independent of each other");
            return Err(SetupError::Address { reason: reason.into() });
        }
        if let Some((other, _)) = known[..n].iter().find(|(_, other)| other.run_id == identity.run_id) {
            let reason = format!("nodes {other} and {node} are the same server");
            return Err(SetupError::Address { reason: reason.into() });
        }
    }
    Ok(())
}
