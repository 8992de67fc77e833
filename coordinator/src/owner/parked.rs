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
pub(super) struct Parked {
    calls: BTreeMap<WorkerName, Call>,
    /// When each of them is answered at the latest.
    ends: BTreeSet<(Instant, WorkerName)>,
}

impl Parked {
    /// Takes new calls, then answers those for which there is news. Only new calls and workers that `news` names can have any.
    pub fn release(&mut self, cluster: &Cluster, calls: Vec<Call>, news: BTreeSet<WorkerName>) {
        let mut due = news;
        for call in calls {
            due.insert(call.worker.clone());
            if let Some(earlier) = self.calls.remove(&call.worker) {
                self.ends.remove(&(earlier.until, earlier.worker));
            }
            self.ends.insert((call.until, call.worker.clone()));
            self.calls.insert(call.worker.clone(), call);
        }
        for name in due {
            let Some(call) = self.calls.get(&name) else { continue };
            let desired = cluster.desired(&name);
            if reply_number(&desired) != call.seen {
                self.answer(&name, desired);
            }
        }
    }

    /// Answers the calls that have waited long enough, but for those of workers about whom a decision is not durable yet.
    pub fn expire(&mut self, cluster: &Cluster, undecided: &BTreeSet<WorkerName>) {
        let now = Instant::now();
        let over = self.ends.iter().take_while(|(until, _)| *until <= now).map(|(_, name)| name);
        let over: Vec<WorkerName> = over.filter(|name| !undecided.contains(*name)).cloned().collect();
        over.iter().for_each(|name| self.answer(name, cluster.desired(name)));
    }

    fn answer(&mut self, name: &WorkerName, desired: Desired) {
        if let Some(call) = self.calls.remove(name) {
            self.ends.remove(&(call.until, call.worker));
            drop(call.reply.send(Ok(desired))); // an agent that has hung up will call again
        }
    }
}
