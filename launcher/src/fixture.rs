//! A small run made by hand, for tests: two stages, exams, an int8 variant, one failure on the way.

use crate::client::{Seen, Word};
use crate::manifests::Manifests;
use osler_core::accounting::{Basis, DeviceUse, Dtype, EnergyReading, Flops, Peak, Usage};
use osler_core::checkpoint::{Manifest, ObjectRef, PhaseSeconds, StepRecord};
use osler_core::digest::Digest;
use osler_core::gate::GateOutcome;
use osler_core::guard::Skipped;
use osler_core::ids::*;
use osler_core::job::*;
use osler_core::order::Component;
use osler_core::plan::{plan, train_key};
use osler_core::process::Progress;
use osler_core::record::*;
use osler_core::rewind::Rewind;
use osler_core::spec::{Method, OnFail, RunSpec, Variant, parse};
use std::collections::{BTreeMap, BTreeSet};

pub const RUN_FILE: &str = r#"
name = "tiny"
description = "A <tiny> run & its \"report\""
seed = 7
[corpus.general]
format = "jsonl"
files = "/data/general.jsonl"
[corpus.domain]
format = "pubmed-xml"
files = ["/data/1.xml.gz", "/data/2.xml.gz"]
[tokenizer]
train = { vocab_size = 512 }
[model]
family = "llama"
dim = 32
layers = 2
heads = 4
[[stage]]
name = "general"
from = "scratch"
mixture = { general = 1 }
steps = 4
sequence_length = 8
global_batch = 4
optimizer = { lr = 1e-3 }
schedule = { kind = "constant", warmup_steps = 0 }
[[stage]]
name = "domain"
from = "stage:general"
mixture = { general = 1, domain = 3 }
steps = 10
sequence_length = 8
global_batch = 4
optimizer = { lr = 1e-3 }
schedule = { kind = "constant", warmup_steps = 0 }
[after_stage]
quantize = ["int8"]
[[after_stage.exam]]
name = "seen"
format = "medmcqa"
files = "/data/seen.jsonl"
protocol = "cloze"
[[after_stage.exam]]
name = "domain-text"
format = "held-out"
corpus = "domain"
[[after_stage.gate]]
exam = "seen"
stages = ["domain"]
min_accuracy = 90.0
[checkpoint]
every_steps = 5
[resources]
ranks = 2
"#;

pub fn spec() -> RunSpec {
    parse(RUN_FILE, "tiny.toml", &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn object(path: &str) -> ObjectRef {
    ObjectRef { path: path.to_owned(), bytes: path.len() as u64, digest: Digest::of(path.as_bytes()) }
}

fn exam(stage: &StageName, variant: Variant, name: &ExamName) -> ExamSummary {
    let (full, domain) = (variant == Variant::Full, stage.as_str() == "domain");
    let mut summary = ExamSummary {
        task: name.clone(),
        variant,
        protocol: "cloze".into(),
        n: 400,
        accuracy: None,
        stderr: None,
        majority_baseline: None,
        truncated: 0,
        perplexity: None,
        bits_per_byte: None,
        perplexity_increase: None,
        paired: None,
    };
    if name.as_str() == "seen" {
        summary.accuracy = Some(if domain { 96.5 } else { 27.0 });
        summary.stderr = Some(if domain { 0.92 } else { 2.22 });
        summary.majority_baseline = Some(26.25);
        summary.paired = (!full).then_some(PairedSummary { n: 400, delta: -0.25, ci95: (-0.75, 0.25), mcnemar_p: 1.0, gained: 0, lost: 1 });
    } else {
        summary.n = 60;
        summary.perplexity = Some(12.5);
        summary.bits_per_byte = Some(1.375);
        summary.perplexity_increase = (!full).then_some(0.0012);
    }
    summary
}

fn summary(spec: &RunSpec, kind: &JobKind) -> Summary {
    let removed = |rule: &str, n| BTreeMap::from([(rule.to_owned(), n)]);
    match kind {
        JobKind::Clean { corpus, source } => Summary::Clean {
            source: spec.corpora[corpus].files[*source as usize].clone(),
            source_bytes: 1000,
            source_digest: Digest::of(b"source"),
            documents: 100,
            removed: removed("retracted", 2),
            bad_lines: vec![],
        },
        JobKind::Merge { corpus } => Summary::Merge {
            documents: 190,
            held_out: 10,
            words: 20_000,
            removed: removed("duplicate", 3),
            identity: Digest::of(corpus.as_str().as_bytes()),
        },
        JobKind::Tokenizer => Summary::Tokenizer { vocab_size: 512, end_of_text: 0, front: None },
        JobKind::Pack { corpus, .. } => Summary::Pack {
            component: Component { corpus: corpus.clone(), sequences: 50, parts: 1, fingerprint: Digest::of(b"packed") },
            tokens: 400,
            documents: 190,
            dropped_tokens: 3,
            vocab_size: 512,
            unknown: Default::default(),
        },
        JobKind::Train { stage } => {
            let stage = spec.stage(stage).unwrap();
            Summary::Train { steps: stage.steps(), tokens: stage.steps() * stage.tokens_per_step(), final_loss: 1.0 }
        }
        JobKind::Export { .. } => Summary::Export { step: 10, parameters: 40_000, bytes: 160_000 },
        JobKind::Quantize { .. } => Summary::Quantize {
            method: Method::Int8,
            tensors: 14,
            kept: 6,
            bytes_before: 160_000,
            bytes_after: 45_000,
            bits_per_weight: 9.0,
        },
        JobKind::Exam { stage, variant, exam: name } => Summary::Exam(exam(stage, *variant, name)),
    }
}

/// The whole run, finished; the train job of the second stage lost its first attempt after step 5.
pub fn finished() -> (RunRecord, Manifests) {
    let spec = spec();
    let mut record = RunRecord {
        format: RunRecord::FORMAT,
        version: 40,
        epoch: Epoch(2),
        spec_digest: spec.digest(),
        sources: Default::default(),
        submitted_at: Millis(1_795_410_000_000),
        aged: Default::default(),
        state: RunState::Finished,
        stop: None,
        jobs: BTreeMap::new(),
        next_generation: Generation(30),
        checkpoints: BTreeMap::new(),
        rewinds: BTreeMap::new(),
        gates: vec![],
        events: vec![],
        next_event: 4,
        history: Default::default(),
        finished: None,
        swept: false,
        cluster_age: 0,
        spec,
    };
    for (at, (key, planned)) in plan(&record.spec).into_iter().enumerate() {
        let result = JobResult {
            outputs: BTreeMap::from([("out".to_owned(), object(key.as_str()))]),
            summary: summary(&record.spec, &planned.kind),
        };
        let generation = Generation(at as u64 + 1);
        let status = JobState::Succeeded { generation, at: Millis(1_795_410_060_000), result };
        let past = vec![PastAttempt {
            cause: None,
            generation,
            workers: BTreeSet::from([WorkerName::new("local").unwrap()]),
            started_at: Millis(1_795_410_020_000),
            ended_at: Millis(1_795_410_060_000),
            fault: None,
            steps_published: 0,
            others: BTreeMap::new(),
            span: None,
        }];
        record.jobs.insert(key, JobRecord { past, ..JobRecord::new(planned, status) });
    }
    let mut manifests = Manifests::new();
    for (stage, steps) in [("general", vec![4]), ("domain", vec![5, 10])] {
        let stage = record.spec.stage(&StageName::new(stage).unwrap()).unwrap().clone();
        let order = record.order(&stage).unwrap();
        let mut parent = None;
        for step in steps {
            let ledger = (parent.unwrap_or(0)..step).map(|s| StepRecord {
                step: s,
                samples: order.expected(s),
                loss: 6.0 / (s + 1) as f64,
                grad_norm: 1.0,
                lr: 1e-3,
                skipped: (s == 7).then_some(Skipped::GradNormSpike),
            });
            let manifest = Manifest {
                format: Manifest::FORMAT,
                run: record.name().clone(),
                stage: stage.name.clone(),
                step,
                generation: Generation(20 + step),
                world_size: 2,
                spec: record.spec_digest,
                parent,
                parts: vec![object("p0"), object("p1")],
                ledger: ledger.collect(),
                seconds: PhaseSeconds {
                    data: 1.0,
                    forward: 8.0,
                    backward: 16.0,
                    communication: 4.0,
                    update: 2.0,
                    checkpoint: 1.0,
                    ..PhaseSeconds::default()
                },
                usage: Usage {
                    seconds: 17.0,
                    flops_per_token: Some(Flops { model: 3e6, hardware: 4e6 }),
                    devices: vec![DeviceUse {
                        name: "processor <b>".into(),
                        dtype: Dtype::Fp32,
                        threads: 1,
                        ranks: 2,
                        peak: Some(Peak { flops: 4e7, basis: Basis::Measured }),
                    }],
                    energy: vec![EnergyReading::estimated("cpu", 12.0, 30.0)],
                    peak_memory: 300 << 20,
                },
                published_at: Millis(1_795_410_030_000),
            };
            let published = Published {
                step,
                generation: manifest.generation,
                manifest: object(&format!("m{step}")),
                at: manifest.published_at,
                retired: step == 5,
                mean_loss: manifest.mean_loss(),
                world_size: Some(2),
                pinned: false,
                skipped: manifest.skipped(),
            };
            record.checkpoints.entry(stage.name.clone()).or_default().push(published);
            manifests.entry(stage.name.clone()).or_default().push(manifest);
            parent = Some(step);
        }
    }
    let domain = StageName::new("domain").unwrap();
    if let Some(job) = record.jobs.get_mut(&train_key(&domain)) {
        let mut fault = Fault::new(FaultClass::Infrastructure, "killed by signal 9 <b>");
        fault.origin = Some("local/1".into());
        fault.log_tail = vec!["step 6".into(), "\u{1b}[31mlast words".into()];
        let lost = PastAttempt {
            fault: Some(fault),
            generation: Generation(25),
            ended_at: Millis(1_795_410_015_000),
            started_at: Millis(1_795_410_000_000),
            others: BTreeMap::from([("local/0".to_owned(), "infrastructure: connection closed by peer".to_owned())]),
            ..job.past[0].clone()
        };
        job.past.insert(0, lost);
    }
    // The last attempts wrote the last checkpoints.
    for (stage, generation) in [("general", 24), ("domain", 30)] {
        let job = record.jobs.get_mut(&train_key(&StageName::new(stage).unwrap())).unwrap();
        job.past.last_mut().unwrap().generation = Generation(generation);
    }
    // Its data is far beyond what the planned steps read.
    let rewind = Rewind {
        at: Millis(1_795_410_015_000),
        generation: Some(Generation(25)),
        to: 5,
        left_out: 1_000..1_002,
        abandoned: vec![],
        reason: "spikes <b>".into(),
        damaged: None,
    };
    record.rewinds.insert(domain.clone(), vec![rewind]);
    record.gates.push(GateOutcome {
        stage: domain,
        exam: "seen".into(),
        variant: Variant::Full,
        passed: true,
        evidence: "accuracy 96.50 %, at least 90 %".into(),
        on_fail: OnFail::Stop,
        waived: None,
    });
    let event = |id, kind, job: Option<&str>, message: &str| Event {
        id,
        at: Millis(1_795_410_000_000 + 1000 * id),
        kind,
        job: job.map(JobKey::from),
        generation: None,
        message: message.into(),
        reason: None,
    };
    record.events = vec![
        event(1, EventKind::Run, None, "submitted: 20 jobs"),
        event(2, EventKind::Checkpoint, Some("train/domain"), "published step 5"),
        event(3, EventKind::Run, None, "finished"),
    ];
    (record, manifests)
}

/// The same run while its second stage trains: step 5 published, step 7 computed, nothing after it done.
pub fn running() -> Seen {
    let (mut record, _) = finished();
    let domain = StageName::new("domain").unwrap();
    record.state = RunState::Running;
    record.gates.clear();
    record.events.pop();
    record.checkpoints.get_mut(&domain).unwrap().pop();
    record.checkpoints.get_mut(&domain).unwrap()[0].retired = false;
    let place = Place { worker: WorkerName::new("local").unwrap(), incarnation: Incarnation(1) };
    let attempt = Attempt {
        generation: Generation(25),
        places: vec![place.clone(), place],
        started_at: Millis(1_795_410_000_000),
        rendezvous: None,
        ended: BTreeMap::new(),
        parts: BTreeMap::new(),
        published: 5,
        others: BTreeMap::new(),
        leave: None,
        backfill: false,
        began: None,
    };
    for (key, job) in &mut record.jobs {
        if *key == train_key(&domain) {
            job.status = JobState::Active { attempt: attempt.clone() };
            job.past.clear();
        } else if job.planned.kind.stage() == Some(&domain) {
            job.status = JobState::Blocked;
            job.past.clear();
        }
    }
    let progress = Progress {
        phase: "training".into(),
        done: 7,
        total: 10,
        unit: "steps".into(),
        loss: Some(2.5),
        tokens_per_second: Some(32.0),
        ..Progress::default()
    };
    Seen {
        record,
        words: vec![Word { job: train_key(&domain), rank: 0, progress, at: Millis(1_795_410_010_000) }],
        waiting: vec![],
        budgets: BTreeMap::new(),
        alarm: None,
    }
}
