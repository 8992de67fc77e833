//! What one micro-batch keeps and needs, from forward's first layer to backward's last.

use super::Rank;
use crate::spec::{DeviceKind, Family, Precision};

/// Rows of logits that exist at a time, see the engine's `step/head.rs`.
const HEAD_ROWS: u128 = 512;

/// More than any machine's tokens, or a layer's heads, times their width: products of these do not overflow, and no sum that has one fits a u64.
const MOST: u128 = 1 << 40;

/// Bytes.
pub(super) struct Pass {
    /// The fullest moment: the head's, or the beginning of backward, or of a recomputed layer's.
    pub peak: u64,
    /// The end of backward, when everything else is gone.
    pub after: u64,
    /// What comes and goes in sizes of its own, and therefore stays with the allocator.
    pub passing: u64,
}

/// The shape, in numbers that do not overflow.
struct Shape {
    tokens: u128,
    sequences: u128,
    length: u128,
    layers: u128,
    dim: u128,
    ffn: u128,
    vocab: u128,
    heads: u128,
    q: u128,
    kv: u128,
    /// Bytes of a value of the stream.
    wide: u128,
    family: Family,
    /// Our own loops, on a CPU in fp32; else libtorch's operations.
    fused: bool,
    on_cpu: bool,
    /// Values in a layer's matrices, and in the largest of them.
    matrices: u128,
    largest: u128,
    masked: bool,
}

pub(super) fn of(rank: &Rank<'_>) -> Pass {
    let shape = Shape::of(rank);
    let Shape { tokens, layers, dim, vocab, wide, .. } = shape;
    let stream = tokens * dim * wide;
    let again = u128::from(rank.stage.compute.recompute.layers(rank.model.layers));
    let layer = shape.layer();
    let backward = shape.layers_backward();
    let kept = (layers - again) * layer + again * stream;
    let peak = kept + shape.around() + shape.head().max(backward);
    let recomputing = if again > 0 { again * stream + layer + 3 * stream + backward } else { 0 };
    // The gradient of the embedding is a tensor of its own before it is added.
    let after = vocab * dim * 4 + 2 * stream;
    let narrow = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    Pass { peak: narrow(peak.max(recomputing).max(after)), after: narrow(after), passing: narrow(shape.head() + backward + after) }
}

impl Shape {
    fn of(rank: &Rank<'_>) -> Self {
        let Rank { model, stage, resources, .. } = rank;
        let wide = u128::from;
        let (dim, ffn, heads) = (wide(model.dim), wide(model.ffn), wide(model.heads));
        let head_dim = wide(model.head_dim());
        let (q, kv) = ((head_dim * heads).min(MOST), (head_dim * wide(model.kv_heads)).min(MOST));
        let sequences = wide(rank.micro_batch());
        let length = wide(stage.sequence_length);
        let on_cpu = resources.device == DeviceKind::Cpu;
        let precision = stage.compute.precision;
        let gated = model.family.rotary();
        Self {
            tokens: (sequences * length).min(MOST),
            sequences,
            length,
            layers: wide(model.layers),
            dim,
            ffn,
            vocab: wide(rank.vocab),
            heads,
            q,
            kv,
            wide: precision.bytes().into(),
            family: model.family,
            fused: on_cpu && precision == Precision::Fp32,
            on_cpu,
            matrices: if gated { 2 * dim * q + 2 * dim * kv + 3 * dim * ffn } else { 4 * dim * dim + 2 * dim * ffn },
            largest: dim * ffn.max(q),
            masked: stage.compute.document_mask,
        }
    }

    /// What a layer that is not recomputed keeps for its backward.
    ///
    /// Rotary families: the stream and its norm twice, q and k turned, v (with q and k as they were where the three are one product), attention's output,
    /// gate, up and their product, and where GELU gates or operations are libtorch's, the activated gate. Others: the stream and its norm twice, q, k
    /// and v, attention's output, the feed-forward before and after GELU. Attention never has its weights in memory, only a sum for each row.
    fn layer(&self) -> u128 {
        let Self { dim, ffn, q, kv, wide, .. } = *self;
        let values = match self.family {
            Family::Gpt2 | Family::Bert => 8 * dim + 2 * ffn,
            _ => {
                let one_product = self.fused && self.family != Family::Qwen2;
                let untouched = if one_product { q + kv } else { 0 };
                let activated = if self.fused && self.family != Family::Gemma { 0 } else { ffn };
                // Libtorch's norm on a CPU keeps no stream, but fp32 copies.
                let streams = if self.fused || !self.on_cpu { 2 * dim } else { 0 };
                2 * dim + streams + 2 * q + 2 * kv + untouched + 3 * ffn + activated
            }
        };
        let norms = if self.family.rotary() { 2 * self.norm() } else { 0 };
        let mask = if self.masked { self.sequences * self.length * self.length * wide } else { 0 };
        self.tokens * (values * wide + norms + self.heads * 4) + mask + self.cast(self.matrices)
    }

    /// A token's bytes in an RMSNorm of libtorch's on a CPU: fp32 copies of what it took and of what it made.
    fn norm(&self) -> u128 {
        if self.fused || !self.on_cpu { 0 } else { 2 * self.dim * 4 }
    }

    /// A copy of weights in the stream's kind, where that is another one.
    fn cast(&self, values: u128) -> u128 {
        if self.wide == 4 { 0 } else { values * self.wide }
    }

    /// The last stream, the hidden states and their gradient; of a bert the norm of its embeddings and its transform too; masks as they came.
    fn around(&self) -> u128 {
        let streams = if self.family == Family::Bert { 6 } else { 3 };
        let norm = if self.family.rotary() { self.norm() } else { 0 };
        let mask = if self.masked { self.sequences * self.length * self.length } else { 0 };
        self.tokens * (streams * self.dim * self.wide + norm) + mask
    }

    /// Logits of one block of rows, and what becomes of them; in bf16 the head's weights and their gradient too.
    fn head(&self) -> u128 {
        let block = self.tokens.min(HEAD_ROWS) * self.vocab;
        let logits = match (self.fused, self.wide) {
            (true, _) => block * 4,
            (false, 4) => block * 8,
            (false, wide) => block * (2 * wide + 4),
        };
        logits + 2 * self.cast(self.vocab * self.dim)
    }

    /// What backward needs in a layer besides what it frees.
    fn layers_backward(&self) -> u128 {
        let stream = 2 * self.dim + 2 * self.ffn;
        // Elsewhere a matrix' gradient is a tensor of its own before it is added, and in bf16 twice.
        let gradient = if self.fused && self.family.rotary() { 0 } else { self.largest * 4 + self.cast(self.largest) };
        self.tokens * stream * self.wide + gradient
    }
}
