//! Gangs that go on smaller when nodes are lost and grow back when there are nodes again, between `resources.min_ranks` and `ranks`.
//!
//! An attempt never changes its size. One that is to grow checkpoints and ends as if its nodes were taken away, and the next one starts
//! with more ranks. What is remembered here is soft: a coordinator that restarts begins to watch anew.

use super::{Cluster, Run};
use osler_core::ids::Millis;
use osler_core::job::JobKey;
use osler_core::record::{EventKind, JobState, RunState};

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

    /// The number of ranks that a pending job starts with on so many free slots, if it may start now.
    pub fn fitting(&self, now: Millis, key: &JobKey, free: u32, patience: u64) -> Option<u32> {
        let Some(JobState::Pending { since, not_before }) = self.job(key).map(|job| &job.status) else { return None };
        let sizes = self.sizes(key);
        // A node that comes back within this time spares a restart.
        let patient = now.0 < since.0.max(not_before.0).saturating_add(patience);
        sizes.into_iter().take(if patient { 1 } else { usize::MAX }).find(|ranks| *ranks <= free)
    }

    /// The fewest slots that a job can ever start on.
    pub fn least_ranks(&self, key: &JobKey) -> u32 {
        self.sizes(key).last().copied().unwrap_or(0)
    }

    /// Whether the attempt was asked to end because the next one can have more ranks.
    pub fn is_growing(&self, key: &JobKey) -> bool {
        self.growing.get(key).is_some_and(|growth| growth.asked)
    }

    /// Notes that a gang could have more ranks, and asks it to end once that has been so for long enough.
    fn watch_room(&mut self, now: Millis, key: &JobKey, free: u32, patience: u64) {
        let Some(attempt) = self.active(key).filter(|attempt| attempt.has_met()) else { return };
        let (generation, has) = (attempt.generation, attempt.places.len() as u32);
        let could = self.sizes(key).into_iter().find(|ranks| *ranks <= has.saturating_add(free)).filter(|ranks| *ranks > has);
        let Some(could) = could else {
            self.growing.retain(|job, growth| job != key || growth.asked);
            return;
        };
        let growth = self.growing.entry(key.clone()).or_insert(Growth { since: now, asked: false });
        if !growth.asked && now.0.saturating_sub(growth.since.0) >= patience {
            growth.asked = true;
            let message = format!("asked to checkpoint: it can go on with {could} ranks instead of {has}");
            self.happened(now, EventKind::Worker, Some((key, Some(generation))), message);
            self.tell(key);
        }
    }
}

/// Since when a gang could have more ranks, and whether it was asked to make place for its successor.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    since: Millis,
    asked: bool,
}

impl Cluster {
    /// Looks after gangs that run with fewer ranks than planned. What waits for slots comes first: it would take those of the larger gang.
    pub(super) fn grow(&mut self, now: Millis) {
        let smaller = |run: &Run| run.held(|job| job.status.attempt().is_some_and(|a| a.places.len() < job.planned.ranks as usize));
        let running = self.runs.values().filter(|run| run.record.state == RunState::Running);
        let candidates: Vec<_> = running.flat_map(|run| smaller(run).into_iter().map(|key| (run.record.name().clone(), key))).collect();
        if candidates.is_empty() {
            return;
        }
        let (patience, waiting) = (self.workers.limits.grow_after, !self.queue().is_empty());
        let free = if waiting { 0 } else { self.slots(now).free_in_all() };
        for (name, key) in candidates {
            if let Some(run) = self.runs.get_mut(&name) {
                run.watch_room(now, &key, free, patience);
            }
        }
    }
}
