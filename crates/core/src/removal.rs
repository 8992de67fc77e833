//! What is left of a run that was removed, until it is deleted: which objects were the run's, so that a sweep takes those and no other,
//! however late it comes.
//!
//! A removal is decided by the last version of the run's record, whose state is [`Removed`](crate::record::RunState::Removed); whoever
//! cannot write it has been fenced and removes nothing. A note beside the runs then keeps how far the run came: its versions and
//! generations. A later run of the same name goes on from both numbers, so that no object of the one can be taken for the other's, also
//! not what a slow writer of an old attempt brings afterwards.

use crate::ids::{Generation, RunName};
use crate::job::JobKind;
use crate::paths;
use crate::record::RunRecord;

/// A removed run, by what tells its objects from those of a later run of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    pub run: RunName,
    /// The version that removed it: the last one.
    pub version: u64,
    /// The first generation that it did not use.
    pub next_generation: Generation,
}

impl Remains {
    pub fn of(record: &RunRecord) -> Self {
        Self { run: record.name().clone(), version: record.version, next_generation: record.next_generation }
    }

    /// From the name of the note that keeps them, see [`paths::removed`]. None: it is no such name.
    pub fn of_note(path: &str) -> Option<Self> {
        let (run, name) = path.strip_prefix(paths::REMOVED)?.strip_prefix('/')?.split_once('/')?;
        let (version, generation) = name.strip_suffix(".json")?.split_once(".g")?;
        let remains =
            Self { run: RunName::new(run).ok()?, version: version.parse().ok()?, next_generation: Generation(generation.parse().ok()?) };
        (remains.note() == path).then_some(remains)
    }

    pub fn note(&self) -> String {
        paths::removed(&self.run, self.version, self.next_generation)
    }

    /// Whether a version of a record of this name is one of the removed run's.
    pub fn has_version(&self, version: u64) -> bool {
        version <= self.version
    }

    /// Whether an object was the removed run's, temporaries included.
    pub fn holds(&self, path: &str) -> bool {
        let below = |prefix: String| path.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
        if let Some(name) = below(paths::states(&self.run)) {
            let number = name.split('.').next().and_then(|number| number.parse().ok());
            return number.is_some_and(|version| self.has_version(version));
        }
        if below(paths::pages(&self.run)).is_some() {
            return paths::version_of_page(path).is_some_and(|version| self.has_version(version));
        }
        let generation = match below(paths::manifests(&self.run)) {
            Some(_) => paths::generation_of(path),
            None => [paths::jobs(&self.run), paths::logs(&self.run)].into_iter().find_map(below).and_then(attempt),
        };
        generation.is_some_and(|generation| generation < self.next_generation)
    }
}

/// The generation in `JOB/gN/NAME`. Names within a job's key may look like one, so its parts are counted.
fn attempt(rest: &str) -> Option<Generation> {
    let parts: Vec<&str> = rest.split('/').collect();
    let place = JobKind::key_parts(parts.first()?)?;
    parts.get(place)?.strip_prefix('g')?.parse().ok().map(Generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CorpusName, ExamName, StageName};
    use crate::spec::{Method, Variant};

    fn remains() -> Remains {
        Remains { run: RunName::new("r").unwrap(), version: 41, next_generation: Generation(57) }
    }

    #[test]
    fn a_note_says_by_its_name_what_it_keeps() {
        assert_eq!(remains().note(), "coordinator/removed/r/0000000041.g57.json");
        assert_eq!(Remains::of_note(&remains().note()), Some(remains()));
        for other in ["coordinator/removed/r/41.g57.json", "coordinator/removed/r/.DS_Store", "coordinator/removed/R/0000000041.g57.json"] {
            assert_eq!(Remains::of_note(other), None, "{other}");
        }
    }

    #[test]
    fn every_kind_of_job_has_as_many_parts_as_its_key() {
        let (corpus, stage) = (CorpusName::new("g3").unwrap(), StageName::new("s").unwrap());
        let exam = ExamName::new("e").unwrap();
        for kind in [
            JobKind::Clean { corpus: corpus.clone(), source: 1 },
            JobKind::Merge { corpus: corpus.clone() },
            JobKind::Tokenizer,
            JobKind::Pack { corpus, sequence_length: 16 },
            JobKind::Train { stage: stage.clone() },
            JobKind::Export { stage: stage.clone() },
            JobKind::Quantize { stage: stage.clone(), method: Method::Int8 },
            JobKind::Exam { stage, variant: Variant::Full, exam },
        ] {
            let key = kind.key();
            let parts: Vec<&str> = key.as_str().split('/').collect();
            assert_eq!(JobKind::key_parts(parts[0]), Some(parts.len()), "{key}");
        }
    }

    #[test]
    fn only_what_the_removed_run_wrote_is_its_own() {
        for own in [
            "runs/r/state/0000000041.json",
            "runs/r/state/0000000007.json#1",
            "runs/r/jobs/clean/g99/00000/g2/documents.jsonl",
            "runs/r/jobs/tokenizer/g3/tokenizer.json#2",
            "runs/r/jobs/train/s/g56/step-00000010/rank-00000.safetensors",
            "runs/r/jobs/train/s/g56/step-00000010/rank-00000.partial-77",
            "runs/r/jobs/quantize/s/int8/g7/model/a.safetensors",
            "runs/r/jobs/exam/s/full/seen/g8/report.json",
            "runs/r/checkpoints/s/step-00000010.g56.json",
            "runs/r/logs/train/s/g56/rank-00000.log",
            "runs/r/history/events/0000000256-v41-0a1b2c3d4e5f.json",
            "runs/r/history/checkpoints/s/0000000640-v7-0a1b2c3d4e5f.json#1",
        ] {
            assert!(remains().holds(own), "{own} stays for ever");
        }
        for other in [
            "runs/r/state/0000000042.json",
            "runs/r/state/notes.txt",
            "runs/r/jobs/clean/g3/00000/g57/documents.jsonl",
            "runs/r/jobs/train/s/g57/step-00000010/rank-00000.safetensors",
            "runs/r/checkpoints/s/step-00000010.g57.json",
            "runs/r/logs/train/s/g58/rank-00000.log",
            "runs/r/history/events/0000000256-v42-0a1b2c3d4e5f.json",
            "runs/r/history/notes.txt",
            "runs/r/jobs/notes/g1/x",
            "runs/r/notes.txt",
            "runs/rr/jobs/tokenizer/g3/tokenizer.json",
            "runs/q/state/0000000001.json",
            "coordinator/removed/r/0000000041.g57.json",
        ] {
            assert!(!remains().holds(other), "{other} is deleted");
        }
    }
}
