//! Damage: an object that the record names cannot be used. Its reader says so and names it; the coordinator reads it itself, because a
//! node with bad memory would say the same of every object; and what is damaged is had again.
//!
//! A checkpoint is given up, and its stage goes back to the one before. An output is a function of its job's inputs: the job is done again
//! and must leave the same digests. Meanwhile who reads it waits; who has read it goes on. No fault of anybody's budget is counted, but
//! how often something is mended is bounded.
//!
//! What is under suspicion is not in the record: a coordinator that restarts hears of it again from the next attempt.

use super::run::Run;
use super::{Cluster, Effects};
use osler_core::checkpoint::ObjectRef;
use osler_core::ids::{Generation, RunName, StageName};
use osler_core::job::{Fault, JobKey, JobKind, JobResult};
use osler_core::plan::train_key;
use osler_core::process::CheckpointRef;
use osler_core::reason::Cause;
use osler_core::record::{Attempt, EventKind, JobState, Then};
use osler_core::rewind::Rewind;
use osler_core::spec::Init;
use osler_core::time::Now;

/// A disk that damages more than this is to be replaced, not mended.
const MOST_REMADE: u32 = 5;
const MOST_RETURNS: usize = 20;

/// What the coordinator is to read itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub run: RunName,
    /// The job whose process complained; none: somebody else did, see `doubt`.
    pub reader: Option<JobKey>,
    pub path: String,
    pub of: Whole,
}

/// What an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    Output {
        producer: JobKey,
        object: ObjectRef,
    },
    /// Its manifest names the parts.
    Checkpoint {
        stage: StageName,
        step: u64,
        manifest: ObjectRef,
    },
}

/// What the coordinator found where a process could not use an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What is there instead of what was written.
    Damaged(String),
    Intact,
    /// The store did not say: neither the object nor its reader is to blame.
    Unknown(String),
}

/// An object that a process could not use, until the coordinator has read it.
#[derive(Debug, Clone)]
pub struct Suspect {
    pub look: Look,
    generation: Generation,
    fault: Fault,
}

impl Cluster {
    /// Objects that are to be read since this was last asked.
    pub fn take_looks(&mut self) -> Vec<Look> {
        self.runs.values_mut().flat_map(|run| std::mem::take(&mut run.looks)).collect()
    }

    /// The coordinator has read an object.
    pub(super) fn looked(&mut self, now: Now, look: &Look, found: &Found, effects: &mut Effects) {
        let Some(run) = self.runs.get_mut(&look.run) else { return };
        let Some(reader) = &look.reader else { return run.doubt_ends(now, look, found, effects) };
        let Some(suspect) = run.suspects.remove(reader) else { return };
        match found {
            Found::Damaged(found) => run.mend(now, suspect, found, effects),
            Found::Intact => run.acquit(now, suspect, "is intact", &self.workers.limits),
            Found::Unknown(why) => run.acquit(now, suspect, &format!("cannot be read here either ({why})"), &self.workers.limits),
        }
    }
}

impl Run {
    /// Whether the end of an attempt waits for the coordinator's own look at an object.
    pub(super) fn is_looked_at(&self, key: &JobKey) -> bool {
        self.suspects.contains_key(key)
    }

    /// What follows from a fault that names an object, if the job reads such a one.
    pub(super) fn suspect(&mut self, now: Now, key: &JobKey, attempt: &Attempt, fault: &Fault) -> Option<Then> {
        let path = &fault.damage.as_ref()?.path;
        let of = self.whole_of(key, path)?;
        let look = Look { run: self.record.name().clone(), reader: Some(key.clone()), path: path.clone(), of };
        let cause = Cause::Damaged { object: path.clone() };
        let message = format!("generation {} is ended: {fault}; the coordinator reads {path} itself", attempt.generation);
        self.happened_because(now, EventKind::Retry, Some((key, Some(attempt.generation))), message, Some(cause.clone()));
        self.looks.push(look.clone());
        self.suspects.insert(key.clone(), Suspect { look, generation: attempt.generation, fault: fault.clone() });
        Some(Then::Requeue { cause: Some(cause) })
    }

    /// What an object that a job reads belongs to. Nothing else is looked at, whatever a process says.
    fn whole_of(&self, key: &JobKey, path: &str) -> Option<Whole> {
        let inputs = self.record.inputs(key)?;
        let output = |(producer, result): (&JobKey, &JobResult)| {
            let object = result.outputs.values().find(|object| object.path == path)?;
            Some(Whole::Output { producer: producer.clone(), object: object.clone() })
        };
        if let Some(found) = inputs.iter().find_map(output) {
            return Some(found);
        }
        let kind = &self.job(key)?.planned.kind;
        let stage = kind.stage()?;
        let (own, initial) = self.start_from(kind);
        let earlier = match self.record.spec.stage(stage).map(|stage| &stage.from) {
            Some(Init::Stage(earlier) | Init::Fork { stage: earlier, .. }) => earlier,
            _ => stage,
        };
        let whole = |stage: &StageName, CheckpointRef { step, manifest }: CheckpointRef| {
            let parts = self.record.checkpoint(stage, Some(step)).map(|published| self.record.parts(stage, published));
            let its = manifest.path == path || parts.is_some_and(|parts| parts.iter().any(|part| part == path));
            its.then(|| Whole::Checkpoint { stage: stage.clone(), step, manifest })
        };
        own.and_then(|own| whole(stage, own)).or_else(|| whole(earlier, initial?))
    }

    fn mend(&mut self, now: Now, suspect: Suspect, found: &str, effects: &mut Effects) {
        let path = &suspect.look.path;
        match &suspect.look.of {
            Whole::Output { producer, object } => {
                let recorded = format!("{} bytes, sha256 {}", object.bytes, object.digest);
                self.make_again(now, producer, &format!("{path} is damaged: {found}, recorded as {recorded}"));
            }
            Whole::Checkpoint { stage, step, .. } => {
                let damage = format!("checkpoint step {step} is damaged: {path}: {found}");
                let rewind = Rewind {
                    at: now.wall,
                    generation: Some(suspect.generation),
                    to: 0,
                    left_out: 0..0,
                    abandoned: vec![],
                    reason: damage,
                    damaged: Some(path.clone()),
                };
                self.give_up_checkpoint(now, stage, *step, rewind, effects);
            }
        }
    }

    pub(super) fn make_again(&mut self, now: Now, producer: &JobKey, damage: &str) {
        let Some(job) = self.record.jobs.get_mut(producer) else { return };
        let JobState::Succeeded { result, generation, .. } = &job.status else { return };
        let generation = *generation;
        if job.made_again >= MOST_REMADE {
            let times = job.made_again;
            return self.fail_run(now, format!("{damage}; {producer} was done again {times} times already: look at the store's disk"));
        }
        job.before = Some(result.clone());
        job.made_again += 1;
        let message = format!("{damage}; it is made again, and must be the same");
        self.happened(now, EventKind::Store, Some((producer, Some(generation))), message);
        self.reopen(now, producer);
    }

    /// A job that is done is done again, after what it needs if that is being made again too; who needs it and has not begun waits for it.
    fn reopen(&mut self, now: Now, key: &JobKey) {
        let waits = self.waiting(now, key, 0);
        self.set(now, key, waits);
        let waits = |job: &osler_core::record::JobRecord| matches!(job.status, JobState::Pending { .. }) && job.planned.needs.contains(key);
        for reader in self.keys(waits) {
            self.set(now, &reader, JobState::Blocked);
        }
    }

    /// Goes back to the checkpoint before, for the reason that is given.
    pub(super) fn give_up_checkpoint(&mut self, now: Now, stage: &StageName, step: u64, rewind: Rewind, effects: &mut Effects) {
        let published = self.record.checkpoints.get(stage).map_or(&[][..], Vec::as_slice);
        if !published.iter().any(|c| c.step == step && !c.retired) {
            return; // given up already
        }
        let older = published.iter().rev().find(|c| c.step < step && !c.retired).map(|c| c.step);
        let returns = self.record.rewinds.get(stage).map_or(0, |all| all.iter().filter(|r| r.damaged.is_some()).count());
        let (run, damage) = (self.record.name().clone(), &rewind.reason);
        let Some(to) = older.filter(|_| returns < MOST_RETURNS) else {
            let why = if older.is_none() { "no older one is there" } else { "it is not the first: look at the store's disk" };
            let out = format!(
                "restore it from a copy, then `osler resume {run}`; or begin the stage again: `osler resume {run} --rewind {stage}@0`"
            );
            let message = format!("{stage}: {damage}, and {why}; {out}");
            self.train_again(now, stage); // else the way out would be refused, because the stage is done
            return self.fail_run(now, message);
        };
        self.go_back(now, stage, Rewind { to, ..rewind }, effects);
        self.train_again(now, stage);
    }

    /// A stage that was done is not, because the checkpoint that it ended with is lost.
    fn train_again(&mut self, now: Now, stage: &StageName) {
        let key = train_key(stage);
        let Some(job) = self.record.jobs.get_mut(&key) else { return };
        if let JobState::Succeeded { result, .. } = &job.status {
            job.before = Some(result.clone());
            self.reopen(now, &key);
        }
    }

    /// The object was not found to be damaged: what its reader reported counts as any other fault.
    fn acquit(&mut self, now: Now, suspect: Suspect, found: &str, limits: &super::Limits) {
        let Suspect { look: Look { reader: Some(reader), path, .. }, generation, fault } = suspect else { return };
        let origin = fault.origin.as_deref().unwrap_or("its reader");
        let message =
            format!("{path} {found}, although {origin} could not use it: look at that node's memory and disk, and the way to the store");
        self.happened(now, EventKind::Store, Some((&reader, Some(generation))), message);
        let Some(JobState::Ending { attempt, .. }) = self.job(&reader).map(|job| &job.status) else { return };
        let decided = self.decide(now, &reader, &attempt.clone(), fault, limits);
        self.then(now, &reader, decided);
    }

    /// Why a result is not that of the same job before: an output that is made again must be the same.
    pub(super) fn differs_from_before(&self, key: &JobKey, result: &JobResult) -> Option<String> {
        let before = self.job(key)?.before.as_ref()?;
        if matches!(self.job(key)?.planned.kind, JobKind::Train { .. }) {
            return None;
        }
        let shown =
            |object: Option<&ObjectRef>| object.map_or_else(|| "nothing".to_owned(), |o| format!("{} bytes, sha256 {}", o.bytes, o.digest));
        let names = before.outputs.keys().chain(result.outputs.keys());
        let same = |a: Option<&ObjectRef>, b: Option<&ObjectRef>| a.map(|o| (o.bytes, o.digest)) == b.map(|o| (o.bytes, o.digest));
        let differs = |name: &&String| !same(before.outputs.get(*name), result.outputs.get(*name));
        let name = names.into_iter().find(differs)?;
        let (was, is) = (shown(before.outputs.get(name)), shown(result.outputs.get(name)));
        Some(format!("made again because it was damaged, {name} is {is}, and was {was}: restore it from a copy"))
    }
}
