//! A run's own states: what follows for the run from its jobs, and for its jobs from the run.

use super::run::Run;
use super::workers::Workers;
use osler_core::ids::Millis;
use osler_core::job::JobKind;
use osler_core::record::{Attempt, EventKind, JobState, RunState};

impl Run {
    /// The run cannot succeed any more: everything else is ended.
    pub fn fail_run(&mut self, now: Millis, reason: String) {
        if matches!(self.record.state, RunState::Submitted | RunState::Running | RunState::Stopping) {
            self.happened(now, EventKind::Run, None, format!("failing: {reason}"));
            self.record.state = RunState::Failing(reason);
        }
    }

    /// Ends what should not run: all of a failing run; of a stopping one, and on workers that want to go, all but the gangs that can save.
    pub fn end_unwanted(&mut self, now: Millis, workers: &Workers) {
        let failing = matches!(self.record.state, RunState::Failing(_));
        let unwanted = self.held(|job| match &job.status {
            // A gang that has not met yet has nothing to save.
            JobState::Active { attempt } => {
                let saves = matches!(job.planned.kind, JobKind::Train { .. }) && attempt.has_met();
                failing || (self.is_leaving(attempt, workers) && !saves)
            }
            _ => false,
        });
        unwanted.iter().for_each(|key| self.requeue(now, key, workers));
    }

    /// Whether the run is being stopped, or a worker of the attempt wants to go.
    pub fn is_leaving(&self, attempt: &Attempt, workers: &Workers) -> bool {
        self.record.state == RunState::Stopping || workers.any_draining(attempt)
    }

    /// Jobs whose needs have succeeded may start.
    pub fn unblock(&mut self, now: Millis) {
        let succeeded = |key: &osler_core::job::JobKey| self.job(key).is_some_and(|job| job.status.result().is_some());
        let ready = self.keys(|job| matches!(job.status, JobState::Blocked) && job.planned.needs.iter().all(succeeded));
        for key in ready {
            self.set(&key, JobState::Pending { since: now, not_before: now });
        }
    }

    /// Whether the run is over.
    pub fn conclude(&mut self, now: Millis) {
        let all_done = self.record.jobs.values().all(|job| job.status.result().is_some());
        let over = match &self.record.state {
            RunState::Submitted | RunState::Running | RunState::Stopping if all_done => RunState::Finished,
            RunState::Stopping if !self.has_attempts() => RunState::Stopped,
            RunState::Failing(reason) if !self.has_attempts() => RunState::Failed(reason.clone()),
            _ => return,
        };
        self.happened(now, EventKind::Run, None, over.as_str());
        self.record.state = over;
        self.progress.clear();
    }
}
