//! The one conversation between an agent and the coordinator: observed state up, desired state down.
//!
//! Level-triggered on purpose: each call carries all that the agent runs and gets all that it should run, so a lost, repeated or
//! late call changes nothing. It is registration, heartbeat, status and assignment at once; the coordinator never dials a worker.

use crate::health::Health;
use crate::ids::{Epoch, Generation, Incarnation, LabelKey, LabelValue, WorkerName};
use crate::job::JobId;
use crate::process::{Assignment, Report};
use std::collections::BTreeMap;

/// What an agent sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
    /// Counts the incarnation's calls from 1: a call that was overtaken by a later one is known by it.
    pub call: u64,
    /// Of the newest coordinator that it has obeyed; 0: of none.
    pub epoch: Epoch,
    /// For people: where it runs.
    pub host: String,
    /// Processes that it may run at once.
    pub slots: u32,
    /// Everything it has started and not yet been told to forget, ended ones included.
    pub processes: Vec<ProcessStatus>,
    /// Not yet acknowledged, ascending by `seq`.
    pub reports: Vec<NumberedReport>,
    /// It is shutting down and wants no new work.
    pub draining: bool,
    /// What gangs and runs may ask for.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// What it found when it last looked at its node; none: it does not look.
    pub health: Option<Health>,
    /// Milliseconds that its clock was behind the coordinator's when the call came in, the way included. Set by who receives the call.
    pub skew: i64,
}

/// Which process: one rank of one generation of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    pub id: JobId,
    pub generation: Generation,
    pub rank: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStatus {
    pub process: ProcessId,
    pub phase: ProcessPhase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessPhase {
    Running,
    /// Confirmed gone. `code` is 128 + n for a death by signal n, as shells count.
    Exited {
        code: i32,
        log_tail: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct NumberedReport {
    /// Counts from 1 within an incarnation.
    pub seq: u64,
    pub process: ProcessId,
    pub report: Report,
}

/// What an agent should do: run exactly these, end and forget everything else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    pub wanted: Vec<Wanted>,
    /// Reports up to this number are durable; the agent may drop them.
    pub acknowledged: u64,
    /// When this grows, the agent looks at its node at once.
    pub check: u64,
    /// Of the coordinator that asks for it.
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub process: ProcessId,
    /// Given while the agent does not list the process.
    pub assignment: Option<Assignment>,
    /// Where its gang meets, once known.
    pub rendezvous: Option<String>,
    /// Checkpoint with the gang and end.
    pub stop: bool,
    /// Say where its threads stand ([`Report::Stack`]): its gang makes no steps.
    pub look: bool,
}
