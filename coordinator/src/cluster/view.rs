//! What people see of a cluster: lines for lists.

use super::workers::WorkerState;
use super::{Cluster, Run};
use osler_core::ids::{Incarnation, Millis, StageName, WorkerName};
use osler_core::plan::train_key;
use osler_core::record::{JobState, RunRecord};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    pub stage: Option<StageName>,
    pub step: u64,
    pub planned_steps: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLine {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
    pub host: String,
    pub state: WorkerState,
    pub slots: u32,
    pub used: u32,
    pub seen_at: Millis,
}

impl Run {
    /// Where training stands: the stage that is being trained, or the last one that was.
    pub fn line(&self) -> RunLine {
        let record = &self.record;
        let status = |stage: &StageName| record.jobs.get(&train_key(stage)).map(|job| &job.status);
        let begun = |stage: &&osler_core::spec::StageSpec| {
            let waits = matches!(status(&stage.name), None | Some(JobState::Blocked | JobState::Pending { .. }));
            !waits || record.published_steps(&stage.name) > 0
        };
        let Some(stage) = record.spec.stages.iter().rev().find(begun).or(record.spec.stages.first()) else {
            return RunLine { stage: None, step: 0, planned_steps: 0 };
        };
        let moving = self.progress.get(&(train_key(&stage.name), 0)).filter(|(p, _)| p.unit == "steps").map_or(0, |(p, _)| p.done);
        let step = moving.max(record.published_steps(&stage.name)).min(stage.steps());
        RunLine { stage: Some(stage.name.clone()), step, planned_steps: stage.steps() }
    }
}

/// The reason that belongs to a state, empty if none does.
pub fn reason(record: &RunRecord) -> &str {
    match &record.state {
        osler_core::record::RunState::Failing(reason) | osler_core::record::RunState::Failed(reason) => reason,
        _ => "",
    }
}

impl Cluster {
    pub fn worker_lines(&self, now: Millis) -> Vec<WorkerLine> {
        let used = self.used_slots();
        let line = |(name, worker): (&WorkerName, &super::Worker)| {
            let used = used.get(name).copied().unwrap_or(0);
            WorkerLine {
                worker: name.clone(),
                incarnation: worker.incarnation,
                host: worker.host.clone(),
                state: self.workers.state(now, worker, used),
                slots: worker.slots,
                used,
                seen_at: worker.seen,
            }
        };
        self.workers.known.iter().map(line).collect()
    }
}
