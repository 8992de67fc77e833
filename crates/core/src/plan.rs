//! From a run file to jobs: the whole graph is known at submission, so it can be shown, counted and checked before anything runs.

use crate::ids::{CorpusName, ExamName, StageName};
use crate::job::{JobKey, JobKind};
use crate::spec::{RunSpec, StageSpec, TokenizerSpec, Variant};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A job before it has a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJob {
    pub kind: JobKind,
    /// All must have succeeded before it may start.
    pub needs: BTreeSet<JobKey>,
    /// Processes, each taking one slot.
    pub ranks: u32,
}

/// Every job of a run, by key. `spec.corpora[..].files` must already be expanded to plain paths: one clean job a file.
///
/// Exams and compressions of a stage need only that stage, so they run beside the next one when slots are free.
pub fn plan(spec: &RunSpec) -> BTreeMap<JobKey, PlannedJob> {
    let mut jobs = Jobs(BTreeMap::new());
    for (corpus, files) in used_corpora(spec) {
        let cleans = (0..files).map(|source| jobs.add(JobKind::Clean { corpus: corpus.clone(), source }, [])).collect::<Vec<_>>();
        jobs.add(JobKind::Merge { corpus: corpus.clone() }, cleans);
    }
    let trains_on = match &spec.tokenizer {
        TokenizerSpec::Train { corpora, .. } => corpora.iter().map(merge_key).collect(),
        TokenizerSpec::File { .. } => vec![],
    };
    jobs.add(JobKind::Tokenizer, trains_on);
    for stage in &spec.stages {
        jobs.add_stage(spec, stage);
    }
    jobs.0
}

/// Corpora that something uses, with their number of source files.
fn used_corpora(spec: &RunSpec) -> BTreeMap<&CorpusName, u32> {
    let mixed = spec.stages.iter().flat_map(|s| s.mixture.keys());
    let examined = spec.exams.iter().filter_map(|e| e.corpus.as_ref());
    let tokenized: &[CorpusName] = match &spec.tokenizer {
        TokenizerSpec::Train { corpora, .. } => corpora,
        TokenizerSpec::File { .. } => &[],
    };
    let used: BTreeSet<_> = mixed.chain(examined).chain(tokenized).collect();
    spec.corpora.iter().filter(|(name, _)| used.contains(name)).map(|(name, c)| (name, c.files.len() as u32)).collect()
}

fn merge_key(corpus: &CorpusName) -> JobKey {
    JobKind::Merge { corpus: corpus.clone() }.key()
}

pub fn train_key(stage: &StageName) -> JobKey {
    JobKind::Train { stage: stage.clone() }.key()
}

pub fn exam_key(stage: &StageName, variant: Variant, exam: &ExamName) -> JobKey {
    JobKind::Exam { stage: stage.clone(), variant, exam: exam.clone() }.key()
}

/// What is examined after a stage: the model itself and each compressed form of it.
pub fn variants(spec: &RunSpec, stage: &StageName) -> Vec<Variant> {
    let made = spec.quantize.iter().filter(|q| q.stages.is_empty() || q.stages.contains(stage));
    std::iter::once(Variant::Full).chain(made.map(|q| Variant::Quantized(q.method))).collect()
}

struct Jobs(BTreeMap<JobKey, PlannedJob>);

impl Jobs {
    fn add(&mut self, kind: JobKind, needs: impl IntoIterator<Item = JobKey>) -> JobKey {
        self.add_gang(kind, needs, 1)
    }

    fn add_gang(&mut self, kind: JobKind, needs: impl IntoIterator<Item = JobKey>, ranks: u32) -> JobKey {
        let key = kind.key();
        self.0.entry(key.clone()).or_insert_with(|| PlannedJob { kind, needs: needs.into_iter().collect(), ranks });
        key
    }

    fn add_stage(&mut self, spec: &RunSpec, stage: &StageSpec) {
        let tokenizer = JobKind::Tokenizer.key();
        let mut needs = vec![tokenizer.clone()];
        for corpus in stage.mixture.keys() {
            let kind = JobKind::Pack { corpus: corpus.clone(), sequence_length: stage.sequence_length };
            needs.push(self.add(kind, [tokenizer.clone(), merge_key(corpus)]));
        }
        if let Some(earlier) = stage.from.earlier() {
            needs.push(train_key(earlier));
        }
        // Stages run in the file's order, also when one does not build on the other: they share the same slots.
        if let Some(at) = spec.stages.iter().position(|s| s.name == stage.name).filter(|at| *at > 0) {
            needs.push(train_key(&spec.stages[at - 1].name));
        }
        let train = self.add_gang(JobKind::Train { stage: stage.name.clone() }, needs, spec.resources.ranks);
        let export = self.add(JobKind::Export { stage: stage.name.clone() }, [train, tokenizer]);
        for variant in variants(spec, &stage.name) {
            // The exported folder also holds the tokenizer, which a GGUF file does not give back.
            let model = match variant {
                Variant::Full => export.clone(),
                Variant::Quantized(method) => self.add(JobKind::Quantize { stage: stage.name.clone(), method }, [export.clone()]),
            };
            self.add_exams(spec, stage, variant, [&model, &export]);
        }
    }

    fn add_exams(&mut self, spec: &RunSpec, stage: &StageSpec, variant: Variant, model: [&JobKey; 2]) {
        for exam in spec.exams.iter().filter(|e| e.stages.is_empty() || e.stages.contains(&stage.name)) {
            let mut needs = model.map(Clone::clone).to_vec();
            needs.extend(exam.corpus.as_ref().map(merge_key));
            if variant != Variant::Full {
                // A compressed model is compared with the full one on the same questions.
                needs.push(exam_key(&stage.name, Variant::Full, &exam.name));
            }
            self.add(JobKind::Exam { stage: stage.name.clone(), variant, exam: exam.name.clone() }, needs);
        }
    }
}

#[cfg(test)]
mod tests;
