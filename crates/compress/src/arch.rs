//! The two model families: what their config means and which tensors follow from it, under both names and in which layout.
//! Everything else in this crate walks this list, so a tensor that it does not name is neither written nor believed.

use crate::CompressError;
use crate::layout;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) const SUPPORTED: &str = "LlamaForCausalLM, GPT2LMHeadModel";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Gpt2,
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
}

impl TensorSpec {
    fn new(hf: impl Into<String>, gguf: impl Into<String>, shape: &[usize], role: Role) -> Self {
        Self { hf: hf.into(), gguf: gguf.into(), shape: shape.to_vec(), role, rotary: None, conv1d: false }
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
    pub fn to_rows(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, rows, cols),
            _ => data,
        }
    }

    pub fn from_rows(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, cols, rows),
            _ => data,
        }
    }

    pub fn to_gguf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = self.to_rows(data);
        match self.rotary {
            Some((heads, head_dim)) => layout::interleave_heads(&data, heads, head_dim),
            None => data,
        }
    }

    pub fn from_gguf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = match self.rotary {
            Some((heads, head_dim)) => layout::split_heads(&data, heads, head_dim),
            None => data,
        };
        self.from_rows(data)
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
            Family::Llama if !self.head_dim.is_multiple_of(2) => {
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
            Family::Llama => json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
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
                "hidden_act": "silu",
                "tie_word_embeddings": self.tied,
                "attention_bias": self.attention_bias,
                "mlp_bias": self.mlp_bias,
                "torch_dtype": "float32",
            }),
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

    /// Every tensor of the model, in its order. A tied head is not a tensor.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let mut specs = match self.family {
            Family::Llama => self.llama_specs(),
            Family::Gpt2 => self.gpt2_specs(),
        };
        if !self.tied {
            specs.push(TensorSpec::new("lm_head.weight", "output.weight", &[self.vocab, self.hidden], Role::Vocabulary));
        }
        specs
    }

    fn llama_specs(&self) -> Vec<TensorSpec> {
        let (d, q, kv) = (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let norm = |hf: String, gguf: String| TensorSpec::new(hf, gguf, &[d], Role::Small);
        let mut specs =
            vec![TensorSpec::new("model.embed_tokens.weight", "token_embd.weight", &[self.vocab, d], Role::Vocabulary)];
        for n in 0..self.layers {
            let (hf, gguf) = (format!("model.layers.{n}"), format!("blk.{n}"));
            specs.push(norm(format!("{hf}.input_layernorm.weight"), format!("{gguf}.attn_norm.weight")));
            for (module, name, out, inp, rotary_heads, bias) in [
                ("self_attn.q_proj", "attn_q", q, d, Some(self.heads), self.attention_bias),
                ("self_attn.k_proj", "attn_k", kv, d, Some(self.kv_heads), self.attention_bias),
                ("self_attn.v_proj", "attn_v", kv, d, None, self.attention_bias),
                ("self_attn.o_proj", "attn_output", d, q, None, self.attention_bias),
                ("mlp.gate_proj", "ffn_gate", self.inner, d, None, self.mlp_bias),
                ("mlp.up_proj", "ffn_up", self.inner, d, None, self.mlp_bias),
                ("mlp.down_proj", "ffn_down", d, self.inner, None, self.mlp_bias),
            ] {
                let rotary = rotary_heads.map(|heads| (heads, self.head_dim));
                let name_of = |kind: &str| (format!("{hf}.{module}.{kind}"), format!("{gguf}.{name}.{kind}"));
                let (weight_hf, weight_gguf) = name_of("weight");
                specs.push(TensorSpec { rotary, ..TensorSpec::new(weight_hf, weight_gguf, &[out, inp], Role::Linear) });
                if bias {
                    let (bias_hf, bias_gguf) = name_of("bias");
                    specs.push(TensorSpec { rotary, ..TensorSpec::new(bias_hf, bias_gguf, &[out], Role::Small) });
                }
            }
            specs.push(norm(format!("{hf}.post_attention_layernorm.weight"), format!("{gguf}.ffn_norm.weight")));
        }
        specs.push(norm("model.norm.weight".to_owned(), "output_norm.weight".to_owned()));
        specs
    }

    fn gpt2_specs(&self) -> Vec<TensorSpec> {
        let d = self.hidden;
        let mut specs = vec![
            TensorSpec::new("transformer.wte.weight", "token_embd.weight", &[self.vocab, d], Role::Vocabulary),
            TensorSpec::new("transformer.wpe.weight", "position_embd.weight", &[self.context, d], Role::Small),
        ];
        let norm = |specs: &mut Vec<TensorSpec>, hf: String, gguf: String| {
            for kind in ["weight", "bias"] {
                specs.push(TensorSpec::new(format!("{hf}.{kind}"), format!("{gguf}.{kind}"), &[d], Role::Small));
            }
        };
        for n in 0..self.layers {
            let (hf, gguf) = (format!("transformer.h.{n}"), format!("blk.{n}"));
            norm(&mut specs, format!("{hf}.ln_1"), format!("{gguf}.attn_norm"));
            norm(&mut specs, format!("{hf}.ln_2"), format!("{gguf}.ffn_norm"));
            for (module, name, inp, out) in [
                ("attn.c_attn", "attn_qkv", d, 3 * d),
                ("attn.c_proj", "attn_output", d, d),
                ("mlp.c_fc", "ffn_up", d, self.inner),
                ("mlp.c_proj", "ffn_down", self.inner, d),
            ] {
                let (hf, gguf) = (format!("{hf}.{module}"), format!("{gguf}.{name}"));
                let weight = TensorSpec::new(format!("{hf}.weight"), format!("{gguf}.weight"), &[inp, out], Role::Linear);
                specs.push(TensorSpec { conv1d: true, ..weight });
                specs.push(TensorSpec::new(format!("{hf}.bias"), format!("{gguf}.bias"), &[out], Role::Small));
            }
        }
        norm(&mut specs, "transformer.ln_f".to_owned(), "output_norm".to_owned());
        specs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn arch(family: Family, heads: usize, kv_heads: usize, head_dim: usize, tied: bool) -> Arch {
        let hidden = heads * head_dim;
        Arch {
            family,
            layers: 2,
            hidden,
            inner: 2 * hidden + 2,
            heads,
            kv_heads: if family == Family::Gpt2 { heads } else { kv_heads },
            head_dim,
            vocab: 11,
            context: 7,
            eps: 1e-5,
            rope_theta: 1e4,
            tied,
            attention_bias: true,
            mlp_bias: true,
        }
    }

    proptest! {
        #[test]
        fn every_tensor_comes_back_from_gguf_order(kv in 1usize..3, group in 1usize..3, half in 1usize..4, gpt2: bool, tied: bool) {
            let family = if gpt2 { Family::Gpt2 } else { Family::Llama };
            let specs = arch(family, kv * group, kv, 2 * half, tied).specs();
            for names in [specs.iter().map(|s| &s.hf).collect::<BTreeSet<_>>(), specs.iter().map(|s| &s.gguf).collect()] {
                prop_assert_eq!(names.len(), specs.len(), "names must not collide");
            }
            for spec in &specs {
                let data: Vec<f32> = (0..spec.elements()).map(|i| i as f32).collect();
                let there = spec.to_gguf(data.clone());
                let mut sorted = there.clone();
                sorted.sort_by(f32::total_cmp);
                prop_assert_eq!(&sorted, &data, "{} loses an element", &spec.hf);
                prop_assert_eq!(&spec.from_gguf(there), &data, "{} does not come back", &spec.hf);
                prop_assert_eq!(&spec.from_rows(spec.to_rows(data.clone())), &data);
            }
        }
    }

    #[test]
    fn more_layers_than_tensors_are_refused_before_they_are_listed() {
        let huge = Arch { layers: usize::MAX / 2, ..arch(Family::Llama, 2, 1, 4, true) };
        let error = huge.check(Path::new("config.json"), 20).unwrap_err().to_string();
        assert!(error.contains("20 tensors"), "{error}");
    }
}
