//! Which objects of a run are anybody's: what its record names, and what an attempt may still write. Everything else of an attempt that is
//! over is a leftover, and is deleted while the run goes on.
//!
//! What makes that safe, also for whoever knows only an older version of the record: a generation that is over never names an object
//! again, and writes nothing that anybody hears of. So what is a leftover once stays one. The newest attempt of a job and all that come
//! after it are left alone, whatever they write.

use crate::ids::{Generation, RunName, StageName};
use crate::job::{JobKey, JobResult};
use crate::paths;
use crate::plan::train_key;
use crate::record::{Published, RunRecord};
use std::collections::{BTreeMap, BTreeSet};

impl RunRecord {
    /// The names of a checkpoint's parts.
    pub fn parts(&self, stage: &StageName, checkpoint: &Published) -> Vec<String> {
        let key = train_key(stage);
        let id = self.id(&key);
        let ranks = checkpoint.world_size.or_else(|| self.jobs.get(&key).map(|job| job.planned.ranks)).unwrap_or(0);
        (0..ranks).map(|rank| paths::part(&id, checkpoint.generation, checkpoint.step, rank)).collect()
    }

    /// Every object below the jobs and checkpoints of the run that this record needs: outputs, parts that retention lets stay or that wait
    /// for others, and the manifests of all checkpoints, whose ledgers an audit reads.
    fn named(&self) -> BTreeSet<String> {
        let outputs = |result: &JobResult| result.outputs.values().map(|object| object.path.clone()).collect::<Vec<_>>();
        let mut named = BTreeSet::new();
        for job in self.jobs.values() {
            named.extend(job.status.result().into_iter().chain(&job.before).flat_map(outputs));
            let incomplete = job.status.attempt().into_iter().flat_map(|attempt| attempt.parts.values().flatten());
            named.extend(incomplete.map(|part| part.object.path.clone()));
        }
        for (stage, checkpoint) in self.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c))) {
            named.insert(checkpoint.manifest.path.clone());
            if !checkpoint.retired {
                named.extend(self.parts(stage, checkpoint));
            }
        }
        let given_up = self.rewinds.values().flatten().flat_map(|rewind| &rewind.abandoned);
        named.extend(given_up.map(|checkpoint| checkpoint.manifest.path.clone()));
        named
    }
}

/// What a version of a run's record says about objects.
#[derive(Debug, Clone)]
pub struct Claims {
    run: RunName,
    named: BTreeSet<String>,
    /// Of every job, with the attempt that holds slots.
    jobs: BTreeMap<JobKey, Option<Generation>>,
    next: Generation,
}

impl Claims {
    pub fn of(record: &RunRecord) -> Self {
        let current = |(key, job): (&JobKey, &crate::record::JobRecord)| (key.clone(), job.status.attempt().map(|a| a.generation));
        let (run, jobs) = (record.name().clone(), record.jobs.iter().map(current).collect());
        Self { run, named: record.named(), jobs, next: record.next_generation }
    }

    pub fn run(&self) -> &RunName {
        &self.run
    }

    pub fn names(&self, path: &str) -> bool {
        self.named.contains(path)
    }

    /// Whether an object is nobody's and never will be anybody's again.
    pub fn leaves(&self, path: &str) -> bool {
        !self.names(path) && self.attempt(path).is_some_and(|(key, generation)| self.is_over(&key, generation))
    }

    /// Whether an object is of an attempt that this version of the record does not know, or of a checkpoint that it does not name although
    /// it was published: whoever wrote it was told by a later version.
    pub fn is_beyond(&self, path: &str) -> bool {
        let manifest = path.starts_with(&format!("{}/", paths::manifests(&self.run)));
        match paths::generation_of(path) {
            Some(generation) => generation >= self.next || (manifest && !self.names(path)),
            None => false,
        }
    }

    fn is_over(&self, key: &JobKey, generation: Generation) -> bool {
        generation < self.next && self.jobs.get(key).is_some_and(|current| *current != Some(generation))
    }

    /// The attempt that an object is of, manifests and temporaries included; none for other objects.
    fn attempt(&self, path: &str) -> Option<(JobKey, Generation)> {
        let below = |prefix: String| path.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
        if let Some(rest) = below(paths::manifests(&self.run)) {
            let (stage, _) = rest.split_once('/')?;
            return Some((train_key(&StageName::new(stage).ok()?), paths::generation_of(path)?));
        }
        let rest = below(paths::jobs(&self.run))?;
        // Names of corpora and stages may look like generations: the job is the one that there is.
        let ends = rest.match_indices("/g").map(|(at, _)| at);
        ends.filter_map(|at| {
            let (key, generation) = (JobKey::from(&rest[..at]), rest[at + 2..].split('/').next()?.parse().ok()?);
            self.jobs.contains_key(&key).then_some((key, Generation(generation)))
        })
        .next()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::checkpoint::ObjectRef;
    use crate::digest::Digest;
    use crate::ids::{CorpusName, Epoch, Millis};
    use crate::job::{JobKind, Summary};
    use crate::plan::PlannedJob;
    use crate::record::{JobRecord, JobState, RunState};
    use crate::spec::parse;

    const RUN_FILE: &str = r#"
name = "r"
seed = 1
[corpus.g3]
format = "jsonl"
files = "x.jsonl"
[tokenizer]
train = { vocab_size = 300 }
[model]
family = "llama"
dim = 32
layers = 1
heads = 2
[[stage]]
name = "s"
from = "scratch"
corpus = "g3"
steps = 100
sequence_length = 16
global_batch = 2
optimizer = { lr = 1e-3 }
schedule = { kind = "constant" }
[checkpoint]
every_steps = 10
"#;

    fn object(path: &str) -> ObjectRef {
        ObjectRef { path: path.to_owned(), bytes: 1, digest: Digest::of(b"x") }
    }

    /// Cleaned by generation 2; the train job is between two attempts, after generation 4 of 5.
    pub(crate) fn record() -> RunRecord {
        let spec = parse(RUN_FILE, "r.toml", &[]).unwrap();
        let clean = JobKind::Clean { corpus: CorpusName::new("g3").unwrap(), source: 0 };
        let train = JobKind::Train { stage: spec.stages[0].name.clone() };
        let summary = Summary::Tokenizer { vocab_size: 1, end_of_text: 0, front: None };
        let result = JobResult { outputs: BTreeMap::from([("d".to_owned(), object("runs/r/jobs/clean/g3/00000/g2/d"))]), summary };
        let planned = |kind| PlannedJob { kind, needs: BTreeSet::new(), ranks: 2 };
        let done = JobState::Succeeded { generation: Generation(2), at: Millis(1), result };
        let jobs = BTreeMap::from([
            (clean.key(), JobRecord::new(planned(clean), done)),
            (train.key(), JobRecord::new(planned(train), JobState::Pending { since: Millis(1), not_before: Millis(1) })),
        ]);
        let published = |step, retired| Published {
            step,
            generation: Generation(4),
            manifest: object(&format!("runs/r/checkpoints/s/step-{step:08}.g4.json")),
            at: Millis(1),
            retired,
            mean_loss: None,
            world_size: Some(1),
            pinned: false,
            skipped: 0,
        };
        RunRecord {
            format: RunRecord::FORMAT,
            version: 1,
            epoch: Epoch(1),
            spec_digest: spec.digest(),
            submitted_at: Millis(1),
            aged: Default::default(),
            sources: Default::default(),
            stop: None,
            state: RunState::Running,
            jobs,
            next_generation: Generation(5),
            checkpoints: BTreeMap::from([(spec.stages[0].name.clone(), vec![published(10, true), published(20, false)])]),
            rewinds: BTreeMap::new(),
            gates: vec![],
            events: vec![],
            next_event: 1,
            history: Default::default(),
            finished: None,
            swept: false,
            cluster_age: 0,
            spec,
        }
    }

    #[test]
    fn only_what_an_attempt_that_is_over_left_unnamed_is_a_leftover() {
        let claims = Claims::of(&record());
        for left in [
            "runs/r/jobs/clean/g3/00000/g1/d",
            "runs/r/jobs/clean/g3/00000/g2/other",
            "runs/r/jobs/clean/g3/00000/g2/d#1",
            "runs/r/jobs/train/s/g4/step-00000010/rank-00000.safetensors",
            "runs/r/jobs/train/s/g4/step-00000020/rank-00001.safetensors",
            "runs/r/jobs/train/s/g4/step-00000020/rank-00000.partial-77",
            "runs/r/checkpoints/s/step-00000030.g4.json",
            "runs/r/checkpoints/s/step-00000020.g4.json#3",
        ] {
            assert!(claims.leaves(left), "{left} stays for ever");
        }
        for needed in [
            "runs/r/jobs/clean/g3/00000/g2/d",
            "runs/r/jobs/train/s/g4/step-00000020/rank-00000.safetensors",
            "runs/r/checkpoints/s/step-00000010.g4.json",
            "runs/r/checkpoints/s/step-00000020.g4.json",
            "runs/r/jobs/train/s/g5/step-00000030/rank-00000.safetensors",
            "runs/r/jobs/train/s/g6/x",
            "runs/r/jobs/train/t/g1/x",
            "runs/r/jobs/notes.txt",
            "runs/r/state/0000000001.json",
            "runs/r/logs/train/s/g4/rank-00000.log",
            "runs/q/jobs/clean/g3/00000/g1/d",
            ".DS_Store",
        ] {
            assert!(!claims.leaves(needed), "{needed} is deleted");
        }
    }

    #[test]
    fn what_a_later_version_led_to_is_known() {
        let claims = Claims::of(&record());
        assert!(claims.is_beyond("runs/r/jobs/train/s/g5/step-00000030/rank-00000.safetensors"));
        assert!(claims.is_beyond("runs/r/logs/train/s/g5/rank-00000.log"));
        assert!(claims.is_beyond("runs/r/checkpoints/s/step-00000030.g4.json"));
        assert!(!claims.is_beyond("runs/r/checkpoints/s/step-00000020.g4.json"));
        assert!(!claims.is_beyond("runs/r/jobs/train/s/g4/step-00000030/rank-00000.safetensors"));
        assert!(!claims.is_beyond("runs/r/state/0000000009.json"));
    }
}
