//! The training step: fetch, forward, backward, reduce, agree, clip, update.
//!
//! Every rank calls [`Trainer::step`] for the same step with its own share of the batch. All ranks leave with the same numbers, or all
//! with an error; the weights that other ranks updated arrive while the next step begins. A rank that fails alone must end: the others
//! then see a lost peer.

mod activity;
mod agree;
mod batch;
mod gather;
mod head;
mod options;
mod passes;
mod state;
mod update;

pub use activity::Activity;
pub use batch::Batch;
pub use options::{StepStats, TrainerOptions};
pub use osler_core::mlm::{IGNORED, Masked};

use crate::EngineError;
use crate::flat::{FlatBuffers, FlatLayout, Segments};
use crate::models::params::{Param, parameters};
use crate::models::{Model, Pass, initialise};
use crate::reduce::tree::{self, Branches};
use crate::reduce::{BucketPlan, Destination, Owners, Reducer};
use agree::Agreed;
use batch::MicroBatch;
use gather::Gather;
use head::Head;
use osler_core::checkpoint::PhaseSeconds;
use osler_core::digest::Digest;
use osler_core::guard::{Guard, Skipped, Verdict};
use osler_core::spec::{Determinism, Precision};
use osler_torch_dist::ProcessGroup;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The entry of a head's bias in the layout: it is the last parameter, and the layout is in reverse order.
const HEAD_BIAS: usize = 0;

/// One rank's model, gradients and optimizer. Tensors stay on the thread that owns this.
pub struct Trainer {
    options: TrainerOptions,
    params: Vec<Param>,
    pub(crate) buffers: FlatBuffers,
    model: Model,
    segments: Segments,
    /// The head's entry in the layout, and whether autograd reaches it too (tied to the embedding).
    head_entry: usize,
    group: Option<Arc<ProcessGroup>>,
    exchange: Exchange,
    gather: Gather,
    activity: Arc<Activity>,
    /// Steps of this stage that are done, skipped ones included; also the number of the next one.
    pub(crate) step: u64,
    /// Updates that the moments have seen, in this stage and in those that it was forked from: AdamW's step count.
    pub(crate) updates: u64,
    pub(crate) guard: Guard,
}

/// How gradients become their sum, and weights everybody's.
enum Exchange {
    /// One rank.
    Alone,
    /// Bucket by bucket while backward runs. With owners, each rank updates its own values and they are gathered afterwards.
    Overlapped { reducer: Reducer, shared: Option<(BucketPlan, Owners)> },
    /// In one fixed tree after backward; the same bits at any world size. With owners as above.
    Tree { branches: Branches, shared: Option<(BucketPlan, Owners)> },
}

impl Trainer {
    /// Fresh weights. With a group, all ranks must come here together; they compare their options, plans and weights.
    pub fn new(options: TrainerOptions, group: Option<ProcessGroup>) -> Result<Self, EngineError> {
        options.check()?;
        let params = parameters(&options.model, options.vocab)?;
        let layout = FlatLayout::of(&params);
        let group = group.filter(|g| g.world_size() > 1).map(Arc::new);
        let (rank, world) = group.as_ref().map_or((0, 1), |g| (g.rank() as u32, g.world_size() as u32));
        let own = if options.zero { layout.slice(rank, world) } else { 0..layout.len() };
        let buffers = FlatBuffers::zeros(layout, own, options.device)?;
        let leaves = buffers.leaves()?;
        let mut in_order: Vec<Tensor> = leaves.iter().rev().map(Tensor::shallow_clone).collect();
        initialise(&params, &mut in_order, options.seed, options.model.init_std);
        let model = Model::assemble(&options.model, options.vocab, &in_order)?;
        let head_entry = if options.model.tied { leaves.len() - 1 } else { 0 };
        let segments = Segments::new(&buffers.layout, model.depth());
        let exchange = exchange(&options, group.as_ref(), &buffers, &leaves)?;
        let (gather, activity) = (Gather::default(), Arc::default());
        let guard = Guard::new(options.guard.clone(), options.optimizer.clip);
        let trainer =
            Self { options, params, buffers, model, segments, head_entry, group, exchange, gather, activity, step: 0, updates: 0, guard };
        trainer.agree_on_state()?;
        Ok(trainer)
    }

    /// Makes one update from this rank's sequences, each of `sequence_length + 1` tokens. `control` is this rank's word to all.
    ///
    /// # Errors
    /// As [`Trainer::step_on`].
    pub fn step(&mut self, sequences: &[&[u32]], control: u32) -> Result<StepStats, EngineError> {
        self.step_on(Batch::Next(sequences), control)
    }

    /// Makes one update from this rank's share of the batch, unless the guard skips it.
    ///
    /// # Errors
    /// [`EngineError::Guard`] on every rank, before the update. Any other error may be this rank's alone: it must then end.
    pub fn step_on(&mut self, batch: Batch<'_>, control: u32) -> Result<StepStats, EngineError> {
        let mut watch = Stopwatch(Instant::now());
        let mut phases = PhaseSeconds::default();
        let micros = batch.cut(&self.options)?;
        let counted = self.activity.wait(|| self.counted(&batch))?;
        phases.data += watch.lap();

        self.buffers.zero_gradients();
        let mut losses = Vec::with_capacity(micros.len());
        let mut agreement = None;
        for (i, micro) in micros.iter().enumerate() {
            let pass = self.pass(micro);
            let forward = self.forward(micro, &pass)?;
            phases.forward += watch.lap();
            let head = head::loss_and_gradients(&forward.hidden_nd, micro, &self.head(), 1.0 / counted as f64)?;
            losses.push(head.loss);
            if i + 1 == micros.len() {
                let own = Agreed { loss: losses.iter().sum(), sequences: batch.rows() as u64, control };
                agreement = Some(agree::start(self.group.as_deref(), own, self.options.device)?);
                self.begin_reduction()?;
            }
            forward.backward(&self.model, &pass, &head.hidden_grad_nd)?;
            self.keep_leaf()?;
            phases.backward += watch.lap();
        }

        let mut agreed = match agreement {
            Some(pending) => self.activity.wait(|| pending.finish(self.options.timeout))?,
            None => return Err(EngineError::Batch("there are no micro-batches".into())),
        };
        let activity = Arc::clone(&self.activity);
        activity.wait(|| self.finish_reduction())?;
        if let Exchange::Tree { .. } = self.exchange {
            agreed.loss = activity.wait(|| self.tree_loss(&losses))?;
        }
        let grad_norm = activity.wait(|| self.grad_norm())?;
        phases.communication += watch.lap();

        self.check_agreement(agreed)?;
        let loss = agreed.loss;
        let skipped = self.judge(loss, grad_norm)?;
        let lr = self.options.optimizer.lr * self.options.schedule.factor(self.step, self.options.total_steps);
        if skipped.is_none() {
            self.update(grad_norm, lr)?;
            self.share_weights()?;
        }
        phases.update += watch.lap();
        self.step += 1;
        Ok(StepStats { step: self.step - 1, loss, grad_norm, lr, tokens: counted, control: agreed.control, skipped, phases })
    }

    /// Steps of this stage that are done, skipped ones included; also the number of the next one.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The steps, first to last skipped one, that are too many: all ranks get the same answer after the same step.
    pub fn rewind(&self) -> Option<Range<u64>> {
        self.guard.rewind()
    }

    /// Loss of the newest step that was applied, before its update.
    pub fn last_loss(&self) -> Option<f64> {
        self.guard.last_loss()
    }

    /// Makes the state that was loaded the beginning of another stage: weights and moments stay, steps count from 0.
    pub fn begin_stage(&mut self) {
        self.step = 0;
        self.guard = Guard::new(self.options.guard.clone(), self.options.optimizer.clip);
    }

    pub fn options(&self) -> &TrainerOptions {
        &self.options
    }

    pub fn layout(&self) -> &FlatLayout {
        &self.buffers.layout
    }

    fn pass(&self, micro: &MicroBatch) -> Pass {
        let kind = match self.options.compute.precision {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        Pass { kind, mask: micro.mask.as_ref().map(Tensor::shallow_clone) }
    }

    fn forward(&mut self, micro: &MicroBatch, pass: &Pass) -> Result<passes::Forward, EngineError> {
        let Self { options, model, segments, gather, activity, .. } = self;
        let timeout = options.timeout;
        let mut gathered = |start: usize| activity.wait(|| gather.wait(start, timeout));
        gathered(segments.embed())?;
        let recomputed = options.compute.recompute.layers(options.model.layers) as usize;
        passes::forward(model, &micro.inputs_bt, pass, recomputed, |layer| gathered(layer.map_or(0, |i| segments.layer(i))))
    }

    /// Targets that count, over all ranks.
    fn counted(&self, batch: &Batch<'_>) -> Result<u64, EngineError> {
        let options = &self.options;
        let counted = match (batch, &self.group) {
            // Every position counts, and the agreement proves that the shares make up the batch.
            (Batch::Next(_), _) => u64::from(options.global_batch) * u64::from(options.sequence_length),
            (Batch::Masked(_), None) => batch.counted(options.sequence_length),
            (Batch::Masked(_), Some(group)) => {
                let mut count = Tensor::f_from_slice(&[batch.counted(options.sequence_length) as i64])?.f_to_device(options.device)?;
                group.all_reduce_sum(&mut count)?.wait(options.timeout)?;
                count.f_int64_value(&[0])?.max(0) as u64
            }
        };
        if counted == 0 {
            return Err(EngineError::Batch("no target of the whole batch counts: raise the masking probability or the batch".into()));
        }
        Ok(counted)
    }

    fn begin_reduction(&self) -> Result<(), EngineError> {
        let Exchange::Overlapped { reducer, .. } = &self.exchange else { return Ok(()) };
        reducer.begin();
        // An untied head and a head's bias are not part of what backward goes through; their gradients are complete already.
        if !self.options.model.tied {
            reducer.ready(self.head_entry)?;
        }
        if self.model.head_bias().is_some() { reducer.ready(HEAD_BIAS) } else { Ok(()) }
    }

    fn head(&self) -> Head<'_> {
        let grads = &self.buffers.grad_views;
        let bias_v = self.model.head_bias().map(|bias| (bias, &grads[HEAD_BIAS]));
        Head { weight_vd: self.model.head(), weight_grad_vd: &grads[self.head_entry], bias_v }
    }

    /// In a tree each micro-batch is a leaf of its own.
    fn keep_leaf(&mut self) -> Result<(), EngineError> {
        if let Exchange::Tree { branches, .. } = &mut self.exchange {
            branches.add(&self.buffers.grads)?;
            self.buffers.zero_gradients();
        }
        Ok(())
    }

    fn finish_reduction(&mut self) -> Result<(), EngineError> {
        match &mut self.exchange {
            Exchange::Alone => Ok(()),
            Exchange::Overlapped { reducer, .. } => reducer.finish(),
            Exchange::Tree { branches, .. } => {
                branches.finish(&mut self.buffers.grads)?;
                match &self.group {
                    Some(group) => tree::across(group, &mut self.buffers.grads, self.options.timeout),
                    None => Ok(()),
                }
            }
        }
    }

    /// The sum of all ranks' losses in the tree's order.
    fn tree_loss(&self, own: &[f64]) -> Result<f64, EngineError> {
        let Some(group) = &self.group else { return Ok(tree::sum(own)) };
        let mine = Tensor::f_from_slice(own)?.f_to_device(self.options.device)?;
        let mut all = Tensor::f_zeros([(own.len() * group.world_size()) as i64], (Kind::Double, self.options.device))?;
        group.all_gather_into(&mut all, &mine)?.wait(self.options.timeout)?;
        Ok(tree::sum(&Vec::<f64>::try_from(&all)?))
    }

    /// Sends what this rank updated, if ranks own parts.
    fn share_weights(&mut self) -> Result<(), EngineError> {
        let (Exchange::Overlapped { shared, .. } | Exchange::Tree { shared, .. }) = &self.exchange else { return Ok(()) };
        match (&self.group, shared) {
            (Some(group), Some((plan, owners))) => self.gather.start(group, &self.buffers.params, plan, owners),
            _ => Ok(()),
        }
    }

    /// Returns when this rank has every rank's updates of the last step. Before the end of training, and before weights are read.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        self.activity.wait(|| self.gather.wait(0, self.options.timeout))
    }

    /// For a thread that watches this one.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    fn check_agreement(&self, agreed: Agreed) -> Result<(), EngineError> {
        if agreed.sequences != u64::from(self.options.global_batch) {
            let problem = format!("the ranks brought {} sequences, the global batch has {}", agreed.sequences, self.options.global_batch);
            return Err(EngineError::Disagreement(problem));
        }
        Ok(())
    }

    /// Why this step is not applied, if it is not. All ranks ask with the same numbers, so all get the same answer.
    fn judge(&mut self, loss: f64, grad_norm: f64) -> Result<Option<Skipped>, EngineError> {
        match self.guard.judge(self.step, loss, grad_norm) {
            Verdict::Apply => Ok(None),
            Verdict::Skip(why) => Ok(Some(why)),
            Verdict::Fail(why) => Err(EngineError::Guard { step: self.step, why, loss, grad_norm }),
        }
    }
}

fn exchange(
    options: &TrainerOptions,
    group: Option<&Arc<ProcessGroup>>,
    buffers: &FlatBuffers,
    leaves: &[Tensor],
) -> Result<Exchange, EngineError> {
    let elastic = options.determinism == Determinism::Elastic;
    let Some(group) = group else {
        return Ok(if elastic { Exchange::Tree { branches: Branches::default(), shared: None } } else { Exchange::Alone });
    };
    let plan = BucketPlan::new(&buffers.layout, options.bucket_bytes);
    group.agree("the train options", print(format!("{options:?} {plan:?}").as_bytes()), options.timeout)?;
    let owners = || Owners::new(&buffers.layout, group.world_size() as u32);
    let shared = options.zero.then(|| (plan.clone(), owners()));
    if elastic {
        if !group.world_size().is_power_of_two() {
            return Err(EngineError::Model(vec![format!("{} ranks, an elastic run needs a power of two", group.world_size())]));
        }
        return Ok(Exchange::Tree { branches: Branches::default(), shared });
    }
    let destination = if options.zero { Destination::Owner(owners()) } else { Destination::All };
    let reducer = Reducer::new(group, buffers, leaves, plan, destination, options.compute.reduce, options.timeout)?;
    Ok(Exchange::Overlapped { reducer, shared })
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

/// Eight bytes that tell one text from another.
fn print(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *Digest::of(bytes).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
