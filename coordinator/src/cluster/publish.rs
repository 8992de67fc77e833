//! Parts become a checkpoint here. Nothing in a part is believed: its path, its place in the sequence, and the samples of every update
//! are checked, and only the record's next version makes the checkpoint exist.

use super::Effects;
use super::run::Run;
use osler_core::checkpoint::{Joined, Manifest, ObjectRef, Part, StepRecord, join_parts};
use osler_core::digest::Digest;
use osler_core::ids::StageName;
use osler_core::job::{Fault, FaultClass, JobKey, JobKind};
use osler_core::order::SampleSum;
use osler_core::paths;
use osler_core::record::{EventKind, NoOrder, Published};
use osler_core::time::Now;
use std::collections::BTreeMap;

/// Checkpoints of one attempt that may be incomplete at once. Ranks are in lockstep, so more than a few mean that one is broken.
const MAX_INCOMPLETE: usize = 16;

fn broken(message: impl Into<String>) -> Fault {
    Fault::new(FaultClass::Internal, message)
}

impl Run {
    /// Takes one rank's part of the active attempt; publishes every checkpoint that it completes.
    pub fn take_part(&mut self, now: Now, key: &JobKey, rank: u32, part: Part, effects: &mut Effects) -> Result<(), Fault> {
        let Some(JobKind::Train { stage }) = self.job(key).map(|job| job.planned.kind.clone()) else {
            return Err(broken("only train jobs make checkpoints"));
        };
        let planned = self.record.spec.stage(&stage).map_or(0, |s| s.steps());
        let id = self.record.id(key);
        let Some(attempt) = self.active(key) else { return Ok(()) };
        if part.step <= attempt.published {
            return Ok(()); // a repeated report: the step is published
        }
        check_part(&part, rank, planned, &paths::part(&id, attempt.generation, part.step, rank))?;
        if attempt.parts.get(&part.step).is_some_and(|parts| parts.iter().any(|p| p.rank == rank)) {
            return Ok(()); // a repeated report
        }
        if attempt.parts.len() >= MAX_INCOMPLETE && !attempt.parts.contains_key(&part.step) {
            return Err(broken(format!("more than {MAX_INCOMPLETE} checkpoints are incomplete: some rank does not save")));
        }
        if let Some(attempt) = self.active_mut(key) {
            attempt.parts.entry(part.step).or_default().push(part);
        }
        self.publish_complete(now, key, &stage, effects)
    }

    fn publish_complete(&mut self, now: Now, key: &JobKey, stage: &StageName, effects: &mut Effects) -> Result<(), Fault> {
        loop {
            let Some(attempt) = self.active(key) else { return Ok(()) };
            let world = attempt.places.len();
            let complete = |parts: &Vec<Part>| parts.len() == world;
            let Some((step, parts)) = attempt.parts.first_key_value() else { return Ok(()) };
            if !complete(parts) {
                // Each rank reports in order, so a later complete one means that somebody left this one out.
                return match attempt.parts.iter().find(|(_, parts)| complete(parts)) {
                    Some((later, _)) => Err(broken(format!("step {later} is saved by all ranks, but step {step} is not"))),
                    None => Ok(()),
                };
            }
            let (step, parts) = (*step, parts.clone());
            self.publish(now, key, stage, step, parts, effects)?;
        }
    }

    fn publish(
        &mut self,
        now: Now,
        key: &JobKey,
        stage: &StageName,
        step: u64,
        parts: Vec<Part>,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let Some(attempt) = self.active(key) else { return Ok(()) };
        let (generation, from, world_size) = (attempt.generation, attempt.published, attempt.places.len() as u32);
        let expected = self.predictions(stage, from..step, &parts)?;
        let prediction = |step: u64| expected.get(&step).copied().unwrap_or_default();
        let Joined { parts, ledger, seconds, usage } =
            join_parts(parts, world_size, from, step, prediction).map_err(|e| broken(format!("step {step}: {e}")))?;
        if !seconds.is_finite() {
            return Err(broken(format!("step {step}: the seconds of its phases are not numbers")));
        }
        let manifest = Manifest {
            format: Manifest::FORMAT,
            run: self.record.name().clone(),
            stage: stage.clone(),
            step,
            generation,
            world_size,
            spec: self.record.spec_digest,
            parent: (from > 0).then_some(from),
            parts,
            ledger,
            seconds,
            usage,
            published_at: now.wall,
        };
        let skipped = skipped_in_words(&manifest.ledger);
        let bytes = serde_json::to_vec(&manifest).map_err(|e| broken(format!("step {step}: {e}")))?;
        let path = paths::manifest(self.record.name(), stage, step, generation);
        let object = ObjectRef { path: path.clone(), bytes: bytes.len() as u64, digest: Digest::of(&bytes) };
        effects.puts.push((path, bytes));
        self.record.checkpoints.entry(stage.clone()).or_default().push(Published {
            step,
            generation,
            manifest: object,
            at: now.wall,
            retired: false,
            mean_loss: manifest.mean_loss(),
            world_size: Some(world_size),
            pinned: false,
            skipped: manifest.skipped(),
        });
        if let Some(attempt) = self.active_mut(key) {
            attempt.published = step;
            attempt.parts.remove(&step);
        }
        self.times.note_saved(now, key);
        if let Some(attempt) = self.active(key).cloned() {
            self.praise(&attempt);
        }
        let about = Some((key, Some(generation)));
        if let Some(message) = skipped {
            self.happened(now, EventKind::Skipped, about, message);
        }
        self.happened(now, EventKind::Checkpoint, about, format!("step {step} is published"));
        self.retire(stage, effects);
        Ok(())
    }

    /// What the order predicts for the steps of these parts. Computed once per step, and only for ledgers of the right length.
    fn predictions(&mut self, stage: &StageName, steps: std::ops::Range<u64>, parts: &[Part]) -> Result<BTreeMap<u64, SampleSum>, Fault> {
        let length = usize::try_from(steps.end.saturating_sub(steps.start)).unwrap_or(usize::MAX);
        if parts.iter().any(|p| p.ledger.len() != length) {
            return Ok(BTreeMap::new()); // `join_parts` says what is wrong
        }
        let spec = self.record.spec.stage(stage).cloned().ok_or_else(|| broken(format!("no stage {stage}")))?;
        let batches = self.record.batches(stage);
        let order = self.order(&spec).map_err(|e| match e {
            NoOrder::Order(e) => Fault::new(FaultClass::User, e.to_string()),
            other => broken(other.to_string()),
        })?;
        Ok(steps.map(|step| (step, order.expected(batches.of(step)))).collect())
    }

    /// Deletes the parts of checkpoints that no rule keeps, after the record says so. The newest of a stage stays always: resumes, the
    /// stage's export and later stages read no other.
    pub(super) fn retire(&mut self, stage: &StageName, effects: &mut Effects) {
        let kept = self.record.kept(stage);
        let mut old = vec![];
        for checkpoint in self.record.checkpoints.get_mut(stage).into_iter().flatten() {
            if !checkpoint.retired && !kept.contains_key(&checkpoint.step) {
                checkpoint.retired = true;
                self.changed = true;
                old.push(checkpoint.clone());
            }
        }
        effects.deletes.extend(old.iter().flat_map(|checkpoint| self.record.parts(stage, checkpoint)));
    }
}

/// What the guard did not apply of the steps of one checkpoint.
fn skipped_in_words(ledger: &[StepRecord]) -> Option<String> {
    const SHOWN: usize = 8;
    let skipped: Vec<String> = ledger.iter().filter_map(|r| Some(format!("{} ({})", r.step, r.skipped?))).collect();
    let more = skipped.len().saturating_sub(SHOWN);
    let shown = skipped.get(..SHOWN.min(skipped.len()))?.join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!skipped.is_empty()).then(|| format!("the updates of steps {shown}{more} were skipped"))
}

fn check_part(part: &Part, rank: u32, planned: u64, path: &str) -> Result<(), Fault> {
    if part.rank != rank {
        return Err(broken(format!("rank {rank} reported a part of rank {}", part.rank)));
    }
    if part.step > planned {
        return Err(broken(format!("a part of step {}, but the stage has {planned}", part.step)));
    }
    if part.ledger.len() as u64 > part.step {
        return Err(broken(format!("a part of step {} whose ledger holds {} updates", part.step, part.ledger.len())));
    }
    if part.object.path != path {
        let found: String = part.object.path.chars().take(200).collect();
        return Err(broken(format!("a part at {found:?}, expected {path:?}")));
    }
    Ok(())
}
