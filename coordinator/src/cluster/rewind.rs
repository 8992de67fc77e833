//! A stage goes back to an earlier published step, because its ranks skipped too many updates or because a person says so.

use super::run::Run;
use super::{Cluster, Effects, Refused};
use osler_core::ids::{Generation, RunName, StageName};
use osler_core::job::{Fault, FaultClass, JobKey, JobKind};
use osler_core::plan::train_key;
use osler_core::record::{Attempt, EventKind, JobState, RunState, Then};
use osler_core::rewind::{Rewind, target};
use osler_core::time::Now;
use std::ops::Range;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewindRequest {
    pub run: RunName,
    pub stage: StageName,
    /// A published step whose parts are still there, or 0.
    pub to: u64,
    /// Steps of the plan whose data is left out from now on, at or after `to`; empty: none.
    pub skip: Range<u64>,
    /// That the stages which are not done go on with; none: as before. Nothing is given up if they cannot.
    pub ranks: Option<u32>,
}

impl Cluster {
    pub(super) fn rewind(&mut self, now: Now, request: RewindRequest, effects: &mut Effects) -> Result<RunState, Refused> {
        let RewindRequest { run: name, stage, to, skip, ranks } = request;
        let run = self.run_mut(&name)?;
        let refused = |why: String| Refused::NotRewound { run: name.clone(), stage: stage.clone(), why };
        let key = train_key(&stage);
        let job = run.job(&key).ok_or_else(|| refused("there is no such stage".to_owned()))?;
        if !matches!(run.record.state, RunState::Stopped | RunState::Failed(_)) {
            return Err(refused(format!("the run is {}: stop it first", run.record.state)));
        }
        if matches!(job.status, JobState::Succeeded { .. }) {
            return Err(refused("it is done, and others may build on it: fork a stage from it instead".to_owned()));
        }
        let planned = run.record.spec.stage(&stage).map_or(0, |s| s.steps());
        if to != 0 && run.record.checkpoint(&stage, Some(to)).is_none() {
            return Err(refused(format!("step {to} is no checkpoint whose parts are still there: `osler ckpt list {name}` shows them")));
        }
        if skip.start > skip.end || (!skip.is_empty() && (skip.start < to || skip.end > planned)) {
            let message = format!(
                "the data of steps {} to {} cannot be left out: name steps from {to} to {}, the first one first",
                skip.start,
                skip.end.saturating_sub(1),
                planned.saturating_sub(1)
            );
            return Err(refused(message));
        }
        if let Some(ranks) = ranks {
            run.set_ranks(now, ranks)?;
        }
        let left_out = if skip.is_empty() { skip } else { run.record.batches(&stage).span(&skip) };
        run.go_back(
            now,
            &stage,
            Rewind { at: now.wall, generation: None, to, left_out, abandoned: vec![], reason: "asked for".to_owned(), damaged: None },
            effects,
        );
        Ok(run.record.state.clone())
    }
}

impl Run {
    /// Ends an attempt whose ranks agree that they skipped too much; a fault if the stage may not go back for it.
    pub(super) fn take_rewind(&mut self, key: &JobKey, skipped: Range<u64>, allowed: usize) -> Result<Then, Fault> {
        let Some(JobKind::Train { stage }) = self.job(key).map(|job| job.planned.kind.clone()) else {
            return Err(Fault::new(FaultClass::Internal, "only train jobs go back"));
        };
        let planned = self.record.spec.stage(&stage).map_or(0, |s| s.steps());
        if skipped.is_empty() || skipped.end > planned {
            let message = format!("steps {} to {} of {planned} were skipped, say its ranks", skipped.start, skipped.end);
            return Err(Fault::new(FaultClass::Internal, message));
        }
        let earlier =
            self.record.rewinds.get(&stage).map_or(0, |all| all.iter().filter(|r| r.generation.is_some() && r.damaged.is_none()).count());
        if earlier >= allowed {
            let message = format!(
                "steps {} to {} spiked, and the stage went back {earlier} times already: lower the learning rate, look at the data, or go back by hand (`osler resume --rewind`)",
                skipped.start,
                skipped.end - 1
            );
            return Err(Fault::new(FaultClass::Divergence, message));
        }
        Ok(Then::Rewind { skipped })
    }

    /// What explains an attempt that ended for this, in its books.
    pub(super) fn divergence(skipped: &Range<u64>) -> Fault {
        let message = format!("updates between steps {} and {} were skipped too often", skipped.start, skipped.end - 1);
        Fault::new(FaultClass::Divergence, message)
    }

    /// After the processes of the attempt are gone.
    pub(super) fn rewind_to_before(&mut self, now: Now, key: &JobKey, attempt: &Attempt, skipped: &Range<u64>, effects: &mut Effects) {
        let Some(JobKind::Train { stage }) = self.job(key).map(|job| job.planned.kind.clone()) else { return };
        let published = self.record.checkpoints.get(&stage).map_or(&[][..], Vec::as_slice);
        let kept: Vec<u64> = published.iter().filter(|c| !c.retired).map(|c| c.step).collect();
        let to = target(&kept, skipped);
        let left_out = self.record.batches(&stage).span(&(skipped.start.max(to)..skipped.end));
        let reason = Self::divergence(skipped).message;
        let rewind = Rewind { at: now.wall, generation: Some(attempt.generation), to, left_out, abandoned: vec![], reason, damaged: None };
        self.go_back(now, &stage, rewind, effects);
    }

    pub(super) fn go_back(&mut self, now: Now, stage: &StageName, mut rewind: Rewind, effects: &mut Effects) {
        let from = self.record.published_steps(stage);
        let published = self.record.checkpoints.entry(stage.clone()).or_default();
        let keep = published.partition_point(|c| c.step <= rewind.to);
        rewind.abandoned = published.split_off(keep);
        self.record.history.go_back(stage, keep);
        let objects: Vec<String> =
            rewind.abandoned.iter().filter(|c| !c.retired).flat_map(|checkpoint| self.record.parts(stage, checkpoint)).collect();
        effects.deletes.extend(objects);
        rewind.abandoned.iter_mut().for_each(|checkpoint| checkpoint.retired = true);
        let data = match &rewind.left_out {
            none if none.is_empty() => "no data is left out".to_owned(),
            batches => format!("batches {} to {} of its order are left out", batches.start, batches.end - 1),
        };
        let message = format!("goes back from step {from} to {}; {data}: {}", rewind.to, rewind.reason);
        let generation: Option<Generation> = rewind.generation;
        self.happened(now, EventKind::Rewind, Some((&train_key(stage), generation)), message);
        self.record.rewinds.entry(stage.clone()).or_default().push(rewind);
    }
}
