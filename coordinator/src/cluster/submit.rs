//! What people ask for: submit, stop, resume, pin. Each is idempotent, so a lost reply is answered by asking again.

use super::run::Run;
use super::{Answer, Cluster, Effects, Refused};
use osler_core::ids::{Generation, Millis, RunName, StageName};
use osler_core::plan::{PlannedJob, plan, train_key};
use osler_core::record::{EventKind, JobRecord, JobState, RunRecord, RunState};
use osler_core::spec::{RunSpec, check};
use std::collections::BTreeMap;

impl Cluster {
    pub(super) fn submit(&mut self, now: Millis, spec: RunSpec) -> Result<Answer, Refused> {
        let digest = spec.digest();
        if let Some(run) = self.runs.get(&spec.name) {
            if run.record.spec_digest != digest {
                return Err(Refused::AlreadyExists { run: spec.name, submitted: run.record.spec_digest.short(), given: digest.short() });
            }
            let stopped = matches!(run.record.state, RunState::Stopped | RunState::Failed(_));
            let state = if stopped { self.resume(now, &spec.name)? } else { run.record.state.clone() };
            return Ok(Answer::Submitted { created: false, state });
        }
        check(&spec).map_err(|problems| Refused::InvalidSpec(problems.to_string()))?;
        if let Some((name, _)) = spec.corpora.iter().find(|(_, corpus)| corpus.files.is_empty()) {
            return Err(Refused::InvalidSpec(format!("corpus.{name}.files is empty: globs are expanded by whoever submits")));
        }
        let jobs = plan(&spec).into_iter().map(|(key, planned)| (key, fresh_job(now, planned))).collect();
        let name = spec.name.clone();
        let record = RunRecord {
            format: RunRecord::FORMAT,
            version: 0,
            epoch: self.epoch,
            spec_digest: digest,
            spec,
            submitted_at: now,
            state: RunState::Submitted,
            jobs,
            next_generation: Generation(1),
            checkpoints: BTreeMap::new(),
            gates: vec![],
            events: vec![],
            next_event: 1,
        };
        let mut run = Run::new(record, BTreeMap::new(), self.workers.limits.events);
        run.happened(now, EventKind::Run, None, format!("submitted: {} jobs", run.record.jobs.len()));
        self.runs.insert(name, run);
        Ok(Answer::Submitted { created: true, state: RunState::Submitted })
    }

    pub(super) fn stop(&mut self, now: Millis, name: &RunName) -> Result<RunState, Refused> {
        let run = self.run_mut(name)?;
        if matches!(run.record.state, RunState::Submitted | RunState::Running) {
            run.record.state = RunState::Stopping;
            run.happened(now, EventKind::Run, None, "stopping");
        }
        Ok(run.record.state.clone())
    }

    pub(super) fn resume(&mut self, now: Millis, name: &RunName) -> Result<RunState, Refused> {
        let run = self.run_mut(name)?;
        match &run.record.state {
            RunState::Stopping | RunState::Failing(_) => {
                return Err(Refused::StillEnding { run: name.clone(), state: run.record.state.to_string() });
            }
            RunState::Submitted | RunState::Running | RunState::Finished => {}
            RunState::Stopped | RunState::Failed(_) => {
                run.record.state = RunState::Running;
                run.happened(now, EventKind::Run, None, "resumed");
                let next = run.record.next_generation;
                for key in run.keys(|job| matches!(job.status, JobState::Failed { .. })) {
                    run.set(&key, JobState::Pending { since: now, not_before: now });
                    run.happened(now, EventKind::Run, Some((&key, Some(next))), "tried again with a fresh budget");
                }
            }
        }
        Ok(run.record.state.clone())
    }

    /// A checkpoint that no rule keeps any more goes at once: a run that is over has no later publication that would look at it.
    pub(super) fn pin(
        &mut self,
        now: Millis,
        name: &RunName,
        stage: &StageName,
        step: u64,
        pinned: bool,
        effects: &mut Effects,
    ) -> Result<RunState, Refused> {
        let run = self.run_mut(name)?;
        let none = || Refused::NoSuchCheckpoint { run: name.clone(), stage: stage.clone(), step };
        let published = run.record.checkpoints.get_mut(stage).ok_or_else(none)?;
        let checkpoint = published.iter_mut().find(|c| c.step == step && !c.retired).ok_or_else(none)?;
        if checkpoint.pinned != pinned {
            checkpoint.pinned = pinned;
            let verb = if pinned { "pinned" } else { "no longer pinned" };
            run.happened(now, EventKind::Checkpoint, Some((&train_key(stage), None)), format!("step {step} is {verb}"));
            run.retire(stage, effects);
        }
        Ok(run.record.state.clone())
    }

    fn run_mut(&mut self, name: &RunName) -> Result<&mut Run, Refused> {
        self.runs.get_mut(name).ok_or_else(|| Refused::NoSuchRun(name.to_string()))
    }
}

fn fresh_job(now: Millis, planned: PlannedJob) -> JobRecord {
    let pending = JobState::Pending { since: now, not_before: now };
    let status = if planned.needs.is_empty() { pending } else { JobState::Blocked };
    JobRecord { planned, status, past: vec![] }
}
