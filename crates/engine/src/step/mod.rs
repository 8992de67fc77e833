//! The training step: fetch, forward, backward, reduce, agree, clip, update.
//!
//! Every rank calls [`Trainer::step`] for the same step with its own share of the batch. All ranks leave with the same weights and
//! the same numbers, or all with an error. A rank that fails alone must end: the others then see a lost peer.

mod agree;
mod head;

use crate::EngineError;
use crate::flat::{FlatBuffers, FlatLayout, view};
use crate::models::params::{Param, parameters};
use crate::models::{Model, ids_tensor, initialise};
use crate::reduce::{BucketPlan, Reducer};
use crate::source::TensorSource;
use agree::Agreed;
use osler_core::checkpoint::PhaseSeconds;
use osler_core::digest::Digest;
use osler_core::spec::{ComputeSpec, Determinism, ModelSpec, OptimizerSpec, ScheduleSpec};
use osler_torch_dist::{AdamW, ProcessGroup, fused_adamw_step};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

#[derive(Debug, Clone)]
pub struct TrainerOptions {
    pub model: ModelSpec,
    pub vocab: usize,
    /// Draws the initial weights.
    pub seed: u64,
    pub optimizer: OptimizerSpec,
    pub schedule: ScheduleSpec,
    pub total_steps: u64,
    /// Sequences a step, over all ranks: what the loss is averaged over.
    pub global_batch: u32,
    /// Sequences that are computed at once; the last ones of a rank's share may be fewer.
    pub micro_batch: u32,
    /// Tokens that are predicted in a sequence.
    pub sequence_length: u32,
    pub compute: ComputeSpec,
    pub determinism: Determinism,
    /// Each rank keeps its share of the moments only.
    pub zero: bool,
    /// The token that ends a document; a document mask needs it.
    pub end_of_text: Option<u32>,
    pub device: Device,
    /// Bounds every wait for other ranks.
    pub timeout: Duration,
    /// Usually [`BUCKET_BYTES`](crate::reduce::BUCKET_BYTES).
    pub bucket_bytes: usize,
}

impl TrainerOptions {
    fn check(&self) -> Result<(), EngineError> {
        let mut problems = vec![];
        for (field, value) in [
            ("total_steps", self.total_steps),
            ("global_batch", self.global_batch.into()),
            ("micro_batch", self.micro_batch.into()),
            ("sequence_length", self.sequence_length.into()),
        ] {
            if value == 0 {
                problems.push(format!("{field} is 0"));
            }
        }
        if self.sequence_length > self.model.max_positions {
            problems.push(format!("sequence_length {} is above model.max_positions {}", self.sequence_length, self.model.max_positions));
        }
        if !self.model.family.causal() {
            problems.push(format!("model.family is {}, and only decoders are trained", self.model.family));
        }
        if !self.optimizer.clip.is_finite() || self.optimizer.clip < 0.0 {
            problems.push(format!("optimizer.clip is {}, must be 0 (off) or more", self.optimizer.clip));
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Model(problems)) }
    }
}

/// One step as every rank saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepStats {
    /// The update that made `step` into `step + 1`.
    pub step: u64,
    /// Mean over the tokens of the global batch, before the update.
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub lr: f64,
    /// Of the global batch.
    pub tokens: u64,
    /// The ranks' control words, or-ed.
    pub control: u32,
    /// This rank's. The head's loss and gradient are one pass and count as backward; communication is what backward did not hide.
    pub phases: PhaseSeconds,
}

/// One rank's model, gradients and optimizer. Tensors stay on the thread that owns this.
pub struct Trainer {
    options: TrainerOptions,
    params: Vec<Param>,
    pub(crate) buffers: FlatBuffers,
    model: Model,
    /// The head's entry in the layout, and whether autograd reaches it too (tied to the embedding).
    head_entry: usize,
    group: Option<Arc<ProcessGroup>>,
    reducer: Option<Reducer>,
    /// Updates that the weights have seen.
    pub(crate) step: u64,
}

struct MicroBatch {
    inputs_bt: Tensor,
    targets_n: Tensor,
}

impl Trainer {
    /// Fresh weights. With a group, all ranks must come here together; they compare their options, plans and weights.
    pub fn new(options: TrainerOptions, group: Option<ProcessGroup>) -> Result<Self, EngineError> {
        options.check()?;
        let params = parameters(&options.model, options.vocab)?;
        let buffers = FlatBuffers::zeros(FlatLayout::of(&params), options.device)?;
        let leaves = buffers.leaves()?;
        let mut in_order: Vec<Tensor> = leaves.iter().rev().map(Tensor::shallow_clone).collect();
        initialise(&params, &mut in_order, options.seed, options.model.init_std);
        let model = Model::assemble(&options.model, options.vocab, &in_order)?;
        let head_entry = if options.model.tied { leaves.len() - 1 } else { 0 };
        let group = group.filter(|g| g.world_size() > 1).map(Arc::new);
        let reducer = match &group {
            None => None,
            Some(group) => {
                let plan = BucketPlan::new(&buffers.layout, options.bucket_bytes);
                group.agree("the train options", print(format!("{options:?} {plan:?}").as_bytes()), options.timeout)?;
                Some(Reducer::new(group, &buffers, &leaves, plan, options.timeout)?)
            }
        };
        let trainer = Self { options, params, buffers, model, head_entry, group, reducer, step: 0 };
        trainer.agree_on_state()?;
        Ok(trainer)
    }

    /// Makes one update from this rank's sequences, each of `sequence_length + 1` tokens. `control` is this rank's word to all.
    ///
    /// # Errors
    /// [`EngineError::NotFinite`] on every rank, before the update. Any other error may be this rank's alone: it must then end.
    pub fn step(&mut self, sequences: &[&[u32]], control: u32) -> Result<StepStats, EngineError> {
        let mut watch = Stopwatch(Instant::now());
        let mut phases = PhaseSeconds::default();
        let batch = self.fetch(sequences)?;
        phases.data += watch.lap();

        self.buffers.zero_gradients();
        let tokens = u64::from(self.options.global_batch) * u64::from(self.options.sequence_length);
        let mut own = Agreed { loss: 0.0, sequences: sequences.len() as u64, control };
        let mut agreement = None;
        for (i, micro) in batch.iter().enumerate() {
            let hidden_nd = self.model.hidden(&micro.inputs_bt).flatten(0, 1);
            phases.forward += watch.lap();
            let head_grad = &self.buffers.grad_views[self.head_entry];
            let head = head::loss_and_gradients(&hidden_nd.detach(), &micro.targets_n, self.model.head(), head_grad, 1.0 / tokens as f64)?;
            own.loss += head.loss;
            if i + 1 == batch.len() {
                agreement = Some(agree::start(self.group.as_deref(), own)?);
                self.begin_reduction()?;
            }
            (hidden_nd * head.hidden_grad_nd).f_sum(Kind::Float)?.f_backward()?;
            phases.backward += watch.lap();
        }

        let agreed = match agreement {
            Some(pending) => pending.finish(self.options.timeout)?,
            None => own,
        };
        self.reducer.as_ref().map_or(Ok(()), Reducer::finish)?;
        phases.communication += watch.lap();

        self.check_agreement(agreed)?;
        let grad_norm = self.clip()?;
        let lr = self.update()?;
        phases.update += watch.lap();
        self.step += 1;
        Ok(StepStats { step: self.step - 1, loss: agreed.loss, grad_norm, lr, tokens, control: agreed.control, phases })
    }

    /// Updates that the weights have seen; also the number of the next step.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    pub fn options(&self) -> &TrainerOptions {
        &self.options
    }

    pub fn layout(&self) -> &FlatLayout {
        &self.buffers.layout
    }

    /// Replaces the weights; moments and step begin anew. For a stage that starts from another's weights or from a Hugging Face
    /// folder. With a group, all ranks must come here together.
    pub fn load_weights_only(&mut self, source: &mut dyn TensorSource) -> Result<(), EngineError> {
        for param in &self.params {
            let values = source.read(&param.name, &param.shape)?;
            let entry = self.buffers.layout.entry(&param.name).ok_or_else(|| EngineError::tensor(&param.name, "not in the layout"))?;
            let values = Tensor::f_from_slice(&values)?.f_view(crate::models::dims(&param.shape).as_slice())?;
            view(&self.buffers.params, entry)?.f_copy_(&values)?;
        }
        let _ = (self.buffers.exp_avg.f_zero_()?, self.buffers.exp_avg_sq.f_zero_()?);
        self.step = 0;
        self.agree_on_state()
    }

    /// SHA-256 over step, weights and moments: equal for two trainers that will go on with the same bits.
    pub fn state_digest(&self) -> Result<Digest, EngineError> {
        let all = self.slice(0, 1)?;
        let step = self.step.to_le_bytes();
        Ok(Digest::of_parts([&step[..], all.params(), all.exp_avg(), all.exp_avg_sq()]))
    }

    /// Proves that all ranks hold the same state; other processors may draw other initial bits.
    pub(crate) fn agree_on_state(&self) -> Result<(), EngineError> {
        let Some(group) = &self.group else { return Ok(()) };
        let digest = self.state_digest()?;
        Ok(group.agree("the weights, moments and step", print(digest.as_bytes()), self.options.timeout)?)
    }

    fn fetch(&self, sequences: &[&[u32]]) -> Result<Vec<MicroBatch>, EngineError> {
        let length = self.options.sequence_length as usize;
        if sequences.is_empty() {
            return Err(EngineError::Batch("this rank has no sequences: use at most as many ranks as global_batch".into()));
        }
        if let Some((i, row)) = sequences.iter().enumerate().find(|(_, row)| row.len() != length + 1) {
            return Err(EngineError::Batch(format!("sequence {i} has {} tokens, {} expected", row.len(), length + 1)));
        }
        let micro = |rows: &[&[u32]]| {
            let part = |from: usize| {
                let rows: Vec<&[u32]> = rows.iter().map(|row| row.get(from..from + length).unwrap_or_default()).collect();
                ids_tensor(&rows, length, self.options.vocab, self.options.model.max_positions, self.options.device)
            };
            Ok(MicroBatch { inputs_bt: part(0)?, targets_n: part(1)?.flatten(0, 1) })
        };
        sequences.chunks(self.options.micro_batch as usize).map(micro).collect()
    }

    fn begin_reduction(&self) -> Result<(), EngineError> {
        let Some(reducer) = &self.reducer else { return Ok(()) };
        reducer.begin();
        // An untied head is not part of what backward goes through; its gradient is complete already.
        if self.options.model.tied { Ok(()) } else { reducer.ready(self.head_entry) }
    }

    fn check_agreement(&self, agreed: Agreed) -> Result<(), EngineError> {
        if agreed.sequences != u64::from(self.options.global_batch) {
            let problem = format!("the ranks brought {} sequences, the global batch has {}", agreed.sequences, self.options.global_batch);
            return Err(EngineError::Disagreement(problem));
        }
        self.finite("loss", agreed.loss).map(drop)
    }

    /// Scales the gradient down to the wanted norm; returns the norm before. All ranks hold the same gradient, so the same norm.
    fn clip(&mut self) -> Result<f64, EngineError> {
        let norms: Vec<Tensor> = self.buffers.grad_views.iter().map(Tensor::f_norm).collect::<Result<_, _>>()?;
        let norm = self.finite("gradient norm", Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?)?;
        let clip = self.options.optimizer.clip;
        if clip > 0.0 && clip < norm + 1e-6 {
            let _ = self.buffers.grads.g_mul_scalar_(clip / (norm + 1e-6));
        }
        Ok(norm)
    }

    fn update(&mut self) -> Result<f64, EngineError> {
        let OptimizerSpec { lr, beta1, beta2, eps, weight_decay, .. } = self.options.optimizer;
        let lr = lr * self.options.schedule.factor(self.step, self.options.total_steps);
        let hyper = AdamW { lr, beta1, beta2, eps, weight_decay };
        let FlatBuffers { params, grads, exp_avg, exp_avg_sq, .. } = &self.buffers;
        let one = std::slice::from_ref;
        fused_adamw_step(one(params), one(grads), one(exp_avg), one(exp_avg_sq), self.step as i64 + 1, hyper)?;
        Ok(lr)
    }

    fn finite(&self, what: &'static str, value: f64) -> Result<f64, EngineError> {
        if value.is_finite() { Ok(value) } else { Err(EngineError::NotFinite { step: self.step, what, value }) }
    }
}

impl TensorSource for Trainer {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let entry = self.buffers.layout.entry(name).filter(|e| e.shape == shape);
        let entry = entry.ok_or_else(|| EngineError::tensor(name, format!("the trainer has none of shape {shape:?}")))?;
        let mut values = vec![0.0; entry.len];
        view(&self.buffers.params, entry)?.f_detach()?.f_to_device(Device::Cpu)?.f_copy_data(&mut values, entry.len)?;
        Ok(values)
    }
}

/// Measures for reports only; no result depends on it.
struct Stopwatch(Instant);

impl Stopwatch {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let seconds = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        seconds
    }
}

fn print(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *Digest::of(bytes).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
