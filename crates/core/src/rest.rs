//! Finished runs at rest: what a coordinator remembers of a run that nobody asks for. The rest of its record stays in the store and is
//! read when somebody does, so a thousand finished runs cost a coordinator little memory and a takeover one read each.

use crate::ids::{Millis, StageName};
use crate::plan::train_key;
use crate::record::{JobState, RunRecord, RunState};
use crate::spec::StageSpec;

/// Where training stands: the stage that is being trained, or the last one that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub stage: Option<StageName>,
    pub step: u64,
    pub planned_steps: u64,
}

/// A finished run, for lists and for retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtRest {
    pub submitted_at: Millis,
    /// What belongs beside its state, see [`RunRecord::beside_state`].
    pub reason: String,
    pub line: Line,
    /// A person wants to keep a checkpoint of it.
    pub pinned: bool,
    /// How long ago it had finished when its record was written, and how old the cluster was then; milliseconds.
    ago: u64,
    cluster_age: u64,
}

impl AtRest {
    /// None: the run has not finished, or somebody may still write what nobody needs.
    pub fn of(record: &RunRecord) -> Option<Self> {
        let finished = record.finished.filter(|_| record.state == RunState::Finished && record.swept)?;
        Some(Self {
            submitted_at: record.submitted_at,
            reason: record.beside_state().unwrap_or_default(),
            line: record.line(|_| 0),
            pinned: record.has_pins(),
            ago: record.aged.age.total().saturating_sub(finished.total()),
            cluster_age: record.cluster_age,
        })
    }

    /// How long ago it finished, in milliseconds, when the cluster is so old.
    pub fn finished_ago(&self, cluster_age: u64) -> u64 {
        self.ago.saturating_add(cluster_age.saturating_sub(self.cluster_age))
    }
}

impl RunRecord {
    /// `said`: how many steps of a stage its ranks say they have made, published or not.
    pub fn line(&self, said: impl Fn(&StageSpec) -> u64) -> Line {
        let status = |stage: &StageName| self.jobs.get(&train_key(stage)).map(|job| &job.status);
        let begun = |stage: &&StageSpec| {
            let waits = matches!(status(&stage.name), None | Some(JobState::Blocked | JobState::Pending { .. }));
            !waits || self.published_steps(&stage.name) > 0
        };
        let Some(stage) = self.spec.stages.iter().rev().find(begun).or(self.spec.stages.first()) else {
            return Line { stage: None, step: 0, planned_steps: 0 };
        };
        let step = said(stage).max(self.published_steps(&stage.name)).min(stage.steps());
        Line { stage: Some(stage.name.clone()), step, planned_steps: stage.steps() }
    }

    /// A person wants to keep something of it.
    pub fn has_pins(&self) -> bool {
        self.checkpoints.values().flatten().any(|checkpoint| checkpoint.pinned && !checkpoint.retired)
    }
}
