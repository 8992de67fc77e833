//! What a trainer is made for, and what a step tells.

use crate::EngineError;
use osler_core::checkpoint::PhaseSeconds;
use osler_core::guard::{GuardSpec, Skipped};
use osler_core::spec::{ComputeSpec, Determinism, ModelSpec, OptimizerSpec, Precision, ScheduleSpec};
use std::time::Duration;
use tch::Device;

#[derive(Debug, Clone)]
pub struct TrainerOptions {
    pub model: ModelSpec,
    pub vocab: usize,
    /// Draws the initial weights.
    pub seed: u64,
    pub optimizer: OptimizerSpec,
    pub schedule: ScheduleSpec,
    /// Which steps are skipped.
    pub guard: GuardSpec,
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
    pub(super) fn check(&self) -> Result<(), EngineError> {
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
        if !self.optimizer.clip.is_finite() || self.optimizer.clip < 0.0 {
            problems.push(format!("optimizer.clip is {}, must be 0 (off) or more", self.optimizer.clip));
        }
        if self.compute.document_mask && self.end_of_text.is_none() {
            problems.push("document_mask needs to know the token that ends a document".to_owned());
        }
        if self.determinism == Determinism::Elastic && self.compute.reduce != Precision::Fp32 {
            problems.push("an elastic run sums gradients in fp32 only".to_owned());
        }
        let leaves = self.global_batch / self.micro_batch.max(1);
        if self.determinism == Determinism::Elastic
            && !(leaves.is_power_of_two() && self.global_batch.is_multiple_of(self.micro_batch.max(1)))
        {
            problems.push(format!("global_batch / micro_batch is {leaves}, an elastic run needs a power of two"));
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Model(problems)) }
    }
}

/// One step as every rank saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepStats {
    /// The update that made `step` into `step + 1`.
    pub step: u64,
    /// Mean over the targets of the global batch that count, before the update.
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub lr: f64,
    /// Targets of the global batch that count.
    pub tokens: u64,
    /// The ranks' control words, or-ed.
    pub control: u32,
    /// The update was not applied.
    pub skipped: Option<Skipped>,
    /// This rank's. The head's loss and gradient are one pass and count as backward; communication is what backward did not hide.
    pub phases: PhaseSeconds,
}
