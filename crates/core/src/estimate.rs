//! What a run will take, before it takes it: parameters, memory of a rank, FLOPs, tokens, epochs, disk, and what looks unwise.
//!
//! Parameters, steps, tokens and checkpoint sizes are exact; memory and disk are bounds that a run should stay under, and each
//! formula is stated where it is computed. Pure: what is known about corpora and tokenizer is passed in.

mod memory;
mod warnings;

use crate::accounting::Flops;
use crate::ids::{CorpusName, StageName};
use crate::spec::{BERT_TOKEN_TYPES, CheckpointSpec, Family, Method, ModelSpec, QuantizeSpec, RunSpec, StageSpec, TokenizerSpec};
use serde::Serialize;
use std::collections::BTreeMap;

pub use memory::{KEPT_BYTES, Memory, PROCESS_BYTES};
pub use warnings::{ENOUGH_TOKENS_PER_PARAMETER, FREE_EPOCHS};

/// Bytes of an fp32 value: weights, gradients and both moments are kept so.
const FP32: u64 = 4;

/// The plan of a run in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub vocab: u32,
    pub parameters: Parameters,
    pub stages: Vec<StageEstimate>,
    /// Passes over each corpus in the whole run, where its size is known.
    pub epochs: BTreeMap<CorpusName, f64>,
    /// Weights and both moments, fp32.
    pub checkpoint_bytes: u64,
    pub disk: Disk,
    /// What looks unwise, one sentence each; none of it stops a run.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parameters {
    pub total: u64,
    /// Without token embeddings, learned positions and an output head of its own.
    pub non_embedding: u64,
    /// The N of 6N: what multiplies each token, which is the non-embedding parameters and the output head, tied or not.
    pub active: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageEstimate {
    pub name: StageName,
    pub steps: u64,
    pub tokens: u64,
    /// Forward and backward, see [`Flops`]; nothing that is computed twice.
    pub flops_per_token: f64,
    pub flops: f64,
    pub memory_per_rank: Memory,
    /// Passes over each corpus in this stage; `None` where its size is not known yet.
    pub epochs: BTreeMap<CorpusName, Option<f64>>,
    /// Checkpoints that are published, the last included.
    pub checkpoints: u64,
    /// Those of them that are kept when the run is over and another stage followed.
    pub kept: u64,
}

/// Disk needed at the fullest moment, in bytes. Source files and logs are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    pub checkpoints: u64,
    /// Exported and quantized models.
    pub models: u64,
    /// Token shards, where the corpora's sizes are known.
    pub shards: u64,
    pub total: u64,
}

/// The estimate of a run. `vocab` is the tokenizer's size ([`planned_vocab`] before it exists); `corpus_tokens` holds the training
/// tokens of those corpora whose size is known.
pub fn estimate(spec: &RunSpec, vocab: u32, corpus_tokens: &BTreeMap<CorpusName, u64>) -> Estimate {
    let parameters = parameters_of(&spec.model, vocab);
    let checkpoint_bytes = parameters.total.saturating_mul(3 * FP32);
    let stages: Vec<_> = spec.stages.iter().map(|stage| estimate_stage(spec, stage, vocab, &parameters, corpus_tokens)).collect();
    let disk = disk(spec, &stages, &parameters, checkpoint_bytes, vocab, corpus_tokens);
    let mut epochs: BTreeMap<CorpusName, f64> = BTreeMap::new();
    for (corpus, passes) in stages.iter().flat_map(|stage| &stage.epochs) {
        if let Some(passes) = passes {
            *epochs.entry(corpus.clone()).or_default() += passes;
        }
    }
    let warnings = warnings::warnings(spec, &parameters, &epochs);
    Estimate { vocab, parameters, stages, epochs, checkpoint_bytes, disk, warnings }
}

/// The vocabulary's size when the tokenizer is yet to be trained; `None` when it is in a file.
pub fn planned_vocab(spec: &RunSpec) -> Option<u32> {
    match spec.tokenizer {
        TokenizerSpec::Train { vocab_size, .. } => Some(vocab_size),
        TokenizerSpec::File { .. } => None,
    }
}

/// The exact number of parameters.
pub fn parameters(model: &ModelSpec, vocab: u32) -> u64 {
    parameters_of(model, vocab).total
}

/// Llama, a layer: q and o of dim x (heads x head_dim), k and v of dim x kv_dim, three feed-forward matrices, two norm gains; qwen2 has
/// biases on q, k and v besides. GPT-2 and bert, a layer: four matrices of dim² and two of dim x ffn, each with its bias, and two norms of
/// gain and bias. Bert's tables have positions and token types, and a norm of their own; its head has a matrix, a norm and a bias.
pub fn parameters_of(model: &ModelSpec, vocab: u32) -> Parameters {
    // 128 bits: the widest product of a hostile spec's 32-bit fields fits.
    let wide = u128::from;
    let (dim, layers, ffn, vocab) = (wide(model.dim), wide(model.layers), wide(model.ffn), wide(vocab));
    let head_dim = wide(model.head_dim());
    let (q_dim, kv_dim) = (head_dim * wide(model.heads), head_dim * wide(model.kv_heads));
    let with_biases = 4 * dim * dim + 4 * dim + 2 * dim * ffn + ffn + dim + 4 * dim;
    let gated = 2 * dim * q_dim + 2 * dim * kv_dim + 3 * dim * ffn + 2 * dim;
    let learned = wide(model.max_positions) * dim;
    let (layer, outside, positions) = match model.family {
        Family::Llama | Family::Gemma => (gated, dim, 0),
        Family::Qwen2 => (gated + q_dim + 2 * kv_dim, dim, 0),
        Family::Gpt2 => (with_biases, 2 * dim, learned),
        Family::Bert => (with_biases, 2 * dim + dim * dim + dim + 2 * dim + vocab, learned + wide(BERT_TOKEN_TYPES) * dim),
    };
    let non_embedding = layers * layer + outside;
    let table = vocab * dim;
    let tables = if model.tied { table } else { 2 * table };
    let narrow = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    Parameters {
        total: narrow(non_embedding + tables + positions),
        non_embedding: narrow(non_embedding),
        active: narrow(non_embedding + table),
    }
}

fn estimate_stage(
    spec: &RunSpec,
    stage: &StageSpec,
    vocab: u32,
    parameters: &Parameters,
    corpus_tokens: &BTreeMap<CorpusName, u64>,
) -> StageEstimate {
    let steps = stage.steps();
    let tokens = steps.saturating_mul(stage.tokens_per_step());
    let model = &spec.model;
    let flops_per_token = Flops::of_stage(model, vocab, stage).model;
    let all_parts: f64 = stage.mixture.values().map(|parts| f64::from(*parts)).sum();
    let passes = |corpus: &CorpusName, parts: u32| {
        let size = corpus_tokens.get(corpus).filter(|size| **size > 0)?;
        Some(tokens as f64 * f64::from(parts) / all_parts / *size as f64)
    };
    StageEstimate {
        name: stage.name.clone(),
        steps,
        tokens,
        flops_per_token,
        flops: flops_per_token * tokens as f64,
        memory_per_rank: memory::Rank { model, vocab, parameters, stage, resources: &spec.resources }.memory(),
        epochs: stage.mixture.iter().map(|(corpus, parts)| (corpus.clone(), passes(corpus, *parts))).collect(),
        checkpoints: steps.div_ceil(spec.checkpoint.every_steps.max(1)),
        kept: kept(&spec.checkpoint, steps),
    }
}

/// A stage's last checkpoint, and before it the listed ones, those at multiples of `keep_every`, and at most so many best ones.
fn kept(policy: &CheckpointSpec, steps: u64) -> u64 {
    let before_last = steps.saturating_sub(1);
    let of_every = |step: u64| policy.keep_every.is_some_and(|every| step.is_multiple_of(every.max(1)));
    let every = policy.keep_every.map_or(0, |every| before_last / every.max(1));
    let listed = policy.pinned.iter().filter(|step| **step < steps && !of_every(**step)).count() as u64;
    let all = steps.div_ceil(policy.every_steps.max(1));
    (1 + every + listed + u64::from(policy.keep_best)).min(all)
}

fn disk(
    spec: &RunSpec,
    stages: &[StageEstimate],
    parameters: &Parameters,
    checkpoint_bytes: u64,
    vocab: u32,
    corpus_tokens: &BTreeMap<CorpusName, u64>,
) -> Disk {
    // For good: each stage's kept ones. For a while: the newest ones, and the one being written.
    let for_good: u64 = stages.iter().map(|stage| stage.kept).sum();
    let most: u64 = stages.iter().map(|stage| stage.checkpoints).sum();
    let for_a_while = u64::from(spec.checkpoint.keep_last) + 1;
    let checkpoints = for_good.saturating_add(for_a_while).min(most.saturating_add(1)).saturating_mul(checkpoint_bytes);
    let model = parameters.total.saturating_mul(spec.export.dtype.bytes());
    let models = stages.iter().map(|stage| {
        let made = |q: &&QuantizeSpec| q.stages.is_empty() || q.stages.contains(&stage.name);
        let quantized = spec.quantize.iter().filter(made).map(|q| quantized_bytes(q.method, parameters));
        quantized.fold(model, u64::saturating_add)
    });
    let models = models.fold(0, u64::saturating_add);
    // Megatron's .bin: two bytes a token while every id fits.
    let width = if vocab <= 1 << 16 { 2 } else { 4 };
    let shards = corpus_tokens.iter().filter(|(name, _)| spec.corpora.contains_key(name));
    let shards = shards.map(|(_, tokens)| tokens.saturating_mul(width)).fold(0, u64::saturating_add);
    let total = checkpoints.saturating_add(models).saturating_add(shards);
    Disk { checkpoints, models, shards, total }
}

/// Upper bounds. int8 takes a byte a matrix value and leaves embeddings and head in fp32; Q8_0 takes 34 bytes for 32 values.
fn quantized_bytes(method: Method, parameters: &Parameters) -> u64 {
    match method {
        Method::Int8 => {
            let tables = parameters.total.saturating_sub(parameters.non_embedding);
            parameters.non_embedding.saturating_add(tables.saturating_mul(FP32))
        }
        Method::GgufQ8_0 => (parameters.total / 32).saturating_mul(34).saturating_add(34),
    }
}

#[cfg(test)]
mod tests;
