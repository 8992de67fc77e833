//! What an agent and the processes that it starts say to each other: one JSON document a line.
//!
//! Down (standard input): an [`Assignment`] first, then [`Command`]s; end of file means that the agent is gone, and the process
//! exits without publishing anything. Up (standard output): [`Report`]s. Standard error is the log. The coordinator gets the reports
//! as they are, so this is also the vocabulary of the wire's payloads.

use crate::checkpoint::{ObjectRef, Part};
use crate::ids::Generation;
use crate::job::{Fault, JobId, JobKey, JobKind, JobResult};
use crate::rewind::Batches;
use crate::spec::RunSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// One process's work: self-contained, so that the process asks nobody anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    pub id: JobId,
    pub kind: JobKind,
    pub generation: Generation,
    pub rank: u32,
    pub world_size: u32,
    /// Where the run's objects are: a URL that `osler_runtime` opens.
    pub store: String,
    pub spec: RunSpec,
    /// The results of the jobs that this one depends on.
    pub inputs: BTreeMap<JobKey, JobResult>,
    /// Train: the published checkpoint to go on from. Export: the one to export.
    pub checkpoint: Option<CheckpointRef>,
    /// Train: which batches of the order its steps read.
    #[serde(default, skip_serializing_if = "Batches::is_whole")]
    pub batches: Batches,
    /// Train with `from = "stage:…"` or `"fork:…"` and no checkpoint of its own yet: the earlier stage's.
    pub initial: Option<CheckpointRef>,
}

/// A published checkpoint: its manifest is read, and verified by the digest, by who needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRef {
    pub step: u64,
    pub manifest: ObjectRef,
}

/// From the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Where this generation's ranks meet: rank 0's store, `host:port`.
    Rendezvous { address: String },
    /// Agree on a step with the other ranks, checkpoint there, report [`Report::Stopped`] and exit with [`exit::STOPPED`].
    Stop,
    /// Say where the main thread stands: [`Report::Stack`].
    Look,
}

/// From a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "report", deny_unknown_fields)]
pub enum Report {
    /// Rank 0's store is listening.
    Rendezvous { address: String },
    /// The latest only; may be dropped.
    Progress(Progress),
    /// A part of a checkpoint is durable.
    Part(Part),
    /// The job is done; the process exits with 0.
    Done { result: JobResult },
    /// The rank has checkpointed for [`Command::Stop`].
    Stopped { step: u64 },
    /// Train: the guard skipped too many steps, first to last, and the stage should go back before them; the process exits with
    /// [`exit::STOPPED`].
    Rewind { skipped: Range<u64> },
    /// Where threads of the process stand, in lines for people, innermost first: from itself, and from its agent what the kernel knows.
    Stack { lines: Vec<String> },
    /// The process is about to exit because of this.
    Failed { fault: Fault },
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// What is being done, in a word: `parsing`, `scoring`; for train jobs see [`phase`].
    pub phase: String,
    pub done: u64,
    pub total: u64,
    /// What `done` counts: `steps`, `documents`, `questions`.
    pub unit: String,
    pub loss: Option<f64>,
    pub tokens_per_second: Option<f64>,
    /// Train: milliseconds of a step that this rank works itself, waits for others left out; a mean over its last steps.
    #[serde(default)]
    pub busy_ms: Option<f64>,
    /// For so many milliseconds the process has neither computed, read nor written more than its heartbeat needs, and reported nothing new.
    #[serde(default)]
    pub still_ms: u64,
}

/// What a rank's progress says of its phase. The coordinator tells by it who hangs and who waits for whom.
pub mod phase {
    pub const TRAINING: &str = "training";
    /// For other ranks, inside a step.
    pub const WAITING: &str = "waiting";
    /// Until a checkpoint before this one is written.
    pub const SAVING: &str = "saving";
    /// Of any job: until the disk has room again.
    pub const NO_ROOM: &str = "waiting for room";
    /// Of any job: until the store answers, or has room.
    pub const STORE: &str = "waiting for the store";

    /// Whether who says so has the store's patience, however long that is.
    pub fn is_patient(phase: &str) -> bool {
        [SAVING, NO_ROOM, STORE].contains(&phase)
    }
}

/// Exit codes of job processes and of the `osler` command.
pub mod exit {
    pub const OK: i32 = 0;
    pub const FAILED: i32 = 1;
    /// Bad file or usage: trying again cannot help.
    pub const USAGE: i32 = 64;
    /// Stopped on request with a published checkpoint: resumable.
    pub const STOPPED: i32 = 75;
    /// Failed in a way that the same call would fail again: a scheduler must not requeue it.
    pub const NO_REQUEUE: i32 = 93;
    /// Of `osler` only: a person stopped the run, and only a person's `osler resume` goes on. A scheduler must not requeue it either.
    pub const BY_HAND: i32 = 94;
}

/// The environment variable that tells a rank the number of its GPU among those of its agent. No two processes of an agent that run at
/// the same time have the same; two agents of one machine get different GPUs through CUDA_VISIBLE_DEVICES.
pub const GPU_VARIABLE: &str = "OSLER_GPU";

/// The environment variable that tells a rank the IP address on which the ranks of other machines reach it.
pub const GANG_ADDRESS_VARIABLE: &str = "OSLER_GANG_ADDRESS";

/// The longest line that either side accepts: an assignment of a run with thousands of inputs fits.
pub const MAX_LINE_BYTES: usize = 64 << 20;
