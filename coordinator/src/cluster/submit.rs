//! What people ask for: submit, stop, resume, pin. Each is idempotent, so a lost reply is answered by asking again.

use super::run::{Run, pending};
use super::{Answer, Cluster, Effects, Refused};
use osler_core::gate::GateOutcome;
use osler_core::identity::{Submission, difference};
use osler_core::ids::{Generation, RunName, StageName};
use osler_core::job::JobKind;
use osler_core::plan::{PlannedJob, plan, train_key};
use osler_core::reason::Cause;
use osler_core::record::{EventKind, JobRecord, JobState, RunRecord, RunState};
use osler_core::spec::{Determinism, check};
use osler_core::stop::{Stop, StopKind, Waiver};
use osler_core::time::Now;
use std::collections::BTreeMap;

/// Fields that a refusal names.
const DIFFERENCES: usize = 5;

/// A person's, or that of a command which was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    pub run: RunName,
    pub kind: StopKind,
    pub by: String,
}

/// Failed gates that somebody lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiveRequest {
    pub run: RunName,
    /// As [`GateOutcome::is_named`] understands them.
    pub gates: Vec<String>,
    pub reason: String,
    pub by: String,
}

impl Cluster {
    pub(super) fn submit(&mut self, now: Now, submission: Submission) -> Result<Answer, Refused> {
        let digest = submission.identity();
        if self.unreadable.contains_key(&submission.spec.name) {
            return Err(self.missing(&submission.spec.name));
        }
        if self.removals.is_unnoted(&submission.spec.name) {
            return Err(Refused::BeingRemoved(submission.spec.name));
        }
        if let Some(run) = self.runs.get_mut(&submission.spec.name) {
            if run.record.state == RunState::Removed {
                return Err(Refused::BeingRemoved(submission.spec.name)); // decided a moment ago, and not durable yet
            }
            if !run.record.is_submitted_as(&submission) {
                let differences = difference(&run.record.submission(), &submission, DIFFERENCES).join("; ");
                return Err(Refused::AlreadyExists { run: submission.spec.name, differences });
            }
            let spec = submission.spec;
            // The same run, elsewhere: what is still to be read is read where it lies now.
            if run.record.state != RunState::Finished && run.record.spec != spec {
                run.record.sources = submission.sources;
                run.record.spec = spec.clone();
                run.happened(now, EventKind::Run, None, "submitted again from another place, where its files are read from now on");
            }
            let again = run.record.goes_on_when_submitted();
            let state = if again { self.resume(now, &spec.name, None)? } else { run.record.state.clone() };
            return Ok(Answer::Submitted { created: false, state });
        }
        let Submission { spec, sources } = submission;
        check(&spec).map_err(|problems| Refused::InvalidSpec(problems.to_string()))?;
        if let Some((name, _)) = spec.corpora.iter().find(|(_, corpus)| corpus.files.is_empty()) {
            return Err(Refused::InvalidSpec(format!("corpus.{name}.files is empty: globs are expanded by whoever submits")));
        }
        let jobs = plan(&spec).into_iter().map(|(key, planned)| (key, fresh_job(now, planned))).collect();
        let name = spec.name.clone();
        // Nothing that a removed run of this name left, or leaves yet, can be taken for this one's.
        let before = self.removals.before(&name);
        let record = RunRecord {
            format: RunRecord::FORMAT,
            version: before.map_or(0, |removed| removed.version),
            epoch: self.epoch,
            spec_digest: digest,
            sources,
            spec,
            submitted_at: now.wall,
            aged: Default::default(),
            state: RunState::Submitted,
            stop: None,
            jobs,
            next_generation: before.map_or(Generation(1), |removed| removed.next_generation),
            checkpoints: BTreeMap::new(),
            rewinds: BTreeMap::new(),
            gates: vec![],
            events: vec![],
            next_event: 1,
            history: Default::default(),
            finished: None,
            swept: false,
            cluster_age: 0,
        };
        let mut run = Run::new(now, record, &self.workers.limits);
        run.happened(now, EventKind::Run, None, format!("submitted: {} jobs", run.record.jobs.len()));
        self.runs.insert(name, run);
        Ok(Answer::Submitted { created: true, state: RunState::Submitted })
    }

    /// A stop by hand also takes the place of an interruption: whoever was interrupted does not go on with the run any more.
    pub(super) fn stop(&mut self, now: Now, request: StopRequest) -> Result<RunState, Refused> {
        let StopRequest { run: name, kind, by } = request;
        let run = self.run_mut(&name)?;
        let how = match kind {
            StopKind::ByHand => format!("by {by}"),
            StopKind::Interrupted => format!("{by} was interrupted"),
        };
        let weaker = run.record.stop.as_ref().is_none_or(|stop| stop.kind == StopKind::Interrupted) && kind == StopKind::ByHand;
        match run.record.state {
            RunState::Submitted | RunState::Running => {
                run.record.state = RunState::Stopping;
                run.record.stop = Some(Stop { kind, by, at: now.wall });
                run.tell_all();
                run.happened_because(now, EventKind::Run, None, format!("stopping: {how}"), Some(Cause::Stopped));
            }
            RunState::Stopping | RunState::Stopped if weaker => {
                run.record.stop = Some(Stop { kind, by, at: now.wall });
                run.happened_because(now, EventKind::Run, None, format!("stays stopped until it is resumed: {how}"), Some(Cause::Stopped));
            }
            _ => {}
        }
        Ok(run.record.state.clone())
    }

    /// Lets failed gates of a run pass, all that are named. Asking twice is harmless.
    pub(super) fn waive(&mut self, now: Now, request: WaiveRequest) -> Result<RunState, Refused> {
        let WaiveRequest { run: name, gates, reason, by } = request;
        let run = self.run_mut(&name)?;
        let shown = |gates: &mut dyn Iterator<Item = &GateOutcome>| gates.map(GateOutcome::name).collect::<Vec<_>>().join(", ");
        if let Some(gate) = gates.iter().find(|given| !run.record.gates.iter().any(|gate| !gate.passed && gate.is_named(given))) {
            let failed = shown(&mut run.record.gates.iter().filter(|gate| !gate.passed));
            return Err(Refused::NoSuchGate { run: name, gate: gate.clone(), failed });
        }
        let meant = |gate: &GateOutcome| gate.is_shut() && gates.iter().any(|given| gate.is_named(given));
        let waiver = Waiver { by, at: now.wall, reason };
        let mut told = vec![];
        for gate in run.record.gates.iter_mut().filter(|gate| meant(gate)) {
            gate.waived = Some(waiver.clone());
            told.push(format!("gate {} is waived by {}: {}", gate.name(), waiver.by, waiver.reason));
        }
        told.into_iter().for_each(|message| run.happened(now, EventKind::Gate, None, message));
        Ok(run.record.state.clone())
    }

    pub(super) fn resume(&mut self, now: Now, name: &RunName, ranks: Option<u32>) -> Result<RunState, Refused> {
        let run = self.run_mut(name)?;
        let idle = matches!(run.record.state, RunState::Stopped | RunState::Failed(_));
        if idle && let Some(gate) = run.record.shut_gates().next() {
            return Err(Refused::ShutGate { run: name.clone(), gate: gate.name() });
        }
        match ranks {
            Some(ranks) if idle => run.set_ranks(now, ranks)?,
            Some(ranks) if run.record.state.is_live() && run.train_ranks().any(|now| now != ranks) => {
                let why = format!("it is {}, and only a stopped run changes its number: `osler stop {name}` first", run.record.state);
                return Err(Refused::UnfitRanks { run: name.clone(), ranks, why });
            }
            _ => {}
        }
        match &run.record.state {
            RunState::Stopping | RunState::Failing(_) => {
                return Err(Refused::StillEnding { run: name.clone(), state: run.record.state.to_string() });
            }
            RunState::Submitted | RunState::Running | RunState::Finished | RunState::Removed => {}
            RunState::Stopped | RunState::Failed(_) => {
                run.record.state = RunState::Running;
                run.record.stop = None;
                run.happened(now, EventKind::Run, None, "resumed");
                let next = run.record.next_generation;
                for key in run.keys(|job| matches!(job.status, JobState::Failed { .. })) {
                    run.set(now, &key, pending(now, 0));
                    run.happened(now, EventKind::Run, Some((&key, Some(next))), "tried again with a fresh budget");
                }
            }
        }
        Ok(run.record.state.clone())
    }

    /// A checkpoint that no rule keeps any more goes at once: a run that is over has no later publication that would look at it.
    pub(super) fn pin(
        &mut self,
        now: Now,
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
            run.record.swept = false; // should a delete be lost, the next sweep finds what it left
        }
        Ok(run.record.state.clone())
    }

    pub(super) fn run_mut(&mut self, name: &RunName) -> Result<&mut Run, Refused> {
        let missing = self.missing(name);
        self.runs.get_mut(name).filter(|run| run.record.state != RunState::Removed).ok_or(missing)
    }
}

impl Run {
    /// The ranks of train jobs that are not done.
    fn train_ranks(&self) -> impl Iterator<Item = u32> {
        let open = |job: &&JobRecord| matches!(job.planned.kind, JobKind::Train { .. }) && job.status.result().is_none();
        self.record.jobs.values().filter(open).map(|job| job.planned.ranks)
    }

    /// Gives the stages that are not done another number of ranks, or none of them if one cannot be shared by so many.
    pub(super) fn set_ranks(&mut self, now: Now, ranks: u32) -> Result<(), Refused> {
        let unfit = |why: String| Refused::UnfitRanks { run: self.record.name().clone(), ranks, why };
        let open = |job: &JobRecord| matches!(job.planned.kind, JobKind::Train { .. }) && job.status.result().is_none();
        let keys = self.keys(|job| open(job) && job.planned.ranks != ranks);
        for key in &keys {
            let stage = self.job(key).and_then(|job| self.record.spec.stage(job.planned.kind.stage()?));
            let stage = stage.ok_or_else(|| unfit(format!("{key} has no stage")))?;
            stage.shared_by(ranks, self.record.spec.resources.determinism).map_err(|why| unfit(format!("stage {}: {why}", stage.name)))?;
        }
        for key in keys {
            let Some(job) = self.record.jobs.get_mut(&key) else { continue };
            let before = std::mem::replace(&mut job.planned.ranks, ranks);
            let bits = match self.record.spec.resources.determinism {
                Determinism::Elastic => "the bits stay the same",
                Determinism::Fast => "from here on its last bits differ from those that the other number would give",
            };
            self.happened(now, EventKind::Run, Some((&key, None)), format!("goes on with {ranks} ranks instead of {before}: {bits}"));
        }
        Ok(())
    }
}

fn fresh_job(now: Now, planned: PlannedJob) -> JobRecord {
    let status = if planned.needs.is_empty() { pending(now, 0) } else { JobState::Blocked };
    JobRecord::new(planned, status)
}
