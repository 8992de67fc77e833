//! Why a job is not running. Nothing may wait without a reason that a person can read.

use super::schedule::Outcome;
use super::{Cluster, Run};
use osler_core::job::{JobId, JobKey};
use osler_core::reason::{Cause, Reason, Unusable};
use osler_core::record::{Attempt, JobState, RunState, Then};
use osler_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// A job that waits for slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLine {
    pub id: JobId,
    pub ranks: u32,
    pub reason: Reason,
}

impl Cluster {
    /// The reason of each job of a run that is neither running nor over.
    pub fn waiting(&self, now: Now, run: &Run) -> Vec<(JobKey, Reason)> {
        let starts = matches!(run.record.state, RunState::Submitted | RunState::Running);
        let queue = if starts { self.queue(now) } else { vec![] };
        let queue: BTreeMap<&JobKey, &Reason> =
            queue.iter().filter(|line| line.id.run == *run.record.name()).map(|line| (&line.id.job, &line.reason)).collect();
        let reason = |key: &JobKey| {
            let job = run.job(key)?;
            match &job.status {
                JobState::Blocked => Some(needs(run, key)),
                JobState::Ending { attempt, next } => Some(ending(attempt, next)),
                JobState::Pending { .. } if !starts => Some(Reason::RunState { state: run.record.state.to_string() }),
                JobState::Pending { .. } => queue.get(key).map(|reason| (*reason).clone()),
                JobState::Active { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => None,
            }
        };
        run.record.jobs.keys().filter_map(|key| Some((key.clone(), reason(key)?))).collect()
    }

    /// All jobs that wait for slots, in the order in which they may take them.
    pub fn queue(&self, now: Now) -> Vec<QueueLine> {
        let line = |(id, outcome): (JobId, Outcome)| {
            let ranks = self.runs.get(&id.run).and_then(|run| run.job(&id.job)).map_or(0, |job| job.planned.ranks);
            let reason = match outcome {
                Outcome::Wait { reason, .. } => reason,
                // Asked between two ticks: the next one starts it.
                Outcome::Start { .. } => Reason::Slots { needs: ranks, free: ranks, unusable: vec![] },
            };
            QueueLine { id, ranks, reason }
        };
        self.decide(now, true).into_iter().map(line).collect()
    }

    /// Workers that take no work, and why; a few of them.
    pub(super) fn unusable(&self, now: Now) -> Vec<Unusable> {
        const SHOWN: usize = 3;
        let why = |(worker, known)| Some(Unusable { worker: Clone::clone(worker), why: self.workers.why_no_work(now, worker, known)? });
        self.workers.known.iter().filter_map(why).take(SHOWN).collect()
    }
}

fn needs(run: &Run, key: &JobKey) -> Reason {
    const SHOWN: usize = 3;
    let open = |need: &&JobKey| run.job(need).is_none_or(|job| job.status.result().is_none());
    let mut jobs: Vec<JobKey> = run.job(key).into_iter().flat_map(|job| &job.planned.needs).filter(open).cloned().collect();
    let more = jobs.len().saturating_sub(SHOWN);
    jobs.truncate(SHOWN);
    Reason::Needs { jobs, more }
}

fn ending(attempt: &Attempt, next: &Then) -> Reason {
    let workers: BTreeSet<_> = attempt.places.iter().map(|p| p.worker.clone()).collect();
    let (cause, fault) = match next {
        Then::Retry { fault, .. } | Then::Fail { fault } => (Cause::Fault { class: fault.class }, Some(fault.to_string())),
        Then::Requeue { cause } => (cause.clone().unwrap_or(Cause::Stopped), None),
        Then::Rewind { .. } => (Cause::Rewind, None),
    };
    Reason::Ending { generation: attempt.generation, workers: workers.into_iter().take(3).collect(), cause, fault }
}
