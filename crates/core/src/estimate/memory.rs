//! The memory of one rank. Model state is exact; activations are an estimate from the shapes that a backward pass needs.

use super::FP32;
use crate::spec::{ModelSpec, StageSpec};
use serde::Serialize;

/// What a process that loaded libtorch for CPU takes before it holds a model.
pub const LIBTORCH_BYTES: u64 = 200 << 20;

/// Bytes of one rank, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub weights: u64,
    pub gradients: u64,
    /// Both moments of AdamW, whole: a bound also where ranks share them.
    pub moments: u64,
    pub activations: u64,
    pub libtorch: u64,
    pub total: u64,
}

pub(super) fn memory(model: &ModelSpec, vocab: u32, parameters: u64, stage: &StageSpec) -> Memory {
    let weights = parameters.saturating_mul(FP32);
    let moments = weights.saturating_mul(2);
    let activations = activations(model, vocab, stage);
    let parts = [weights, weights, moments, activations, LIBTORCH_BYTES];
    let total = parts.into_iter().fold(0, u64::saturating_add);
    Memory { weights, gradients: weights, moments, activations, libtorch: LIBTORCH_BYTES, total }
}

/// fp32 values that autograd keeps for one micro-batch, without recomputation:
///
///   tokens x (layers x per_layer + 2 x dim + 3 x vocab)
///
/// `per_layer` counts what the backward of each operation reads:
/// - all families, 8 x dim: two norms (input and output each), attention's output and its projection, both residual sums;
/// - q, k and v, and for rotary families the rotated q and k beside them;
/// - heads x sequence length: one row of attention weights a head, as if attention were not fused (a bound);
/// - feed-forward: with a gate 4 x ffn (gate, up, activation, product), else 2 x ffn (before and after GELU).
///
/// The rest: the embeddings and the last norm; logits, their log-softmax and its gradient, which dominate in small models.
fn activations(model: &ModelSpec, vocab: u32, stage: &StageSpec) -> u64 {
    let wide = u128::from;
    let (dim, ffn, heads) = (wide(model.dim), wide(model.ffn), wide(model.heads));
    let head_dim = wide(model.head_dim());
    let (q_dim, kv_dim) = (head_dim * heads, head_dim * wide(model.kv_heads));
    let qkv = q_dim + 2 * kv_dim;
    let (rotated, feed_forward) = if model.family.rotary() { (q_dim + kv_dim, 4 * ffn) } else { (0, 2 * ffn) };
    let per_layer = 8 * dim + qkv + rotated + heads * wide(stage.sequence_length) + feed_forward;
    let per_token = wide(model.layers) * per_layer + 2 * dim + 3 * wide(vocab);
    let tokens = wide(stage.micro_batch) * wide(stage.sequence_length);
    let values = tokens.checked_mul(per_token).and_then(|values| u64::try_from(values).ok()).unwrap_or(u64::MAX);
    values.saturating_mul(FP32)
}
