//! How a stage is computed: number formats, memory against work, and what attention may see. None of it changes which samples are read.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    #[default]
    Fp32,
    /// Brain floating point: the exponent of fp32 with 8 bits of mantissa.
    Bf16,
}

impl Precision {
    /// Bytes of one value.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Fp32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Layers whose activations are computed a second time in backward instead of being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "layers")]
pub enum Recompute {
    #[default]
    None,
    All,
    /// The first so many layers.
    First(u32),
}

impl Recompute {
    /// How many of a model's layers are computed twice: the first ones.
    pub fn layers(self, of: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::All => of,
            Self::First(n) => n.min(of),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeSpec {
    /// Of activations and products. Weights, gradients, moments, the loss and norms' sums are fp32 always.
    pub precision: Precision,
    /// What gradients travel in between ranks.
    pub reduce: Precision,
    pub recompute: Recompute,
    /// Packed documents do not see each other.
    pub document_mask: bool,
}

/// What weight decay acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayOn {
    /// Matrices, embeddings included; not norms and biases.
    #[default]
    Matrices,
    All,
}

/// What equal bits are promised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Determinism {
    /// For one number of ranks.
    #[default]
    Fast,
    /// For every number of ranks: gradients are summed in one fixed tree over the micro-batches of the global batch.
    Elastic,
}
