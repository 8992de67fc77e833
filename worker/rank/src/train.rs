//! One rank of a train gang: join, begin, then fetch, step, record, checkpoint until the stage's last step.
//!
//! What must stay true: the samples of a step follow from the order alone; all ranks checkpoint at the same steps, because the policy
//! and the agreed control word are the same for all. A checkpoint stops the loop for a copy; `writer` does the rest.

use crate::carried;
use crate::gang;
use crate::heart::Heart;
use crate::meter::{self, Meter};
use crate::model::{failure, rows, stage_spec, vocabulary};
use crate::steplog::StepLog;
use crate::writer::{Order, Writer};
use anyhow::{Context as _, anyhow};
use osler_core::accounting::{Dtype, Flops};
use osler_core::checkpoint::{Manifest, PhaseSeconds, StepRecord};
use osler_core::ids::StageName;
use osler_core::job::{FaultClass, JobKind, JobResult, Summary};
use osler_core::mlm::{Masked, Masking};
use osler_core::order::{SampleOrder, SampleSum, rank_slots};
use osler_core::paths;
use osler_core::process::{CheckpointRef, phase};
use osler_core::record::stage_order;
use osler_core::rewind::Batches;
use osler_core::spec::{Init, Precision, StageSpec};
use osler_corpus::{Dataset, DatasetManifest, Verify};
use osler_engine::checkpoint::SliceSet;
use osler_engine::step::{Batch, StepStats, Trainer, TrainerOptions};
use osler_engine::{Device, EngineError, hf};
use osler_model::Rows;
use osler_runtime::store::BlockingStore;
use osler_worker::harness::{Ended, Failure, Job, out_of_memory, user};
use osler_worker::jobs::{DATASET, corpus_failure, load_tokenizer};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A bit of the control word: this rank was asked to stop.
const STOP: u32 = 1;

pub fn run(job: &mut Job, stage: &StageName) -> Result<Ended, Failure> {
    job.say("fetching");
    let (mut meter, mut watch) = (Meter::begin(), Instant::now());
    let stage = stage_spec(job, stage)?.clone();
    let mut seconds = PhaseSeconds { startup: meter::process_age(), ..PhaseSeconds::default() };
    if job.assignment.rank == 0 {
        // What only the export needs: better known to be there before the training than after it.
        drop(carried::generation(job, &stage)?);
    }
    let samples = Samples::open(job, &stage)?;
    let device = gang::device(job)?;
    seconds.startup += lap(&mut watch);
    job.say("meeting");
    let group = gang::join(job, device)?;
    job.say("loading");
    seconds.rendezvous = lap(&mut watch);
    let mut trainer = Trainer::new(options(job, &stage, device)?, group).map_err(failure)?;
    begin(job, &stage, &mut trainer)?;
    measure(&mut meter, job, &stage, &trainer);
    seconds.load = lap(&mut watch);
    tracing::info!(stage = %stage.name, step = trainer.steps_done(), of = stage.steps(), "training");
    let writer = writer(job, &trainer)?;
    let segment = Segment { ledger: vec![], seconds };
    let heart = Heart::start(job.heart.clone(), trainer.activity(), stage.steps());
    let log = StepLog::new(stage.steps(), stage.tokens_per_step());
    Loop { segment, samples, writer, meter, heart, log, pace: Pace::new() }.run(job, &stage, trainer)
}

fn writer(job: &Job, trainer: &Trainer) -> anyhow::Result<Writer> {
    let assignment = &job.assignment;
    let values = trainer.layout().slice(assignment.rank, assignment.world_size).len();
    Writer::start(BlockingStore::open(&assignment.store)?, job.scratch.clone(), values)
}

fn options(job: &Job, stage: &StageSpec, device: Device) -> Result<TrainerOptions, Failure> {
    let spec = &job.assignment.spec;
    let vocabulary = vocabulary(job, stage)?;
    Ok(TrainerOptions {
        model: spec.model.clone(),
        vocab: vocabulary.size,
        seed: spec.seed,
        optimizer: stage.optimizer.clone(),
        schedule: stage.schedule.clone(),
        guard: stage.guard.clone(),
        total_steps: stage.steps(),
        global_batch: stage.global_batch,
        // A gang may have more ranks than the run file says, and then less to share.
        micro_batch: stage.micro_batch.min(stage.global_batch / job.assignment.world_size.max(1)).max(1),
        sequence_length: stage.sequence_length,
        compute: stage.compute,
        determinism: spec.resources.determinism,
        zero: spec.resources.zero,
        end_of_text: Some(vocabulary.end_of_text),
        device,
        timeout: gang::STEP,
        bucket_bytes: osler_engine::reduce::BUCKET_BYTES,
    })
}

/// Tells the meter what this rank computes and on what.
fn measure(meter: &mut Meter, job: &Job, stage: &StageSpec, trainer: &Trainer) {
    let TrainerOptions { model, vocab, device, .. } = trainer.options();
    let vocab = u32::try_from(*vocab).unwrap_or(u32::MAX);
    let flops = Flops::of_stage(model, vocab, stage);
    let dtype = match stage.compute.precision {
        Precision::Fp32 => Dtype::Fp32,
        Precision::Bf16 => Dtype::Bf16,
    };
    meter.computes(flops, *device, dtype, job.assignment.spec.resources.threads_per_rank);
}

fn lap(watch: &mut Instant) -> f64 {
    let seconds = watch.elapsed().as_secs_f64();
    *watch = Instant::now();
    seconds
}

/// Puts the trainer where this attempt goes on: its own newest checkpoint, else where the stage begins.
fn begin(job: &Job, stage: &StageSpec, trainer: &mut Trainer) -> Result<(), Failure> {
    if let Some(checkpoint) = &job.assignment.checkpoint {
        return load(job, checkpoint, trainer);
    }
    let initial = || job.assignment.initial.as_ref().context("the assignment lacks the checkpoint that the stage begins with");
    match &stage.from {
        Init::Scratch => Ok(()),
        Init::Stage(_) => {
            let mut weights = SliceSet::open(&parts(job, initial()?)?, trainer.layout()).map_err(failure)?;
            trainer.load_weights_only(&mut weights).map_err(failure)
        }
        Init::Fork { .. } => {
            load(job, initial()?, trainer)?;
            trainer.begin_stage();
            Ok(())
        }
        Init::HuggingFace(folder) => {
            let path = Path::new(folder);
            let mut weights = hf::import(path).map_err(failure)?;
            let spec = &job.assignment.spec;
            let Summary::Tokenizer { vocab_size, .. } = job.input(&JobKind::Tokenizer)?.summary else {
                return Err(anyhow!("the tokenizer job has another job's result").into());
            };
            let rows = rows(job, path, &weights, vocab_size as usize)?;
            let Some(extend) = spec.tokenizer.extend().filter(|_| !rows.made.is_empty()) else {
                return trainer.load_weights_only(&mut weights).map_err(failure);
            };
            let Rows { held, total, made, .. } = &rows;
            tracing::info!(held, total, made = made.len(), from = made.start, rule = ?extend.rule, "rows of new tokens are made");
            let mut extended = hf::Extended::new(&mut weights, &spec.model, rows, extend.rule, spec.seed);
            trainer.load_weights_only(&mut extended).map_err(failure)
        }
    }
}

/// Weights, moments and counts, all of them.
fn load(job: &Job, checkpoint: &CheckpointRef, trainer: &mut Trainer) -> Result<(), Failure> {
    trainer.load_slices(&parts(job, checkpoint)?).map_err(failure)?;
    if trainer.steps_done() != checkpoint.step {
        return Err(anyhow!("the checkpoint's slices are of step {}, its manifest of {}", trainer.steps_done(), checkpoint.step).into());
    }
    Ok(())
}

/// The verified slices of a published checkpoint.
pub fn parts(job: &Job, checkpoint: &CheckpointRef) -> anyhow::Result<Vec<PathBuf>> {
    let path = &checkpoint.manifest.path;
    let bytes = job.store.read(&checkpoint.manifest)?;
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| format!("read {path}"))?;
    anyhow::ensure!(
        manifest.format == Manifest::FORMAT && manifest.step == checkpoint.step,
        "{path}: it is not the manifest of step {}",
        checkpoint.step
    );
    manifest.parts.iter().map(|part| Ok(job.store.fetch(part)?)).collect()
}

/// What has happened since the last checkpoint.
#[derive(Default)]
struct Segment {
    ledger: Vec<StepRecord>,
    seconds: PhaseSeconds,
}

struct Loop {
    segment: Segment,
    samples: Samples,
    writer: Writer,
    meter: Meter,
    heart: Heart,
    log: StepLog,
    pace: Pace,
}

impl Loop {
    fn run(mut self, job: &mut Job, stage: &StageSpec, mut trainer: Trainer) -> Result<Ended, Failure> {
        let ended = self.steps(job, stage, &mut trainer);
        match &ended {
            Ok(_) => self.heart.during(phase::SAVING, || self.writer.finish())?,
            // All ranks see it at the same step, and what was saved before it should be published. Others need the process gone.
            Err(Failure { class: FaultClass::User, .. }) => {
                if let Err(Failure { error, .. }) = self.writer.finish() {
                    tracing::error!("the checkpoint before this was not saved: {error:#}");
                }
            }
            Err(_) => {}
        }
        ended
    }

    fn steps(&mut self, job: &mut Job, stage: &StageSpec, trainer: &mut Trainer) -> Result<Ended, Failure> {
        let total = stage.steps();
        while trainer.steps_done() < total {
            self.writer.check()?;
            let control = if job.stop_requested() { STOP } else { 0 };
            let fetching = Instant::now();
            let step = trainer.steps_done();
            let (sequences, sum) = self.samples.fetch(step)?;
            let masked = self.samples.masked(step, &sequences);
            self.segment.seconds.data += fetching.elapsed().as_secs_f64();
            let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let batch = masked.as_deref().map_or(Batch::Next(&sequences), Batch::Masked);
            let stats = trainer.step_on(batch, control).map_err(step_failure)?;
            self.record(&stats, sum);
            self.report_progress(job, &stats, stage);
            if let Some(skipped) = stats.skipped.and_then(|_| trainer.rewind()) {
                trainer.settle().map_err(step_failure)?;
                return Ok(Ended::Rewind { skipped });
            }
            let (done, stopping) = (trainer.steps_done(), stats.control & STOP != 0);
            let due = done.is_multiple_of(job.assignment.spec.checkpoint.every_steps);
            if stopping || done == total {
                // Nobody leaves while others still wait for what it updated.
                trainer.settle().map_err(step_failure)?;
            }
            if done == total {
                self.meter.measure_again();
            }
            if due || stopping || done == total {
                self.checkpoint(job, trainer, stopping || done == total)?;
            }
            if stopping && done < total {
                return Ok(Ended::Stopped { step: done });
            }
        }
        let none = || user(anyhow!("no step of stage {} was applied: the guard skipped all of them", stage.name));
        let final_loss = trainer.last_loss().ok_or_else(none)?;
        let summary = Summary::Train { steps: total, tokens: total * stage.tokens_per_step(), final_loss };
        Ok(Ended::Done(JobResult { outputs: BTreeMap::new(), summary }))
    }

    fn record(&mut self, stats: &StepStats, samples: SampleSum) {
        let StepStats { step, loss, grad_norm, lr, skipped, .. } = *stats;
        if let Some(why) = skipped {
            tracing::warn!(step, loss, grad_norm, "skipped: {why}");
        }
        self.segment.ledger.push(StepRecord { step, samples, loss, grad_norm, lr, skipped });
        self.segment.seconds.add(&stats.phases);
        self.meter.tick();
    }

    fn report_progress(&mut self, job: &mut Job, stats: &StepStats, stage: &StageSpec) {
        let loss = Some(stats.loss).filter(|loss| loss.is_finite());
        let word = self.heart.step(stats.step + 1, loss, self.pace.tick(stage.tokens_per_step()));
        if job.assignment.rank == 0 {
            self.log.step(stats);
            job.progress(word);
        }
    }

    /// Copies this rank's slice and leaves it to the writer. The next segment begins here.
    fn checkpoint(&mut self, job: &Job, trainer: &Trainer, awaited: bool) -> Result<(), Failure> {
        let started = Instant::now();
        let assignment = &job.assignment;
        let (step, rank, world_size) = (trainer.steps_done(), assignment.rank, assignment.world_size);
        let room = self.heart.during(phase::SAVING, || self.writer.room())?;
        let slice = trainer.slice_into(room, rank, world_size).map_err(failure)?;
        let path = paths::part(&assignment.id, assignment.generation, step, rank);
        let Segment { ledger, mut seconds } = std::mem::take(&mut self.segment);
        seconds.checkpoint += started.elapsed().as_secs_f64();
        self.writer.write(Order { slice, path, rank, world_size, step, ledger, seconds, usage: self.meter.take(), awaited })
    }
}

/// A step that fails with numbers fails the same way again.
fn step_failure(error: EngineError) -> Failure {
    match error {
        error if error.is_out_of_memory() => out_of_memory(error),
        EngineError::Distributed(_) | EngineError::Io { .. } => error.into(),
        other => user(other),
    }
}

/// This rank's sequences, by step.
struct Samples {
    order: SampleOrder,
    batches: Batches,
    /// By component.
    datasets: Vec<Dataset>,
    slots: Range<u32>,
    /// A bert's.
    masking: Option<Masking>,
}

impl Samples {
    fn open(job: &Job, stage: &StageSpec) -> Result<Self, Failure> {
        let assignment = &job.assignment;
        let order = stage_order(&assignment.spec, stage, |key| assignment.inputs.get(key)).map_err(user)?;
        let mut datasets = vec![];
        for component in order.components() {
            let packed = job.input(&JobKind::Pack { corpus: component.corpus.clone(), sequence_length: stage.sequence_length })?;
            let manifest = std::fs::read(job.fetch(packed, DATASET)?).context("read dataset manifest")?;
            let manifest: DatasetManifest = serde_json::from_slice(&manifest).context("read dataset manifest")?;
            let folder = job.scratch.join(format!("dataset-{}", component.corpus));
            for shard in &manifest.shards {
                job.link(packed, &shard.bin.name, &folder.join(&shard.bin.name))?;
            }
            datasets.push(Dataset::open(manifest, &folder, Verify::Sizes).map_err(corpus_failure)?);
        }
        let slots = rank_slots(stage.global_batch, assignment.rank, assignment.world_size).map_err(user)?;
        let masking = masking(job, stage)?;
        Ok(Self { order, batches: assignment.batches.clone(), datasets, slots, masking })
    }

    /// What a bert sees and has to guess of this rank's sequences.
    fn masked(&self, step: u64, sequences: &[Vec<u32>]) -> Option<Vec<Masked>> {
        let (masking, batch) = (self.masking.as_ref()?, self.batches.of(step));
        Some(self.slots.clone().zip(sequences).map(|(slot, tokens)| masking.mask(batch, slot, tokens)).collect())
    }

    /// The sequences of this rank's slots, and what they add up to.
    fn fetch(&self, step: u64) -> Result<(Vec<Vec<u32>>, SampleSum), Failure> {
        let mut sum = SampleSum::default();
        let mut sequences = vec![];
        let batch = self.batches.of(step);
        for slot in self.slots.clone() {
            let id = self.order.sample(batch, slot);
            let dataset = self.datasets.get(usize::from(id.component)).context("the order names a component that is not open")?;
            let mut tokens = vec![];
            dataset.sequence(id.sequence, &mut tokens).map_err(corpus_failure)?;
            sum.add(id);
            sequences.push(tokens);
        }
        Ok((sequences, sum))
    }
}

fn masking(job: &Job, stage: &StageSpec) -> Result<Option<Masking>, Failure> {
    let Some(mlm) = stage.mlm else { return Ok(None) };
    let pieces = load_tokenizer(job)?.pieces().ok_or_else(|| user(anyhow!("a bert model needs a WordPiece tokenizer")))?;
    Ok(Some(Masking::new(job.assignment.spec.seed, stage.name.clone(), mlm, pieces.pieces)))
}

/// Tokens per second over the last few seconds, for people.
struct Pace {
    since: Instant,
    tokens: u64,
    shown: Option<f64>,
}

impl Pace {
    const WINDOW_SECONDS: f64 = 5.0;

    fn new() -> Self {
        Self { since: Instant::now(), tokens: 0, shown: None }
    }

    fn tick(&mut self, tokens: u64) -> Option<f64> {
        self.tokens += tokens;
        let seconds = self.since.elapsed().as_secs_f64();
        if seconds >= Self::WINDOW_SECONDS || self.shown.is_none() {
            self.shown = Some(self.tokens as f64 / seconds.max(1e-9));
        }
        if seconds >= Self::WINDOW_SECONDS {
            (self.since, self.tokens) = (Instant::now(), 0);
        }
        self.shown
    }
}
