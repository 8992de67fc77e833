//! A run's own states: what follows for the run from its jobs, and for its jobs from the run.

use super::run::{Run, pending};
use super::workers::Workers;
use osler_core::job::{JobKey, JobKind};
use osler_core::reason::Cause;
use osler_core::record::{Attempt, EventKind, JobRecord, JobState, RunState};
use osler_core::time::Now;

impl Run {
    /// The run cannot succeed any more: everything else is ended.
    pub fn fail_run(&mut self, now: Now, reason: String) {
        if matches!(self.record.state, RunState::Submitted | RunState::Running | RunState::Stopping) {
            self.happened_because(now, EventKind::Run, None, format!("failing: {reason}"), Some(Cause::RunFails));
            self.record.state = RunState::Failing(reason);
        }
    }

    /// Ends what should not run: all of a failing run; of what is to leave, all but the gangs that can save.
    pub fn end_unwanted(&mut self, now: Now, workers: &Workers) {
        let failing = matches!(self.record.state, RunState::Failing(_));
        let why = |job: &JobRecord| match &job.status {
            JobState::Active { .. } if failing => Some(Cause::RunFails),
            JobState::Active { attempt } => {
                // A gang that has not met yet has nothing to save.
                let saves = matches!(job.planned.kind, JobKind::Train { .. }) && attempt.has_met();
                self.why_leaving(attempt, workers).filter(|_| !saves)
            }
            _ => None,
        };
        let held = self.index().held().filter_map(|key| Some((key, self.job(key)?)));
        let unwanted: Vec<_> = held.filter_map(|(key, job)| Some((key.clone(), why(job)?))).collect();
        unwanted.into_iter().for_each(|(key, cause)| self.requeue(now, &key, cause, workers));
    }

    /// Why an attempt is to save and leave, if it is: the run is being stopped, a worker takes no more work, others need the slots.
    pub fn why_leaving(&self, attempt: &Attempt, workers: &Workers) -> Option<Cause> {
        let stopping = (self.record.state == RunState::Stopping).then_some(Cause::Stopped);
        let draining = || workers.draining(attempt).map(|worker| Cause::Draining { worker: worker.clone() });
        stopping.or_else(draining).or_else(|| attempt.leave.clone())
    }

    pub fn is_leaving(&self, attempt: &Attempt, workers: &Workers) -> bool {
        self.why_leaving(attempt, workers).is_some()
    }

    /// Jobs whose needs have succeeded may start.
    pub fn unblock(&mut self, now: Now) {
        let blocked = self.keys(|job| matches!(job.status, JobState::Blocked));
        for key in blocked.into_iter().filter(|key| self.needs_are_met(key)).collect::<Vec<_>>() {
            self.set(now, &key, pending(now, 0));
        }
    }

    /// Whether all that a job needs has succeeded.
    pub fn needs_are_met(&self, key: &JobKey) -> bool {
        let succeeded = |need: &JobKey| self.job(need).is_some_and(|job| job.status.result().is_some());
        self.job(key).is_some_and(|job| job.planned.needs.iter().all(succeeded))
    }

    /// Whether the run is over.
    pub fn conclude(&mut self, now: Now) {
        let all_done = self.record.jobs.values().all(|job| job.status.result().is_some());
        let over = match &self.record.state {
            RunState::Submitted | RunState::Running | RunState::Stopping if all_done => RunState::Finished,
            RunState::Stopping if !self.has_attempts() => RunState::Stopped,
            RunState::Failing(reason) if !self.has_attempts() => RunState::Failed(reason.clone()),
            _ => return,
        };
        self.happened(now, EventKind::Run, None, over.as_str());
        if over != RunState::Stopped {
            self.record.stop = None;
        }
        self.record.finished = (over == RunState::Finished).then(|| self.age(now));
        self.record.state = over;
        self.progress.clear();
    }
}
