//! An object of a run that somebody found damaged who is none of its processes: `osler fsck --repair`. The coordinator reads it itself, as
//! it does when a process complains, and mends what can be mended without anybody's loss.
//!
//! An output is made again, by the rules of `mend`; a run that is over does so when it is resumed. A checkpoint from which training is to
//! go on is given up for the one before. One that nothing goes on from is only retired. The last one of a run that is finished stays as it
//! is: what was made of it is there, and a person decides whether training it again is worth it.

use super::mend::{Found, Look, Whole};
use super::run::Run;
use super::{Cluster, Effects, Refused};
use osler_core::ids::{RunName, StageName};
use osler_core::record::{EventKind, JobState, RunState};
use osler_core::retention::Reason;
use osler_core::rewind::Rewind;
use osler_core::stop::{Stop, StopKind};
use osler_core::time::Now;

/// Somebody's who looked at a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub run: RunName,
    pub path: String,
    pub by: String,
}

impl Cluster {
    /// Has an object read that a run's record names. Asking twice is harmless.
    pub(super) fn doubt(&mut self, now: Now, doubt: Doubt) -> Result<RunState, Refused> {
        let Doubt { run: name, path, by } = doubt;
        let run = self.run_mut(&name)?;
        let Some(of) = run.whole_named(&path) else { return Err(Refused::NotNamed { run: name, path }) };
        if run.doubted.insert(path.clone()) {
            run.happened(now, EventKind::Store, None, format!("{path} is doubted by {by}: the coordinator reads it itself"));
            run.looks.push(Look { run: name, reader: None, path, of });
        }
        Ok(run.record.state.clone())
    }
}

impl Run {
    /// What an object belongs to that the record names and something may still read.
    fn whole_named(&self, path: &str) -> Option<Whole> {
        let output = || {
            self.record.jobs.iter().find_map(|(producer, job)| {
                let object = job.status.result()?.outputs.values().find(|object| object.path == path)?;
                Some(Whole::Output { producer: producer.clone(), object: object.clone() })
            })
        };
        let checkpoint = {
            let all = self.record.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c)));
            let is = |stage: &StageName, c: &osler_core::record::Published| {
                c.manifest.path == path || self.record.parts(stage, c).iter().any(|part| part == path)
            };
            all.filter(|(_, c)| !c.retired).find(|(stage, c)| is(stage, c)).map(|(stage, c)| Whole::Checkpoint {
                stage: stage.clone(),
                step: c.step,
                manifest: c.manifest.clone(),
            })
        };
        checkpoint.or_else(output)
    }

    /// The coordinator has read an object that was doubted.
    pub(super) fn doubt_ends(&mut self, now: Now, look: &Look, found: &Found, effects: &mut Effects) {
        let path = &look.path;
        self.doubted.remove(path);
        let tell = |run: &mut Self, what: String| run.happened(now, EventKind::Store, None, format!("{path} {what}"));
        let found = match found {
            Found::Intact => return tell(self, "is intact".to_owned()),
            Found::Unknown(why) => return tell(self, format!("cannot be read by the coordinator: {why}")),
            Found::Damaged(found) => found,
        };
        // What was decided since may have made another thing of it.
        if self.whole_named(path).as_ref() != Some(&look.of) {
            return;
        }
        match &look.of {
            Whole::Output { producer, object } => {
                let recorded = format!("{} bytes, sha256 {}", object.bytes, object.digest);
                self.make_again(now, producer, &format!("{path} is damaged: {found}, recorded as {recorded}"));
                self.waits_for_a_resume(now);
            }
            Whole::Checkpoint { stage, step, .. } => self.checkpoint_is_damaged(now, stage, *step, path, found, effects),
        }
    }

    fn checkpoint_is_damaged(&mut self, now: Now, stage: &StageName, step: u64, path: &str, found: &str, effects: &mut Effects) {
        let damage = format!("checkpoint step {step} is damaged: {path}: {found}");
        let reasons = self.record.kept(stage).remove(&step).unwrap_or_default();
        let is_needed = reasons.contains(&Reason::Newest) || reasons.contains(&Reason::Needed);
        if !is_needed {
            self.happened(now, EventKind::Store, None, format!("{stage}: {damage}; nothing goes on from it, so it is retired"));
            let published = self.record.checkpoints.get_mut(stage).into_iter().flatten();
            published.filter(|c| c.step == step).for_each(|c| c.retired = true);
            self.record.swept = false; // as when a pin goes
            let retired = self.record.checkpoints.get(stage).into_iter().flatten().filter(|c| c.step == step);
            effects.deletes.extend(retired.flat_map(|c| self.record.parts(stage, c)));
            return;
        }
        if self.record.state == RunState::Finished {
            let message = format!("{stage}: {damage}; the run is finished and what it was to be used for is done: restore it from a copy");
            return self.happened(now, EventKind::Store, None, message);
        }
        // An attempt that goes on from it has read it already, or will say that it cannot.
        let active = |run: &Self| run.active(&osler_core::plan::train_key(stage)).is_some();
        if active(self) {
            return self.happened(now, EventKind::Store, None, format!("{stage}: {damage}; the attempt that runs is beyond it"));
        }
        let rewind = Rewind {
            at: now.wall,
            generation: None,
            to: 0,
            left_out: 0..0,
            abandoned: vec![],
            reason: damage,
            damaged: Some(path.to_owned()),
        };
        self.give_up_checkpoint(now, stage, step, rewind, effects);
    }

    /// A run that was finished and has something to do again is for a person to go on with.
    fn waits_for_a_resume(&mut self, now: Now) {
        let open = self.record.jobs.values().any(|job| !matches!(job.status, JobState::Succeeded { .. }));
        if self.record.state == RunState::Finished && open {
            self.record.state = RunState::Stopped;
            self.record.finished = None;
            self.record.stop = Some(Stop { kind: StopKind::ByHand, by: "a check of the store".to_owned(), at: now.wall });
            let name = self.record.name().clone();
            self.happened(now, EventKind::Run, None, format!("no longer finished: `osler resume {name}` makes again what is damaged"));
        }
    }
}
