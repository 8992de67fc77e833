//! Why a job is not running. Nothing may wait without a reason that a person can read.

use super::place::Slots;
use super::workers::WorkerState;
use super::{Cluster, Run};
use osler_core::ids::{Millis, RunName};
use osler_core::job::JobKey;
use osler_core::record::{JobState, RunState, Then};
use std::collections::BTreeSet;

impl Cluster {
    /// The reason of each job of a run that is neither running nor over.
    pub fn waiting(&self, now: Millis, run: &Run) -> Vec<(JobKey, String)> {
        let slots = self.slots(now);
        let unusable = self.unusable(now);
        let (keeper, behind) = self.kept_waiting(run, &slots);
        let reason = |key: &JobKey| {
            let job = run.job(key)?;
            match &job.status {
                JobState::Blocked => Some(needs(run, key)),
                JobState::Ending { attempt, next } => Some(ending(attempt, next)),
                JobState::Pending { .. } if !matches!(run.record.state, RunState::Submitted | RunState::Running) => {
                    Some(format!("the run is {}", run.record.state))
                }
                JobState::Pending { not_before, .. } if *not_before > now => {
                    Some(format!("tried again in {:.1} s{}", (not_before.0 - now.0) as f64 / 1000.0, last_fault(run, key)))
                }
                JobState::Pending { .. } => {
                    let first = keeper.as_deref().filter(|_| behind.contains(key));
                    Some(self.no_slots(job.planned.ranks, run.least_ranks(key), &slots, first, &unusable))
                }
                JobState::Active { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => None,
            }
        };
        run.record.jobs.keys().filter_map(|key| Some((key.clone(), reason(key)?))).collect()
    }

    /// The gang that keeps free slots for itself, and the jobs of a run that wait behind it.
    fn kept_waiting(&self, run: &Run, slots: &Slots) -> (Option<String>, BTreeSet<JobKey>) {
        let keeps = |(name, key): &(RunName, JobKey)| {
            let run = self.runs.get(name)?;
            (run.is_train(key) && run.least_ranks(key) <= slots.total).then_some(())
        };
        let mut queue = self.queue().into_iter().skip_while(|waiting| keeps(waiting).is_none());
        let keeper = queue.next().map(|(name, key)| format!("{name}/{key}"));
        (keeper, queue.filter(|(name, _)| name == run.record.name()).map(|(_, key)| key).collect())
    }

    /// Workers that take no work, and why; a few of them.
    fn unusable(&self, now: Millis) -> String {
        let used = self.used_slots();
        let state = |(name, worker)| {
            let state = self.workers.state(now, worker, used.get(name).copied().unwrap_or(0));
            (!matches!(state, WorkerState::Idle | WorkerState::Busy)).then(|| format!("; worker {name} is {state}"))
        };
        self.workers.known.iter().filter_map(state).take(3).collect()
    }

    /// For a job of `ranks` that may start with `least` after a while.
    fn no_slots(&self, ranks: u32, least: u32, slots: &Slots, first: Option<&str>, unusable: &str) -> String {
        if self.workers.known.is_empty() {
            return "there are no workers: start osler-worker".to_owned();
        }
        if least > slots.total {
            let least = if least < ranks { format!("at least {least} of {ranks}") } else { ranks.to_string() };
            return format!("needs {least} slots, the workers have {} in all: start more workers{unusable}", slots.total);
        }
        match first {
            Some(first) => format!("{first} waits for its slots and goes first{unusable}"),
            None if least < ranks => {
                format!("{} of {ranks} slots free; starts with {least} or more in a moment{unusable}", slots.free_in_all().min(ranks))
            }
            None => format!("{} of {ranks} slots free{unusable}", slots.free_in_all().min(ranks)),
        }
    }
}

fn needs(run: &Run, key: &JobKey) -> String {
    const SHOWN: usize = 3;
    let open = |need: &&JobKey| run.job(need).is_none_or(|job| job.status.result().is_none());
    let open: Vec<String> = run.job(key).into_iter().flat_map(|job| &job.planned.needs).filter(open).map(|need| need.to_string()).collect();
    let more = open.len().saturating_sub(SHOWN);
    let first = open.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("needs {first} and {more} more") } else { format!("needs {first}") }
}

fn ending(attempt: &osler_core::record::Attempt, next: &Then) -> String {
    let workers: BTreeSet<&str> = attempt.places.iter().map(|p| p.worker.as_str()).collect();
    let on = workers.into_iter().take(3).collect::<Vec<_>>().join(", ");
    let why = match next {
        Then::Retry { fault, .. } | Then::Fail { fault } => format!(" after {fault}"),
        Then::Requeue => String::new(),
        Then::Rewind { .. } => " to go back to an earlier step".to_owned(),
    };
    format!("the processes of generation {} on {on} are being ended{why}", attempt.generation)
}

fn last_fault(run: &Run, key: &JobKey) -> String {
    let fault = run.job(key).and_then(|job| job.past.last()).and_then(|past| past.fault.as_ref());
    fault.map_or_else(String::new, |fault| format!(" after {fault}"))
}
