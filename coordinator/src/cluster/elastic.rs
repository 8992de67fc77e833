//! Gangs that go on smaller when nodes are lost and grow back when there are nodes again, between `resources.min_ranks` and `ranks`.
//!
//! An attempt never changes its size. One that is to grow checkpoints and ends as if its nodes were taken away, and the next one starts
//! with more ranks. What is remembered here is soft: a coordinator that restarts begins to watch anew.

use super::{Cluster, Run};
use osler_core::job::JobKey;
use osler_core::reason::Cause;
use osler_core::record::{JobState, RunState};
use osler_core::time::Now;

impl Run {
    /// The numbers of ranks that a job may run with, the planned one first, then ever smaller ones.
    pub fn sizes(&self, key: &JobKey) -> Vec<u32> {
        let Some(job) = self.job(key) else { return vec![] };
        let full = job.planned.ranks;
        let resources = &self.record.spec.resources;
        let stage = job.planned.kind.stage().filter(|_| self.is_train(key)).and_then(|name| self.record.spec.stage(name));
        let (Some(least), Some(stage)) = (resources.min_ranks, stage) else { return vec![full] };
        let smaller = (least..full).rev().filter(|ranks| stage.shared_by(*ranks, resources.determinism).is_ok());
        std::iter::once(full).chain(smaller).collect()
    }

    /// For how long a pending gang still waits for all of its slots: a node that comes back spares a restart.
    pub fn patience_left(&self, now: Now, key: &JobKey, patience: u64) -> u64 {
        let Some(JobState::Pending { .. }) = self.job(key).map(|job| &job.status) else { return 0 };
        self.times.due(key).after(patience).since(now.moment)
    }

    /// Notes that a gang could have more ranks, and asks it to end once that has been so for long enough.
    fn watch_room(&mut self, now: Now, key: &JobKey, free: u32, patience: u64) {
        let Some(attempt) = self.active(key).filter(|attempt| attempt.has_met()) else { return };
        let has = attempt.places.len() as u32;
        let could = self.sizes(key).into_iter().find(|ranks| *ranks <= has.saturating_add(free)).filter(|ranks| *ranks > has);
        let Some(could) = could else {
            self.roomy_since.remove(key);
            return;
        };
        let since = *self.roomy_since.entry(key.clone()).or_insert(now.moment);
        if now.moment.since(since) >= patience {
            self.ask_to_leave(now, key, Cause::Grows { ranks: could });
        }
    }
}

impl Cluster {
    /// Looks after gangs that run with fewer ranks than planned. What waits for slots comes first: it would take those of the larger gang.
    pub(super) fn grow(&mut self, now: Now) {
        let smaller = |run: &Run| run.held(|job| job.status.attempt().is_some_and(|a| a.places.len() < job.planned.ranks as usize));
        let running = self.runs.values().filter(|run| run.record.state == RunState::Running);
        let candidates: Vec<_> = running.flat_map(|run| smaller(run).into_iter().map(|key| (run.record.name().clone(), key))).collect();
        if candidates.is_empty() {
            return;
        }
        let patience = self.workers.limits.grow_after;
        let starts = |run: &&Run| matches!(run.record.state, RunState::Submitted | RunState::Running);
        let waiting = self.runs.values().filter(starts).any(|run| run.index().waiting().next().is_some());
        let free = if waiting { 0 } else { self.spots(now).iter().map(|spot| spot.free).sum() };
        for (name, key) in candidates {
            if let Some(run) = self.runs.get_mut(&name) {
                run.watch_room(now, &key, free, patience);
            }
        }
    }
}
