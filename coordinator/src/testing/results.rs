//! What each kind of job would leave behind.

use osler_core::accounting::Usage;
use osler_core::checkpoint::{ObjectRef, Part, PhaseSeconds, StepRecord};
use osler_core::digest::Digest;
use osler_core::job::{ExamSummary, JobKind, JobResult, Summary};
use osler_core::order::{Component, SampleOrder, SampleSum, rank_slots};
use osler_core::paths;
use osler_core::process::Assignment;
use osler_core::record::stage_order;
use osler_core::spec::StageSpec;
use std::collections::BTreeMap;

/// What a part holds, and an output.
pub const PART: &[u8] = b"part";
pub const OUTPUT: &[u8] = b"out";

pub fn result(work: &Assignment) -> JobResult {
    let outputs = match &work.kind {
        JobKind::Train { .. } => BTreeMap::new(),
        _ => {
            let path = paths::output(&work.id, work.generation, "out");
            BTreeMap::from([("out".to_owned(), object(path, OUTPUT))])
        }
    };
    JobResult { outputs, summary: summary(work) }
}

fn object(path: String, bytes: &[u8]) -> ObjectRef {
    ObjectRef { path, bytes: bytes.len() as u64, digest: Digest::of(bytes) }
}

fn summary(work: &Assignment) -> Summary {
    match &work.kind {
        JobKind::Clean { corpus, source } => Summary::Clean {
            source: work.spec.corpora[corpus].files[*source as usize].clone(),
            source_bytes: 100,
            source_digest: Digest::of(b"source"),
            documents: 9,
            removed: BTreeMap::from([("too-short".to_owned(), 1)]),
            bad_lines: vec![],
        },
        JobKind::Merge { .. } => {
            Summary::Merge { documents: 8, held_out: 1, words: 100, removed: BTreeMap::new(), identity: Digest::of(b"corpus") }
        }
        JobKind::Tokenizer => Summary::Tokenizer { vocab_size: 300, end_of_text: 0, front: None },
        JobKind::Pack { corpus, .. } => Summary::Pack {
            component: Component { corpus: corpus.clone(), sequences: 23, parts: 1, fingerprint: Digest::of(corpus.as_str().as_bytes()) },
            tokens: 23 * 16,
            documents: 8,
            dropped_tokens: 5,
            vocab_size: 300,
            unknown: Default::default(),
        },
        JobKind::Train { stage } => {
            let stage = work.spec.stage(stage).unwrap();
            Summary::Train { steps: stage.steps(), tokens: stage.steps() * stage.tokens_per_step(), final_loss: loss(stage.steps() - 1) }
        }
        JobKind::Export { .. } => Summary::Export { step: work.checkpoint.as_ref().unwrap().step, parameters: 1000, bytes: 4000 },
        JobKind::Quantize { method, .. } => {
            Summary::Quantize { method: *method, tensors: 7, kept: 3, bytes_before: 4000, bytes_after: 1100, bits_per_weight: 8.8 }
        }
        JobKind::Exam { variant, exam, .. } => Summary::Exam(ExamSummary {
            task: exam.clone(),
            variant: *variant,
            protocol: "letter".into(),
            n: 40,
            accuracy: Some(62.5),
            stderr: Some(7.6),
            majority_baseline: Some(25.0),
            truncated: 0,
            perplexity: None,
            bits_per_byte: None,
            paired: None,
            perplexity_increase: None,
        }),
    }
}

fn loss(step: u64) -> f64 {
    4.0 / (1.0 + step as f64)
}

/// The order as a rank builds it: from its assignment alone.
pub fn order(work: &Assignment, stage: &StageSpec) -> SampleOrder {
    stage_order(&work.spec, stage, |key| work.inputs.get(key)).unwrap()
}

/// One rank's part for the updates `from..step`.
pub fn part(work: &Assignment, from: u64, step: u64) -> Part {
    let JobKind::Train { stage } = &work.kind else { panic!("{} does not train", work.id) };
    let stage = work.spec.stage(stage).unwrap();
    let order = order(work, stage);
    let slots = rank_slots(stage.global_batch, work.rank, work.world_size).unwrap();
    let record = |step| {
        let mut samples = SampleSum::default();
        slots.clone().for_each(|slot| samples.add(order.sample(work.batches.of(step), slot)));
        StepRecord { step, samples, loss: loss(step), grad_norm: 1.0, lr: 1e-3, skipped: None }
    };
    let path = paths::part(&work.id, work.generation, step, work.rank);
    let seconds = PhaseSeconds { data: 0.1, forward: 0.2, backward: 0.3, ..PhaseSeconds::default() };
    let object = object(path, PART);
    let (ledger, usage) = ((from..step).map(record).collect(), Usage::default());
    Part { rank: work.rank, world_size: work.world_size, step, object, ledger, seconds, usage }
}
