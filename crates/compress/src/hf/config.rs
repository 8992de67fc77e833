//! config.json -> [`Arch`], with the defaults that Hugging Face applies to absent keys.

use crate::CompressError;
use crate::arch::{Arch, Family, SUPPORTED};
use serde_json::Value;
use std::path::Path;

/// Typed access to the keys of one JSON object; every error names file and key.
pub(crate) struct Fields<'a> {
    pub path: &'a Path,
    pub value: &'a Value,
}

impl<'a> Fields<'a> {
    pub fn new(path: &'a Path, value: &'a Value) -> Result<Self, CompressError> {
        match value.is_object() {
            true => Ok(Self { path, value }),
            false => Err(CompressError::field(path, "(root)", "must be a JSON object")),
        }
    }

    /// The key's value; JSON null counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn parse<T>(&self, key: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, CompressError> {
        let wrong = |v: &Value| CompressError::field(self.path, key, format!("must be {kind}, not {v}"));
        self.get(key).map(|v| read(v).ok_or_else(|| wrong(v))).transpose()
    }

    /// A size: an integer of at least 1.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, CompressError> {
        let read = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        Ok(self.parse(key, "an integer of at least 1", read)?.unwrap_or(default))
    }

    pub fn size(&self, key: &str) -> Result<usize, CompressError> {
        match self.size_or(key, 0)? {
            0 => Err(CompressError::field(self.path, key, "is missing")),
            n => Ok(n),
        }
    }

    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, CompressError> {
        Ok(self.parse(key, "a number", Value::as_f64)?.unwrap_or(default))
    }

    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, CompressError> {
        Ok(self.parse(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, CompressError> {
        self.parse(key, "a string", Value::as_str)
    }
}

/// Reads sizes and constants, not yet checked against each other.
pub(crate) fn arch_from_config(path: &Path, config: &Value) -> Result<Arch, CompressError> {
    let fields = Fields::new(path, config)?;
    match family(&fields)? {
        family @ (Family::Llama | Family::Qwen2 | Family::Gemma) => llama(family, &fields),
        Family::Gpt2 => gpt2(&fields),
    }
}

fn family(fields: &Fields) -> Result<Family, CompressError> {
    let named = fields.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let found = match named {
        Some(name) => name,
        None => fields.text("model_type")?.unwrap_or("none"),
    };
    match found {
        "LlamaForCausalLM" | "llama" => Ok(Family::Llama),
        "Qwen2ForCausalLM" | "qwen2" => Ok(Family::Qwen2),
        "GemmaForCausalLM" | "gemma" => Ok(Family::Gemma),
        "GPT2LMHeadModel" | "gpt2" => Ok(Family::Gpt2),
        _ => Err(CompressError::UnknownArchitecture { path: fields.path.to_owned(), found: found.to_owned(), supported: SUPPORTED }),
    }
}

fn llama(family: Family, fields: &Fields) -> Result<Arch, CompressError> {
    let hidden = fields.size("hidden_size")?;
    let heads = fields.size("num_attention_heads")?;
    let head_dim = match fields.get("head_dim") {
        Some(_) => fields.size("head_dim")?,
        None if family == Family::Gemma => 256,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(CompressError::field(fields.path, "num_attention_heads", format!("{heads} does not divide hidden_size {hidden}")));
        }
    };
    // Newer configs keep rope_theta inside rope_parameters.
    let rope_theta = match fields.get("rope_parameters") {
        Some(inner) => Fields { path: fields.path, value: inner }.number_or("rope_theta", 10_000.0)?,
        None => fields.number_or("rope_theta", 10_000.0)?,
    };
    Ok(Arch {
        family,
        layers: fields.size("num_hidden_layers")?,
        hidden,
        inner: fields.size("intermediate_size")?,
        heads,
        kv_heads: fields.size_or("num_key_value_heads", heads)?,
        head_dim,
        vocab: fields.size("vocab_size")?,
        context: fields.size_or("max_position_embeddings", 2048)?,
        eps: fields.number_or("rms_norm_eps", 1e-6)?,
        rope_theta,
        tied: fields.bool_or("tie_word_embeddings", family == Family::Gemma)?,
        attention_bias: family == Family::Qwen2 || fields.bool_or("attention_bias", false)?,
        mlp_bias: fields.bool_or("mlp_bias", false)?,
    })
}

fn gpt2(fields: &Fields) -> Result<Arch, CompressError> {
    let hidden = fields.size("n_embd")?;
    let heads = fields.size("n_head")?;
    Ok(Arch {
        family: Family::Gpt2,
        layers: fields.size("n_layer")?,
        hidden,
        inner: fields.size_or("n_inner", hidden.saturating_mul(4))?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        vocab: fields.size("vocab_size")?,
        context: fields.size_or("n_positions", 1024)?,
        eps: fields.number_or("layer_norm_epsilon", 1e-5)?,
        rope_theta: 10_000.0,
        tied: fields.bool_or("tie_word_embeddings", true)?,
        attention_bias: true,
        mlp_bias: true,
    })
}

/// Refuses what a GGUF of this family cannot say: a reader of the file would compute a different model without a word.
pub(crate) fn check_sayable_in_gguf(path: &Path, config: &Value, family: Family) -> Result<(), CompressError> {
    let fields = Fields::new(path, config)?;
    let refuse = |key: &str, found: &str| {
        let reason = format!("{found} cannot be written to GGUF for this architecture; use method int8");
        Err(CompressError::field(path, key, reason))
    };
    match family {
        Family::Llama | Family::Qwen2 | Family::Gemma => {
            let gemma = family == Family::Gemma;
            let act = fields.text("hidden_act")?.unwrap_or(if gemma { "gelu_pytorch_tanh" } else { "silu" });
            let tanh = matches!(act, "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast");
            // Gemma's first configs said "gelu" and meant the approximation.
            let right = if gemma { tanh || act == "gelu" } else { matches!(act, "silu" | "swish") };
            if !right {
                return refuse("hidden_act", act);
            }
            for key in ["use_sliding_window", "use_bidirectional_attention"] {
                if fields.bool_or(key, false)? {
                    return refuse(key, "true");
                }
            }
            for key in ["rope_scaling", "rope_parameters"] {
                let Some(inner) = fields.get(key) else {
                    continue;
                };
                let inner = Fields { path, value: inner };
                let kind = inner.text("rope_type")?.or(inner.text("type")?).unwrap_or("default");
                if kind != "default" {
                    return refuse(key, kind);
                }
            }
        }
        Family::Gpt2 => {
            let act = fields.text("activation_function")?.unwrap_or("gelu_new");
            if !matches!(act, "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") {
                return refuse("activation_function", act);
            }
            if !fields.bool_or("scale_attn_weights", true)? {
                return refuse("scale_attn_weights", "false");
            }
            if fields.bool_or("scale_attn_by_inverse_layer_idx", false)? {
                return refuse("scale_attn_by_inverse_layer_idx", "true");
            }
        }
    }
    Ok(())
}
