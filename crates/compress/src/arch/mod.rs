//! The model families: what their config means and which tensors follow from it, under both names and in which layout.
//! Everything else in this crate walks this list, so a tensor that it does not name is neither written nor believed.

mod specs;

use crate::CompressError;
use crate::layout;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) const SUPPORTED: &str = "LlamaForCausalLM, Qwen2ForCausalLM, GemmaForCausalLM, GPT2LMHeadModel";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    /// As llama, with biases on queries, keys and values.
    Qwen2,
    /// As llama, with gains of 1 + w and GELU gates.
    Gemma,
    Gpt2,
}

impl Family {
    /// Reads positions into queries and keys.
    pub fn rotary(self) -> bool {
        self != Self::Gpt2
    }
}

/// Sizes and constants of one model. All sizes are checked to be at least 1 and to multiply without overflow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arch {
    pub family: Family,
    pub layers: usize,
    pub hidden: usize,
    pub inner: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub context: usize,
    pub eps: f64,
    pub rope_theta: f64,
    pub tied: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Token embedding or output head: quantized in GGUF, kept in int8 folders.
    Vocabulary,
    /// A projection inside a block: what every method quantizes.
    Linear,
    /// Norms, biases and learned positions: never quantized.
    Small,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorSpec {
    pub hf: String,
    pub gguf: String,
    /// Shape in the Hugging Face file.
    pub shape: Vec<usize>,
    pub role: Role,
    /// (heads, head_dim) when the rows are interleaved in GGUF.
    rotary: Option<(usize, usize)>,
    /// Stored `[in, out]` by Hugging Face, `[out, in]` by everything else.
    conv1d: bool,
    /// A norm's w whose gain is 1 + w: GGUF holds the gain.
    gain: bool,
}

impl TensorSpec {
    fn new(hf: impl Into<String>, gguf: impl Into<String>, shape: &[usize], role: Role) -> Self {
        Self { hf: hf.into(), gguf: gguf.into(), shape: shape.to_vec(), role, rotary: None, conv1d: false, gain: false }
    }

    /// The shape with output channels first: that of GGUF tensors and int8 matrices.
    pub fn rows_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.conv1d {
            shape.reverse();
        }
        shape
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// From Hugging Face order to output channels first.
    pub fn hf_to_rows(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, rows, cols),
            _ => data,
        }
    }

    pub fn rows_to_hf(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, cols, rows),
            _ => data,
        }
    }

    pub fn hf_to_gguf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = self.hf_to_rows(data);
        match self.rotary {
            Some((heads, head_dim)) => layout::interleave_heads(&data, heads, head_dim),
            None if self.gain => data.into_iter().map(|w| 1.0 + w).collect(),
            None => data,
        }
    }

    pub fn gguf_to_hf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = match self.rotary {
            Some((heads, head_dim)) => layout::split_heads(&data, heads, head_dim),
            None if self.gain => data.into_iter().map(|gain| gain - 1.0).collect(),
            None => data,
        };
        self.rows_to_hf(data)
    }
}

impl Arch {
    /// Refuses sizes that contradict each other. `tensors` is how many tensors the weights have: a config that asks for more
    /// layers than that is refused before a list of them is built. `path` is the file to blame.
    pub fn check(self, path: &Path, tensors: usize) -> Result<Self, CompressError> {
        let fail = |field: &str, reason: String| Err(CompressError::field(path, field, reason));
        if self.layers > tensors {
            return fail("layers", format!("{} layers, but the weights hold {tensors} tensors", self.layers));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail("kv heads", format!("{} heads cannot share {} key/value heads", self.heads, self.kv_heads));
        }
        match self.family {
            family if family.rotary() && !self.head_dim.is_multiple_of(2) => {
                return fail("head_dim", format!("{} is odd; rotary embeddings need pairs", self.head_dim));
            }
            Family::Gpt2 if self.heads.checked_mul(self.head_dim) != Some(self.hidden) || self.kv_heads != self.heads => {
                return fail("n_head", format!("{} heads do not divide n_embd {}", self.heads, self.hidden));
            }
            _ => {}
        }
        // Each matrix is at most the product of two of these; f32 bytes of it must be countable too.
        let widths = [self.hidden, self.inner, self.vocab, self.context, self.heads.saturating_mul(self.head_dim)];
        let widest = widths.into_iter().max().unwrap_or(0);
        if widest > (1 << 28) {
            return fail("sizes", format!("a dimension of {widest} is not believable"));
        }
        if !(self.eps.is_finite() && self.eps > 0.0 && self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return fail("constants", format!("epsilon {} and rope_theta {} must be positive", self.eps, self.rope_theta));
        }
        Ok(self)
    }

    /// The config.json from which a Hugging Face reader builds the same model.
    pub fn to_hf(&self) -> Value {
        match self.family {
            Family::Llama | Family::Qwen2 | Family::Gemma => {
                let (architecture, model_type, act) = match self.family {
                    Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2", "silu"),
                    Family::Gemma => ("GemmaForCausalLM", "gemma", "gelu_pytorch_tanh"),
                    _ => ("LlamaForCausalLM", "llama", "silu"),
                };
                json!({
                "architectures": [architecture],
                "model_type": model_type,
                "hidden_size": self.hidden,
                "intermediate_size": self.inner,
                "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads,
                "head_dim": self.head_dim,
                "vocab_size": self.vocab,
                "max_position_embeddings": self.context,
                "rms_norm_eps": self.eps,
                "rope_theta": self.rope_theta,
                "hidden_act": act,
                "tie_word_embeddings": self.tied,
                // Qwen2's biases go without saying.
                "attention_bias": self.attention_bias && self.family != Family::Qwen2,
                "mlp_bias": self.mlp_bias,
                "torch_dtype": "float32",
                })
            }
            Family::Gpt2 => json!({
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "n_embd": self.hidden,
                "n_inner": self.inner,
                "n_layer": self.layers,
                "n_head": self.heads,
                "n_positions": self.context,
                "n_ctx": self.context,
                "vocab_size": self.vocab,
                "layer_norm_epsilon": self.eps,
                "activation_function": "gelu_new",
                "tie_word_embeddings": self.tied,
                "torch_dtype": "float32",
            }),
        }
    }
}
