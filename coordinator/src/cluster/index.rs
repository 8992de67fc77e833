//! What a run's record says about slots, by state and by worker, so that a heartbeat need not read all jobs of all runs.
//!
//! Follows from the record alone; [`super::Run::set`], the only place where a job's state changes, keeps it. Tests compare it with the
//! record after every event.

use osler_core::ids::WorkerName;
use osler_core::job::JobKey;
use osler_core::record::{JobState, RunRecord};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Jobs that wait for slots.
    waiting: BTreeSet<JobKey>,
    /// Jobs with an attempt: active or ending.
    held: BTreeSet<JobKey>,
    /// The ranks of those attempts, by worker.
    on: BTreeMap<WorkerName, BTreeMap<JobKey, Vec<u32>>>,
}

impl Index {
    pub fn of(record: &RunRecord) -> Self {
        let mut index = Self::default();
        record.jobs.iter().for_each(|(key, job)| index.insert(key, &job.status));
        index
    }

    pub fn insert(&mut self, key: &JobKey, status: &JobState) {
        if matches!(status, JobState::Pending { .. }) {
            self.waiting.insert(key.clone());
        }
        let Some(attempt) = status.attempt() else { return };
        self.held.insert(key.clone());
        for (rank, place) in attempt.places.iter().enumerate() {
            if !self.on.contains_key(&place.worker) {
                self.on.insert(place.worker.clone(), BTreeMap::new());
            }
            if let Some(jobs) = self.on.get_mut(&place.worker) {
                jobs.entry(key.clone()).or_default().push(rank as u32);
            }
        }
    }

    pub fn remove(&mut self, key: &JobKey, status: &JobState) {
        self.waiting.remove(key);
        self.held.remove(key);
        for place in status.attempt().into_iter().flat_map(|attempt| &attempt.places) {
            if let Some(jobs) = self.on.get_mut(&place.worker) {
                jobs.remove(key);
                if jobs.is_empty() {
                    self.on.remove(&place.worker);
                }
            }
        }
    }

    pub fn waiting(&self) -> impl Iterator<Item = &JobKey> {
        self.waiting.iter()
    }

    pub fn held(&self) -> impl Iterator<Item = &JobKey> {
        self.held.iter()
    }

    pub fn any_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Jobs with ranks on a worker, whatever its life, and these ranks, ascending.
    pub fn on(&self, worker: &WorkerName) -> impl Iterator<Item = (&JobKey, &[u32])> {
        self.on.get(worker).into_iter().flatten().map(|(key, ranks)| (key, ranks.as_slice()))
    }

    pub fn workers(&self) -> impl Iterator<Item = &WorkerName> {
        self.on.keys()
    }
}
