//! The memory of one rank at its fullest moment: what is there for the whole stage, and what a micro-batch adds.
//!
//! What the engine allocates is read off its code (`crates/engine`): flat buffers and slices to the byte, activations from what each operation's
//! backward keeps. `tests/e2e/memory.rs` holds the sum against the kernel's peak of real ranks on a CPU; on a GPU nothing was measured.

mod activations;

use super::{FP32, Parameters};
use crate::spec::{Determinism, DeviceKind, ModelSpec, Precision, ResourceSpec, StageSpec};
use serde::Serialize;

/// What a rank takes on a CPU before it holds a model: libtorch's code as far as it is touched, MKL's buffers, threads, the heap. Measured: 151
/// MiB for a model of 49 thousand parameters.
pub const PROCESS_BYTES: u64 = 150 << 20;
/// What the allocator keeps for later beyond what tensors once needed at a time (`keep_pages`).
pub const KEPT_BYTES: u64 = 64 << 20;

/// Bytes of one rank, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    pub weights: u64,
    pub gradients: u64,
    /// Both moments of AdamW: the rank's share of them.
    pub moments: u64,
    /// The copy of the rank's slice that is written behind training; kept between checkpoints.
    pub checkpoint: u64,
    /// Buffers for sums over micro-batches and ranks beside the gradients, as far as they exist together with activations.
    pub sums: u64,
    /// What a micro-batch adds at its fullest moment.
    pub activations: u64,
    /// The process without a model, and what its allocator keeps.
    pub process: u64,
    pub total: u64,
    /// How much of the total is on a GPU.
    pub on_gpu: u64,
}

impl Memory {
    pub fn on_host(&self) -> u64 {
        self.total - self.on_gpu
    }
}

/// What decides about a rank's memory.
pub(super) struct Rank<'a> {
    pub model: &'a ModelSpec,
    pub vocab: u32,
    pub parameters: &'a Parameters,
    pub stage: &'a StageSpec,
    pub resources: &'a ResourceSpec,
}

impl Rank<'_> {
    pub fn memory(&self) -> Memory {
        let Self { stage, resources, .. } = self;
        let ranks = u64::from(resources.ranks.max(1));
        let weights = self.parameters.total.saturating_mul(FP32);
        let slice = weights.div_ceil(ranks);
        let moments = if resources.zero { slice } else { weights }.saturating_mul(2);
        let checkpoint = slice.saturating_mul(3);
        let mut sums = 0;
        // What is needed when activations are gone already.
        let mut after = 0;
        if resources.determinism == Determinism::Elastic {
            sums = weights.saturating_mul(self.branches());
            after = if ranks > 1 { weights } else { 0 };
        } else if ranks > 1 && stage.compute.reduce == Precision::Bf16 {
            after = weights / 2;
        }
        let pass = activations::of(self);
        let activations = pass.peak.max(after.saturating_add(pass.after));
        let on_cpu = resources.device == DeviceKind::Cpu;
        // Twice: a block serves again only for a tensor of about its size. Fitted to what small models were measured to take.
        let kept = if on_cpu { pass.passing.saturating_add(after).saturating_mul(2).min(KEPT_BYTES) } else { 0 };
        let process = PROCESS_BYTES + kept;
        let on_device = [weights, weights, moments, sums, activations].into_iter().fold(0, u64::saturating_add);
        let total = [on_device, checkpoint, process].into_iter().fold(0, u64::saturating_add);
        let on_gpu = if on_cpu { 0 } else { on_device };
        Memory { weights, gradients: weights, moments, checkpoint, sums, activations, process, total, on_gpu }
    }

    /// Gradients that a rank of an elastic run holds besides its own: one for each level of its tree.
    fn branches(&self) -> u64 {
        let sequences = self.stage.global_batch / self.resources.ranks.max(1);
        let leaves = (sequences / self.micro_batch()).max(1);
        u64::from(leaves.ilog2()) + 1
    }

    /// Sequences that are computed at once: no more than the rank's share of a step.
    fn micro_batch(&self) -> u32 {
        let share = self.stage.global_batch / self.resources.ranks.max(1);
        self.stage.micro_batch.min(share).max(1)
    }
}
