//! Agents that say that all is as it was are heard and answered while decisions are being written: a slow store is not their silence.
//!
//! What makes that safe: such a call changes no record and nothing that others are told (`Cluster::is_heartbeat`), so what is being
//! written stays what was decided; and workers about whom something was decided wait for its being durable, like everybody else.

use super::handle::AgentCall;
use super::parked::Call;
use super::{Owner, TICK};
use crate::cluster::Event;
use osler_core::ids::WorkerName;
use osler_core::time::Now;
use std::collections::BTreeSet;
use std::future::Future;
use tokio::time::{Instant, interval};

/// Whom a decision that is not durable yet may concern.
#[derive(Default)]
pub(super) struct Undecided {
    pub calls: Vec<Call>,
    pub news: BTreeSet<WorkerName>,
    /// Those that are named above.
    workers: BTreeSet<WorkerName>,
}

impl Undecided {
    pub fn of(calls: Vec<Call>, news: BTreeSet<WorkerName>) -> Self {
        let workers = calls.iter().map(|call| call.worker.clone()).chain(news.iter().cloned()).collect();
        Self { calls, news, workers }
    }
}

impl Owner {
    /// Waits for the store, and hears heartbeats.
    pub(super) async fn meanwhile<T>(&mut self, undecided: &mut Undecided, store: impl Future<Output = T>) -> T {
        tokio::pin!(store);
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                biased; // so that a simulated seed is the same every time
                done = &mut store => return done,
                _ = tick.tick() => self.parked.expire(&self.cluster, &undecided.workers),
                Some(call) = self.calls.recv() => self.hear(call, undecided),
            }
        }
    }

    fn hear(&mut self, call: AgentCall, undecided: &mut Undecided) {
        let now = self.clock.both();
        if call.reply.is_closed() {
            return self.cluster.heard_of(now, &call.observed);
        }
        if !self.cluster.is_heartbeat(now, &call.observed) {
            return self.defer(now, call);
        }
        let AgentCall { observed, wait, seen, reply } = call;
        let worker = observed.worker.clone();
        let (answer, effects) = self.cluster.apply(now, Event::Sync(observed));
        debug_assert!(effects.persist.is_empty() && !effects.cluster, "a heartbeat decided something");
        effects.notes.iter().for_each(|note| tracing::info!("{note}"));
        if let Err(refused) = answer {
            drop(reply.send(Err(refused)));
            return;
        }
        let call = Call { worker, until: Instant::now() + wait.min(self.longest_wait), seen, reply };
        if undecided.workers.contains(&call.worker) {
            undecided.calls.push(call);
        } else {
            self.parked.release(&self.cluster, vec![call], BTreeSet::new());
        }
    }

    /// What the call says waits, but not that its author lives.
    fn defer(&mut self, now: Now, call: AgentCall) {
        self.cluster.heard_of(now, &call.observed);
        let number = |call: &AgentCall| (call.observed.incarnation, call.observed.call);
        let worker = call.observed.worker.clone();
        if self.deferred.get(&worker).is_none_or(|earlier| number(earlier) < number(&call)) {
            self.deferred.insert(worker, call);
        }
    }
}
