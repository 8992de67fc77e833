//! The durable truth about a run: what the coordinator writes, one immutable version after another, and every reader starts from.
//!
//! Only the coordinator's pure core changes a record. Everything but progress is in it, so a coordinator that restarts knows as much
//! as the one before; an agent's report is acknowledged only after the record that contains it is written.

use crate::checkpoint::{ObjectRef, Part};
use crate::digest::Digest;
use crate::gate::GateOutcome;
use crate::history::History;
use crate::identity::{Sources, Submission};
use crate::ids::{Epoch, Generation, Incarnation, Millis, RunName, StageName, WorkerName};
use crate::job::{Fault, JobId, JobKey, JobKind, JobResult};
use crate::order::{Component, OrderError, SampleOrder};
use crate::plan::{PlannedJob, train_key};
use crate::reason::Cause;
use crate::retention::{self, Candidate, Reason};
use crate::rewind::{Batches, Rewind};
use crate::spec::{Init, RunSpec, StageSpec};
use crate::stop::Stop;
use crate::time::{Age, Aged, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// ```text
/// Submitted -> Running -> Finished
///              Running -> Stopping -> Stopped -> Running      (stop, resume)
///              Running -> Failing  -> Failed  -> Running      (resume tries again)
///              Finished, Stopped, Failed -> Removed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum RunState {
    /// Accepted; nothing has been placed yet.
    Submitted,
    Running,
    /// Train gangs are agreeing on a step and checkpointing; other jobs are ended and will be done again.
    Stopping,
    /// Nothing runs; resumable.
    Stopped,
    /// A job failed for good or a gate said stop; the rest is being ended.
    Failing(String),
    Failed(String),
    Finished,
    /// By its last version: nobody is shown the run any more, and its objects are being deleted, see [`crate::removal`].
    Removed,
}

impl RunState {
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Submitted | Self::Running | Self::Stopping | Self::Failing(_))
    }

    /// [`Self::is_live`], by the name of the state as lists have it.
    pub fn is_live_name(name: &str) -> bool {
        ["submitted", "running", "stopping", "failing"].contains(&name)
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failing(_) => "failing",
            Self::Failed(_) => "failed",
            Self::Finished => "finished",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where one rank of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
}

/// How one rank of an attempt ended, as far as it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum RankEnd {
    Done { result: JobResult },
    Stopped { step: u64 },
}

/// One generation of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub generation: Generation,
    /// By rank.
    pub places: Vec<Place>,
    pub started_at: Millis,
    /// Train: where the ranks meet, as rank 0 reported it.
    pub rendezvous: Option<String>,
    #[serde(with = "pairs")]
    pub ended: BTreeMap<u32, RankEnd>,
    /// Train: parts of checkpoints that are not complete yet, by step.
    #[serde(with = "pairs")]
    pub parts: BTreeMap<u64, Vec<Part>>,
    /// Train: the step that this attempt resumed from, then its last published one.
    pub published: u64,
    /// What other processes said when they failed after the first one, by `worker/rank`; a few of them, for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, String>,
    /// It is to save, if it can, and to leave its slots; nothing that it does after that is blamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave: Option<Cause>,
    /// It runs on slots that a gang before it waits for, until that gang can start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// How old the run was when it began; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Age>,
}

impl Attempt {
    /// Train: whether the ranks can agree on anything yet. A single rank needs nobody, and never says where it could be met.
    pub fn has_met(&self) -> bool {
        self.rendezvous.is_some() || self.places.len() == 1
    }
}

/// What happens once the processes of an ended attempt are confirmed gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "then")]
pub enum Then {
    /// Try again, not before the time given.
    Retry {
        fault: Fault,
        not_before: Millis,
    },
    Fail {
        fault: Fault,
    },
    /// Stopped on request: goes back to the queue, waits for a resume.
    Requeue {
        /// None in records of older versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// Too many steps were skipped, first to last: the stage goes back and leaves their data out.
    Rewind {
        skipped: Range<u64>,
    },
}

/// ```text
/// Blocked -> Pending -> Active -> Succeeded
///            Pending <- Ending <- Active          (lost, killed, failed, stopped: the old processes are confirmed gone first)
///                       Ending -> Failed          (budget used up, or trying again cannot help)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum JobState {
    /// Something that it needs has not succeeded yet.
    Blocked,
    /// Waits for slots, or for `not_before` after a failure.
    Pending {
        since: Millis,
        not_before: Millis,
    },
    /// Placed: its processes are wanted on these workers.
    Active {
        attempt: Attempt,
    },
    /// Its processes are unwanted and not yet confirmed gone.
    Ending {
        attempt: Attempt,
        next: Then,
    },
    Succeeded {
        generation: Generation,
        at: Millis,
        result: JobResult,
    },
    Failed {
        at: Millis,
        fault: Fault,
    },
}

impl JobState {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Pending { .. } => "pending",
            Self::Active { .. } => "active",
            Self::Ending { .. } => "ending",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
        }
    }

    /// The attempt that holds slots, wanted or not.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Active { attempt } | Self::Ending { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    pub fn result(&self) -> Option<&JobResult> {
        match self {
            Self::Succeeded { result, .. } => Some(result),
            _ => None,
        }
    }
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastAttempt {
    pub generation: Generation,
    pub workers: BTreeSet<WorkerName>,
    pub started_at: Millis,
    pub ended_at: Millis,
    /// None: it succeeded or was stopped on request.
    pub fault: Option<Fault>,
    /// Train: steps that it published beyond where it started. Jobs without checkpoints: 0.
    pub steps_published: u64,
    /// As in [`Attempt`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, String>,
    /// Why it was ended without a fault; none: it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What it took of the run's life, whatever the wall clock did meanwhile; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl PastAttempt {
    /// How long it took; by its stamps if nothing better is known.
    pub fn millis(&self) -> u64 {
        self.span.map_or_else(|| self.ended_at.0.saturating_sub(self.started_at.0), Span::millis)
    }

    /// As long as coordinators saw it; by its stamps if nothing better is known.
    pub fn watched_millis(&self) -> u64 {
        self.span.map_or_else(|| self.millis(), |span| span.to.watched.saturating_sub(span.from.watched))
    }

    /// Whether there was no coordinator for a part of it.
    pub fn was_alone(&self) -> bool {
        self.span.is_some_and(|span| span.to.alone > span.from.alone)
    }

    /// From its end to the beginning of the next attempt.
    pub fn millis_until(&self, next: &Self) -> u64 {
        match (self.span, next.span) {
            (Some(this), Some(next)) => Span { from: this.to, to: next.from }.millis(),
            _ => next.started_at.0.saturating_sub(self.ended_at.0),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    #[serde(flatten)]
    pub planned: PlannedJob,
    pub status: JobState,
    pub past: Vec<PastAttempt>,
    /// It is being made again, because an output was found damaged: the result that it had, and must have again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<JobResult>,
    /// How often that was so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub made_again: u32,
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

impl JobRecord {
    pub fn new(planned: PlannedJob, status: JobState) -> Self {
        Self { planned, status, past: vec![], before: None, made_again: 0 }
    }
}

/// A checkpoint that exists for readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub step: u64,
    pub generation: Generation,
    pub manifest: ObjectRef,
    pub at: Millis,
    /// Its parts were deleted by retention; the manifest stays for the ledger.
    pub retired: bool,
    /// Of its ledger, see [`Manifest::mean_loss`](crate::checkpoint::Manifest::mean_loss).
    #[serde(default)]
    pub mean_loss: Option<f64>,
    /// How many parts it has; none in records of older versions.
    #[serde(default)]
    pub world_size: Option<u32>,
    /// Kept because a person said so.
    #[serde(default)]
    pub pinned: bool,
    /// Updates since the checkpoint before that the guard did not apply.
    #[serde(default)]
    pub skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Run,
    Started,
    Succeeded,
    Retry,
    Failed,
    Checkpoint,
    /// Steps that the guard did not apply.
    Skipped,
    /// A stage went back.
    Rewind,
    Gate,
    Worker,
    /// A job is asked to leave its slots to another.
    Preempted,
    /// The store had no room or did not answer, or an object of it is damaged.
    Store,
}

/// Something that happened, for people and programs that watch. Ids count from 1 within a run and survive restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: u64,
    pub at: Millis,
    pub kind: EventKind,
    pub job: Option<JobKey>,
    pub generation: Option<Generation>,
    pub message: String,
    /// Of a stop or a retry: why, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cause>,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub format: u32,
    /// Of this object; the next one is created under the next number, by one coordinator only.
    pub version: u64,
    /// Who wrote it.
    pub epoch: Epoch,
    pub spec: RunSpec,
    /// The run's identity: a second submission with the same name must have the same, see [`crate::identity`].
    pub spec_digest: Digest,
    /// What the files of the spec held when they were submitted; empty in records of older versions.
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    pub sources: Sources,
    pub submitted_at: Millis,
    /// How old the run was when this version was written.
    #[serde(default)]
    pub aged: Aged,
    pub state: RunState,
    /// How old the run was when it finished; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Age>,
    /// It is finished, what its attempts left is deleted, and nobody writes any more; see [`crate::rest`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub swept: bool,
    /// How old the cluster was when this version was written, in milliseconds; 0 in records of older versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cluster_age: u64,
    /// Of a run that is stopping or stopped; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    pub jobs: BTreeMap<JobKey, JobRecord>,
    pub next_generation: Generation,
    /// Ascending by step.
    pub checkpoints: BTreeMap<StageName, Vec<Published>>,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewinds: BTreeMap<StageName, Vec<Rewind>>,
    pub gates: Vec<GateOutcome>,
    pub events: Vec<Event>,
    pub next_event: u64,
    /// What is on pages; none in records of older versions.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub history: History,
}

/// Maps by number as lists of pairs: serde cannot read a number back from a key inside a tagged state.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer, K: Serialize, V: Serialize>(map: &BTreeMap<K, V>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub fn deserialize<'de, D, K, V>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        D: Deserializer<'de>,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(d)?.into_iter().collect())
    }
}

/// Why a stage's sample order cannot be built yet, or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOrder {
    #[error("{0} has not succeeded")]
    NotPacked(JobKey),
    #[error("{0} did not yield a packed corpus")]
    NotAComponent(JobKey),
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl RunRecord {
    pub const FORMAT: u32 = 1;

    /// As it was submitted last.
    pub fn submission(&self) -> Submission {
        Submission { spec: self.spec.clone(), sources: self.sources.clone() }
    }

    pub fn name(&self) -> &RunName {
        &self.spec.name
    }

    pub fn id(&self, job: &JobKey) -> JobId {
        JobId { run: self.spec.name.clone(), job: job.clone() }
    }

    /// What a job left; of one that is being made again, what it had left before.
    pub fn result(&self, job: &JobKey) -> Option<&JobResult> {
        let job = self.jobs.get(job)?;
        job.status.result().or(job.before.as_ref())
    }

    /// The newest published checkpoint of a stage whose parts still exist.
    pub fn newest_checkpoint(&self, stage: &StageName) -> Option<&Published> {
        self.checkpoints.get(stage)?.iter().rev().find(|c| !c.retired)
    }

    /// A published checkpoint whose parts still exist; the newest one if no step is given.
    pub fn checkpoint(&self, stage: &StageName, step: Option<u64>) -> Option<&Published> {
        match step {
            None => self.newest_checkpoint(stage),
            Some(step) => self.checkpoints.get(stage)?.iter().find(|c| c.step == step && !c.retired),
        }
    }

    /// Updates of a stage that are safe: the newest published step.
    pub fn published_steps(&self, stage: &StageName) -> u64 {
        self.checkpoints.get(stage).and_then(|c| c.last()).map_or(0, |c| c.step)
    }

    /// The checkpoints of a stage that retention lets stay, and why. What is not among them and not retired yet is about to be.
    pub fn kept(&self, stage: &StageName) -> BTreeMap<u64, BTreeSet<Reason>> {
        let published = self.checkpoints.get(stage).map_or(&[][..], Vec::as_slice);
        let candidate = |c: &Published| Candidate { step: c.step, mean_loss: c.mean_loss, pinned: c.pinned };
        let candidates: Vec<Candidate> = published.iter().filter(|c| !c.retired).map(candidate).collect();
        retention::kept(&self.spec.checkpoint, &candidates, &self.forked_at(stage))
    }

    /// Which batch of its order each step of a stage reads.
    pub fn batches(&self, stage: &StageName) -> Batches {
        let rewinds = self.rewinds.get(stage).map_or(&[][..], Vec::as_slice);
        rewinds.iter().map(|rewind| rewind.left_out.clone()).collect::<Vec<_>>().into()
    }

    /// Published steps of a stage whose updates the guard did not apply.
    pub fn skipped_steps(&self, stage: &StageName) -> u64 {
        self.checkpoints.get(stage).map_or(0, |published| published.iter().map(|c| c.skipped).sum())
    }

    /// The steps of a stage that others are forked from.
    fn forked_at(&self, of: &StageName) -> BTreeSet<u64> {
        let point = |s: &StageSpec| match &s.from {
            Init::Fork { stage, step } if stage == of => *step,
            _ => None,
        };
        self.spec.stages.iter().filter_map(point).collect()
    }

    /// The results of the jobs that `job` needs, once all have succeeded.
    pub fn inputs(&self, job: &JobKey) -> Option<BTreeMap<JobKey, JobResult>> {
        let needs = &self.jobs.get(job)?.planned.needs;
        needs.iter().map(|key| Some((key.clone(), self.result(key)?.clone()))).collect()
    }

    /// A stage, as the sum of its train job: what a person calls its state.
    pub fn stage_state(&self, stage: &StageName) -> &'static str {
        self.jobs.get(&train_key(stage)).map_or("unknown", |job| match job.status {
            JobState::Blocked => "blocked",
            JobState::Pending { .. } => "ready",
            JobState::Active { .. } | JobState::Ending { .. } => "running",
            JobState::Succeeded { .. } => "succeeded",
            JobState::Failed { .. } => "failed",
        })
    }

    pub fn order(&self, stage: &StageSpec) -> Result<SampleOrder, NoOrder> {
        stage_order(&self.spec, stage, |key| self.result(key))
    }
}

/// The order of a stage's samples, from the results of its pack jobs. Coordinator, ranks and audit all build it here.
pub fn stage_order<'a>(
    spec: &RunSpec,
    stage: &StageSpec,
    result: impl Fn(&JobKey) -> Option<&'a JobResult>,
) -> Result<SampleOrder, NoOrder> {
    let mut components = vec![];
    for (corpus, parts) in &stage.mixture {
        let key = JobKind::Pack { corpus: corpus.clone(), sequence_length: stage.sequence_length }.key();
        let packed = result(&key).ok_or_else(|| NoOrder::NotPacked(key.clone()))?;
        let crate::job::Summary::Pack { component, .. } = &packed.summary else {
            return Err(NoOrder::NotAComponent(key));
        };
        components.push(Component { parts: *parts, ..component.clone() });
    }
    Ok(SampleOrder::new(spec.seed, &stage.name, stage.global_batch, components)?)
}

#[cfg(test)]
mod tests;
