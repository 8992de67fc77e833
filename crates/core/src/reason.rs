//! Why a job is not running, and why an attempt or a run ends: by code and data for programs, in a sentence with the way out for people.

use crate::ids::{Generation, LabelKey, LabelValue, TeamName, WorkerName};
use crate::job::{FaultClass, JobId, JobKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Why something was ended, or is to leave. Kept in the record: with events, with attempts, with what happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Cause {
    /// Somebody stopped the run.
    Stopped,
    /// The run cannot succeed any more.
    RunFails,
    /// The fault itself stands with the attempt.
    Fault { class: FaultClass },
    /// Too many updates were skipped.
    Rewind,
    /// The worker wants to go, or was drained.
    Draining { worker: WorkerName },
    /// Work of a higher priority takes its slots.
    Preempted { by: JobId, priority: i32 },
    /// It ran on slots that were idle while a gang waited, and the gang can start now.
    GaveWay { to: JobId },
    /// It could not use an object of the run, which is looked at before the job goes on.
    Damaged { object: String },
    /// It has fewer ranks than planned, and there has been room for so many.
    Grows { ranks: u32 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the run is being stopped"),
            Self::RunFails => f.write_str("the run fails"),
            Self::Fault { class } => write!(f, "{class}"),
            Self::Rewind => f.write_str("it goes back to an earlier step"),
            Self::Draining { worker } => write!(f, "worker {worker} takes no more work"),
            Self::Preempted { by, priority } => write!(f, "preempted by {by} of priority {priority}"),
            Self::Damaged { object } => write!(f, "{object} is damaged, it says"),
            Self::Grows { ranks } => write!(f, "it can go on with {ranks} ranks"),
            Self::GaveWay { to } => write!(f, "it ran on slots that {to} waited for, which can start now"),
        }
    }
}

/// A worker that takes no new work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    pub worker: WorkerName,
    /// "suspect", "drained: disk is being replaced".
    pub why: String,
}

/// Why a job is neither running nor over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Reason {
    /// The first few of the jobs that have not succeeded, and how many more there are.
    Needs {
        jobs: Vec<JobKey>,
        more: usize,
    },
    /// Its run starts nothing now.
    RunState {
        state: String,
    },
    /// A retry's time has not come.
    Retry {
        in_ms: u64,
        after: Option<String>,
    },
    NoWorkers,
    /// More than all suitable workers have.
    TooLarge {
        needs: u32,
        slots: u32,
        require: BTreeMap<LabelKey, LabelValue>,
        unusable: Vec<Unusable>,
    },
    /// It must stay within one value of a label, and none has so many slots.
    TooLargeForLabel {
        needs: u32,
        label: LabelKey,
        largest: u32,
        unusable: Vec<Unusable>,
    },
    /// A gang before it keeps the free slots.
    Behind {
        first: JobId,
        unusable: Vec<Unusable>,
    },
    Slots {
        needs: u32,
        free: u32,
        unusable: Vec<Unusable>,
    },
    /// It may start with `least` slots or more when it has waited for `in_ms`: a node may come back.
    Patience {
        needs: u32,
        free: u32,
        least: u32,
        in_ms: u64,
        unusable: Vec<Unusable>,
    },
    /// Enough is being ended or leaves by itself.
    MakingRoom {
        needs: u32,
        free: u32,
        leaving: Vec<JobId>,
    },
    /// What it could preempt was started too recently.
    Hold {
        needs: u32,
        free: u32,
        gang: JobId,
        in_ms: u64,
    },
    /// `kept` of `held` are for the team's gang `first`, which waits.
    Quota {
        team: TeamName,
        quota: u32,
        held: u32,
        needs: u32,
        first: Option<JobId>,
    },
    /// Its old processes are not confirmed gone.
    Ending {
        generation: Generation,
        workers: Vec<WorkerName>,
        cause: Cause,
        fault: Option<String>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needs { jobs, more } => {
                write!(f, "needs {}", list(jobs))?;
                if *more > 0 { write!(f, " and {more} more") } else { Ok(()) }
            }
            Self::RunState { state } => write!(f, "the run is {state}"),
            Self::Retry { in_ms, after } => {
                write!(f, "tried again in {:.1} s", *in_ms as f64 / 1000.0)?;
                after.as_ref().map_or(Ok(()), |fault| write!(f, " after {fault}"))
            }
            Self::NoWorkers => f.write_str("there are no workers: start osler-worker"),
            Self::TooLarge { needs, slots, require, unusable } if require.is_empty() => {
                write!(f, "needs {needs} slots, the workers have {slots} in all: start more workers{}", Others(unusable))
            }
            Self::TooLarge { needs, slots, require, unusable } => {
                let labels: Vec<String> = require.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let options: Vec<String> = labels.iter().map(|label| format!("--label {label}")).collect();
                let (labels, options) = (labels.join(" and "), options.join(" "));
                write!(
                    f,
                    "needs {needs} slots of workers with {labels}, which have {slots}: start osler-worker {options}{}",
                    Others(unusable)
                )
            }
            Self::TooLargeForLabel { needs, label, largest, unusable } => write!(
                f,
                "needs {needs} slots within one {label}, the largest has {largest}: add workers to one, or leave affinity_required out{}",
                Others(unusable)
            ),
            Self::Behind { first, unusable } => write!(f, "{first} waits for its slots and goes first{}", Others(unusable)),
            Self::Slots { needs, free, unusable } => write!(f, "{free} of {needs} slots free{}", Others(unusable)),
            Self::Patience { needs, free, least, in_ms, unusable } => {
                let seconds = in_ms.div_ceil(1000);
                write!(f, "{free} of {needs} slots free; starts with {least} or more in {seconds} s{}", Others(unusable))
            }
            Self::MakingRoom { needs, free, leaving } => write!(f, "{free} of {needs} slots free; {} makes room", list(leaving)),
            Self::Hold { needs, free, gang, in_ms } => {
                let seconds = in_ms.div_ceil(1000);
                write!(f, "{free} of {needs} slots free; {gang} began a moment ago and may be preempted in {seconds} s")
            }
            Self::Quota { team, quota, needs, .. } if needs > quota => {
                write!(f, "needs {needs} slots, team {team} may hold {quota}: `osler quota set {team} {needs}`")
            }
            Self::Quota { team, quota, held, needs, first } => {
                write!(f, "needs {needs} slots, team {team} holds {held} of {quota}")?;
                first.as_ref().map_or(Ok(()), |first| write!(f, ", kept ones for {first} included"))?;
                write!(f, ": waits for them, or `osler quota set {team} {}`", held.saturating_add(*needs))
            }
            Self::Ending { generation, workers, cause, fault } => {
                write!(f, "the processes of generation {generation} on {} are being ended", list(workers))?;
                match (fault, cause) {
                    (Some(fault), _) => write!(f, " after {fault}"),
                    (None, Cause::Rewind) => f.write_str(" to go back to an earlier step"),
                    (None, cause) => write!(f, ": {cause}"),
                }
            }
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

struct Others<'a>(&'a [Unusable]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|other| write!(f, "; worker {} is {}", other.worker, other.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_code_with_data_and_a_sentence_with_a_way_out() {
        let team = TeamName::new("nlp").unwrap();
        let over = Reason::Quota { team: team.clone(), quota: 4, held: 3, needs: 2, first: None };
        assert_eq!(over.to_string(), "needs 2 slots, team nlp holds 3 of 4: waits for them, or `osler quota set nlp 5`");
        let never = Reason::Quota { team, quota: 4, held: 0, needs: 8, first: None };
        assert_eq!(never.to_string(), "needs 8 slots, team nlp may hold 4: `osler quota set nlp 8`");
        let value = serde_json::to_value(&over).unwrap();
        assert_eq!(value, serde_json::json!({"code": "quota", "team": "nlp", "quota": 4, "held": 3, "needs": 2, "first": null}));
        assert_eq!(serde_json::from_value::<Reason>(value).unwrap(), over);
        assert_eq!(serde_json::to_value(Reason::NoWorkers).unwrap(), serde_json::json!({"code": "no-workers"}));
        let require = BTreeMap::from([(LabelKey::new("gpu").unwrap(), LabelValue::new("h100").unwrap())]);
        let missing = Reason::TooLarge { needs: 2, slots: 0, require, unusable: vec![] };
        assert_eq!(missing.to_string(), "needs 2 slots of workers with gpu=h100, which have 0: start osler-worker --label gpu=h100");
    }
}
