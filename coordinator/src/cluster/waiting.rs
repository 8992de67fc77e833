//! Why a job is not running. Nothing may wait without a reason that a person can read.

use super::workers::WorkerState;
use super::{Cluster, Run};
use osler_core::ids::Millis;
use osler_core::job::JobKey;
use osler_core::record::{JobState, RunState, Then};

impl Cluster {
    /// The reason of each job of a run that is neither running nor over.
    pub fn waiting(&self, now: Millis, run: &Run) -> Vec<(JobKey, String)> {
        let queue = self.queue();
        let queue: Vec<_> = queue.iter().map(|(name, key)| (name, key)).collect();
        let slots = self.slots(now);
        let keeper = queue.iter().find_map(|(name, key)| {
            let job = self.runs.get(*name)?.job(key)?;
            let keeps = self.runs.get(*name)?.is_train(key) && job.planned.ranks <= slots.total;
            keeps.then_some((*name, *key))
        });
        let keeper_at = keeper.and_then(|k| queue.iter().position(|q| *q == k));
        let reason = |key: &JobKey| {
            let job = run.job(key)?;
            match &job.status {
                JobState::Blocked => Some(needs(run, key)),
                JobState::Ending { attempt, next } => Some(ending(attempt, next)),
                JobState::Pending { not_before, .. } => {
                    if !matches!(run.record.state, RunState::Submitted | RunState::Running) {
                        return Some(format!("the run is {}", run.record.state));
                    }
                    if *not_before > now {
                        return Some(format!("tried again in {:.1} s{}", (not_before.0 - now.0) as f64 / 1000.0, last_fault(run, key)));
                    }
                    let at = queue.iter().position(|(name, k)| *name == run.record.name() && *k == key);
                    let behind = keeper.filter(|_| at > keeper_at);
                    Some(self.no_slots(now, job.planned.ranks, &slots, behind.map(|(name, key)| format!("{name}/{key}"))))
                }
                JobState::Active { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => None,
            }
        };
        run.record.jobs.keys().filter_map(|key| Some((key.clone(), reason(key)?))).collect()
    }

    fn no_slots(&self, now: Millis, ranks: u32, slots: &super::place::Slots, behind: Option<String>) -> String {
        if self.workers.known.is_empty() {
            return "there are no workers: start osler-worker".to_owned();
        }
        let used = self.used_slots();
        let unusable: Vec<String> = self.workers.known.iter().filter_map(|(name, worker)| {
            let state = self.workers.state(now, worker, used.get(name).copied().unwrap_or(0));
            (!matches!(state, WorkerState::Idle | WorkerState::Busy)).then(|| format!("; worker {name} is {state}"))
        }).take(3).collect();
        let unusable = unusable.concat();
        if ranks > slots.total {
            return format!("needs {ranks} slots, the workers have {} in all: start more workers{unusable}", slots.total);
        }
        match behind {
            Some(first) => format!("{first} waits for its slots and goes first{unusable}"),
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
    let workers: std::collections::BTreeSet<&str> = attempt.places.iter().map(|p| p.worker.as_str()).collect();
    let on = workers.into_iter().take(3).collect::<Vec<_>>().join(", ");
    let why = match next {
        Then::Retry { fault, .. } | Then::Fail { fault } => format!(" after {fault}"),
        Then::Requeue => String::new(),
    };
    format!("the processes of generation {} on {on} are being ended{why}", attempt.generation)
}

fn last_fault(run: &Run, key: &JobKey) -> String {
    let fault = run.job(key).and_then(|job| job.past.last()).and_then(|past| past.fault.as_ref());
    fault.map_or_else(String::new, |fault| format!(" after {fault}"))
}
