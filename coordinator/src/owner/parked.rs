//! Agents' calls that are held back until there is news for them.

use super::handle::Reply;
use crate::cluster::{Cluster, Refused};
use osler_core::ids::WorkerName;
use osler_core::sync::Desired;
use osler_proto::reply_number;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

pub(super) struct Call {
    pub worker: WorkerName,
    pub until: Instant,
    /// Number of the last answer that the agent acted on.
    pub seen: u64,
    pub reply: Reply<Result<Desired, Refused>>,
}

/// At most one call per worker: an agent that calls again has given up the earlier one.
#[derive(Default)]
pub(super) struct Parked(BTreeMap<WorkerName, Call>);

impl Parked {
    /// Answers the calls for which there is news, and those that have waited long enough. Without a change, only new calls can have news.
    pub fn release(&mut self, cluster: &Cluster, calls: Vec<Call>, changed: bool) {
        let now = Instant::now();
        let new: BTreeSet<WorkerName> = calls.iter().map(|call| call.worker.clone()).collect();
        self.0.extend(calls.into_iter().map(|call| (call.worker.clone(), call)));
        let is_due = |(name, call): &(&WorkerName, &Call)| changed || new.contains(*name) || call.until <= now;
        let due: Vec<WorkerName> = self.0.iter().filter(is_due).map(|(name, _)| name.clone()).collect();
        for name in due {
            let desired = cluster.desired(&name);
            let Some(call) = self.0.get(&name) else { continue };
            if call.until > now && reply_number(&desired) == call.seen {
                continue;
            }
            if let Some(call) = self.0.remove(&name) {
                drop(call.reply.send(Ok(desired))); // an agent that has hung up will call again
            }
        }
    }
}
