//! `[model]`: families and shapes.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// RMSNorm, RoPE, SwiGLU, grouped-query attention, no biases.
    Llama,
    /// LayerNorm, learned positions, GELU (tanh), biases; head tied.
    Gpt2,
    /// As llama, with biases on queries, keys and values.
    Qwen2,
    /// As llama, with gains of 1 + w, GELU (tanh) gates, embeddings times the root of `dim`; head tied.
    Gemma,
    /// An encoder: LayerNorm after each block, learned positions and token types, GELU (erf), biases; predicts masked tokens.
    Bert,
}

impl Family {
    pub const ALL: [Self; 5] = [Self::Llama, Self::Gpt2, Self::Qwen2, Self::Gemma, Self::Bert];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gpt2 => "gpt2",
            Self::Qwen2 => "qwen2",
            Self::Gemma => "gemma",
            Self::Bert => "bert",
        }
    }

    /// Positions are turned into queries and keys; otherwise they are learned, and their number is part of the weights.
    pub fn rotary(self) -> bool {
        matches!(self, Self::Llama | Self::Qwen2 | Self::Gemma)
    }

    /// Predicts each token from those before it.
    pub fn causal(self) -> bool {
        self != Self::Bert
    }

    /// `norm_eps` where `[model]` does not name it: what the family's first models have.
    pub fn default_norm_eps(self) -> f64 {
        match self {
            Self::Llama | Self::Gpt2 => 1e-5,
            Self::Qwen2 | Self::Gemma => 1e-6,
            Self::Bert => 1e-12,
        }
    }

    /// `rope_theta` where `[model]` does not name it.
    pub fn default_rope_theta(self) -> f64 {
        if self == Self::Qwen2 { 1_000_000.0 } else { 10_000.0 }
    }

    /// The output head is always the embedding.
    pub fn always_tied(self) -> bool {
        matches!(self, Self::Gpt2 | Self::Gemma | Self::Bert)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How rotary frequencies are stretched for a context longer than the one that a model was first trained with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum RopeScaling {
    /// All positions divided by `factor`.
    Linear { factor: f64 },
    /// Llama 3.1: wavelengths above `original_max_positions / low_freq_factor` are stretched by `factor`, those below
    /// `original_max_positions / high_freq_factor` are left, those between are blended.
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_positions: u32 },
}

/// The shape of the model. The vocabulary's size comes from the tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub family: Family,
    pub dim: u32,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    /// Width of a head; none is `dim / heads`. See [`Self::head_dim()`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u32>,
    pub ffn: u32,
    /// Context length: the longest sequence that the model may see.
    pub max_positions: u32,
    pub tied: bool,
    pub norm_eps: f64,
    pub rope_theta: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Standard deviation of the normal initialisation.
    pub init_std: f64,
}

impl ModelSpec {
    /// What a GGUF of this model cannot say, so that its readers would compute another one without a word.
    pub fn unsayable_in_gguf(&self) -> Option<String> {
        let llama3 = matches!(self.rope_scaling, Some(RopeScaling::Llama3 { .. }));
        let family = self.family;
        (llama3 && family != Family::Llama)
            .then(|| format!("llama3 scaling of rotary positions cannot be said for a {family} in GGUF: use int8"))
    }

    pub fn head_dim(&self) -> u32 {
        self.head_dim.unwrap_or(self.dim / self.heads.max(1))
    }
}

/// Token types of a bert: the first and the second text of a pair. Packed training text is all of the first.
pub const BERT_TOKEN_TYPES: u32 = 2;
