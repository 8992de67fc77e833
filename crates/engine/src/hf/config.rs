//! `config.json`, read and written. What the engine cannot compute is refused by name, never ignored.

use crate::EngineError;
use crate::models::params::parameters;
use osler_core::spec::{Family, ModelSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// Ids that generation needs; absent ones are left out of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub spec: ModelSpec,
    pub vocab: usize,
    pub special: SpecialTokens,
}

#[derive(Deserialize)]
struct Llama {
    hidden_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    num_key_value_heads: Option<u32>,
    intermediate_size: u32,
    max_position_embeddings: u32,
    vocab_size: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    head_dim: Option<u32>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    initializer_range: Option<f64>,
}

#[derive(Deserialize)]
struct Gpt2 {
    n_embd: u32,
    n_layer: u32,
    n_head: u32,
    n_inner: Option<u32>,
    n_positions: u32,
    vocab_size: usize,
    layer_norm_epsilon: Option<f64>,
    activation_function: Option<String>,
    tie_word_embeddings: Option<bool>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    initializer_range: Option<f64>,
}

impl Config {
    /// Errors: all problems at once.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let value: Value = serde_json::from_str(text).map_err(|e| vec![format!("config.json: {e}")])?;
        let mut problems = vec![];
        let special = special(&value, &mut problems);
        let (spec, vocab) = match value.get("model_type").and_then(Value::as_str) {
            Some("llama") => llama(serde_json::from_value(value).map_err(|e| vec![format!("config.json: {e}")])?, &mut problems),
            Some("gpt2") => gpt2(serde_json::from_value(value).map_err(|e| vec![format!("config.json: {e}")])?, &mut problems),
            other => return Err(vec![format!("config.json: model_type {other:?} is not supported; llama and gpt2 are")]),
        };
        if let Err(EngineError::Model(more)) = parameters(&spec, vocab) {
            problems.extend(more);
        }
        if problems.is_empty() { Ok(Self { spec, vocab, special }) } else { Err(problems) }
    }

    /// The text of `config.json`, for transformers 4 and 5.
    pub fn to_json(&self) -> String {
        let Self { spec, vocab, special } = self;
        let mut value = match spec.family {
            Family::Llama => json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": spec.dim,
                "num_hidden_layers": spec.layers,
                "num_attention_heads": spec.heads,
                "num_key_value_heads": spec.kv_heads,
                "head_dim": spec.dim / spec.heads.max(1),
                "intermediate_size": spec.ffn,
                "max_position_embeddings": spec.max_positions,
                "rms_norm_eps": spec.norm_eps,
                "rope_theta": spec.rope_theta,
                "rope_scaling": null,
                "hidden_act": "silu",
                "attention_bias": false,
                "attention_dropout": 0.0,
                "mlp_bias": false,
                "tie_word_embeddings": spec.tied,
            }),
            Family::Gpt2 => json!({
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "n_embd": spec.dim,
                "n_layer": spec.layers,
                "n_head": spec.heads,
                "n_inner": spec.ffn,
                "n_positions": spec.max_positions,
                "layer_norm_epsilon": spec.norm_eps,
                "activation_function": "gelu_new",
                "attn_pdrop": 0.0,
                "embd_pdrop": 0.0,
                "resid_pdrop": 0.0,
                "tie_word_embeddings": true,
            }),
        };
        value["vocab_size"] = json!(vocab);
        value["initializer_range"] = json!(spec.init_std);
        value["torch_dtype"] = json!("float32");
        value["use_cache"] = json!(true);
        for (key, id) in special.fields() {
            // Written even when absent: the library's own defaults would name other tokens.
            value[key] = json!(id);
        }
        format!("{value:#}\n")
    }
}

impl SpecialTokens {
    pub(super) fn fields(&self) -> [(&'static str, Option<u32>); 3] {
        [("bos_token_id", self.bos), ("eos_token_id", self.eos), ("pad_token_id", self.pad)]
    }
}

fn special(value: &Value, problems: &mut Vec<String>) -> SpecialTokens {
    let mut id = |key: &str| match value.get(key) {
        None | Some(Value::Null) => None,
        // Several end tokens: the first is the one that documents end with.
        Some(Value::Array(ids)) => ids.first().and_then(Value::as_u64).and_then(|id| id.try_into().ok()),
        // -1 stands for "none" in old files.
        Some(Value::Number(n)) if n.as_i64() == Some(-1) => None,
        Some(other) => {
            let id = other.as_u64().and_then(|id| id.try_into().ok());
            if id.is_none() {
                problems.push(format!("config.json: {key} is {other}, must be a token id"));
            }
            id
        }
    };
    SpecialTokens { bos: id("bos_token_id"), eos: id("eos_token_id"), pad: id("pad_token_id") }
}

fn llama(config: Llama, problems: &mut Vec<String>) -> (ModelSpec, usize) {
    let mut refuse = |bad: bool, what: &str| {
        if bad {
            problems.push(format!("config.json: {what} is not supported"));
        }
    };
    refuse(config.attention_bias == Some(true), "attention_bias = true");
    refuse(config.mlp_bias == Some(true), "mlp_bias = true");
    refuse(config.hidden_act.as_deref().is_some_and(|a| a != "silu"), "a hidden_act other than silu");
    refuse(config.rope_scaling.as_ref().is_some_and(|v| !plain_rope(v)), "rope_scaling");
    refuse(config.rope_parameters.as_ref().is_some_and(|v| !plain_rope(v)), "rope_parameters of a type other than default");
    let head_dim = config.hidden_size / config.num_attention_heads.max(1);
    refuse(config.head_dim.is_some_and(|d| d != head_dim), "a head_dim other than hidden_size / num_attention_heads");
    let inner_theta = config.rope_parameters.as_ref().and_then(|v| v.get("rope_theta")).and_then(Value::as_f64);
    let spec = ModelSpec {
        family: Family::Llama,
        dim: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        ffn: config.intermediate_size,
        max_positions: config.max_position_embeddings,
        tied: config.tie_word_embeddings.unwrap_or(false),
        norm_eps: config.rms_norm_eps,
        rope_theta: inner_theta.or(config.rope_theta).unwrap_or(10_000.0),
        init_std: config.initializer_range.unwrap_or(0.02),
    };
    (spec, config.vocab_size)
}

/// A rope description that changes nothing.
fn plain_rope(value: &Value) -> bool {
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    let partial = value.get("partial_rotary_factor").and_then(Value::as_f64);
    value.is_null() || (kind.is_none_or(|k| k == "default") && value.get("factor").is_none() && partial.is_none_or(|p| p == 1.0))
}

fn gpt2(config: Gpt2, problems: &mut Vec<String>) -> (ModelSpec, usize) {
    let mut refuse = |bad: bool, what: &str| {
        if bad {
            problems.push(format!("config.json: {what} is not supported"));
        }
    };
    let tanh = |a: &str| matches!(a, "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast");
    refuse(config.activation_function.as_deref().is_some_and(|a| !tanh(a)), "an activation_function other than gelu_new");
    refuse(config.tie_word_embeddings == Some(false), "tie_word_embeddings = false");
    refuse(config.scale_attn_weights == Some(false), "scale_attn_weights = false");
    refuse(config.scale_attn_by_inverse_layer_idx == Some(true), "scale_attn_by_inverse_layer_idx = true");
    refuse(config.add_cross_attention == Some(true), "add_cross_attention = true");
    let spec = ModelSpec {
        family: Family::Gpt2,
        dim: config.n_embd,
        layers: config.n_layer,
        heads: config.n_head,
        kv_heads: config.n_head,
        ffn: config.n_inner.unwrap_or(config.n_embd.saturating_mul(4)),
        max_positions: config.n_positions,
        tied: true,
        norm_eps: config.layer_norm_epsilon.unwrap_or(1e-5),
        rope_theta: 10_000.0,
        init_std: config.initializer_range.unwrap_or(0.02),
    };
    (spec, config.vocab_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(family: Family) -> Config {
        let spec = ModelSpec {
            family,
            dim: 64,
            layers: 2,
            heads: 4,
            kv_heads: if family == Family::Llama { 2 } else { 4 },
            ffn: 172,
            max_positions: 32,
            tied: family == Family::Gpt2,
            norm_eps: 1e-6,
            rope_theta: if family == Family::Llama { 5e5 } else { 1e4 },
            init_std: 0.01,
        };
        Config { spec, vocab: 512, special: SpecialTokens { bos: Some(1), eos: Some(2), pad: None } }
    }

    #[test]
    fn what_is_written_is_read() {
        for family in [Family::Llama, Family::Gpt2] {
            let config = config(family);
            assert_eq!(Config::parse(&config.to_json()), Ok(config));
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let with = |family, fields: Value| {
            let mut value: Value = serde_json::from_str(&config(family).to_json()).unwrap();
            value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            Config::parse(&value.to_string()).unwrap_err()
        };
        let cases = [
            (Family::Llama, json!({"attention_bias": true}), "attention_bias"),
            (Family::Llama, json!({"mlp_bias": true}), "mlp_bias"),
            (Family::Llama, json!({"hidden_act": "relu"}), "hidden_act"),
            (Family::Llama, json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), "rope_scaling"),
            (Family::Llama, json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}), "rope_parameters"),
            (Family::Llama, json!({"head_dim": 99}), "head_dim"),
            (Family::Llama, json!({"hidden_size": -1}), "-1"),
            (Family::Llama, json!({"hidden_size": 0}), "dim"),
            (Family::Llama, json!({"vocab_size": u64::MAX}), "vocabulary"),
            (Family::Llama, json!({"bos_token_id": "x"}), "bos_token_id"),
            (Family::Llama, json!({"model_type": "mamba"}), "mamba"),
            (Family::Gpt2, json!({"activation_function": "relu"}), "activation_function"),
            (Family::Gpt2, json!({"n_inner": 0}), "ffn"),
            (Family::Gpt2, json!({"scale_attn_by_inverse_layer_idx": true}), "inverse_layer"),
        ];
        for (family, fields, word) in cases {
            let problems = with(family, fields).join("; ");
            assert!(problems.contains(word), "{word}: {problems}");
        }
        let two = with(Family::Llama, json!({"attention_bias": true, "mlp_bias": true}));
        assert_eq!(two.len(), 2);
        for text in ["", "[]", "{}", "{\"model_type\": \"llama\"}", "null"] {
            Config::parse(text).unwrap_err();
        }
    }

    #[test]
    fn both_ways_to_write_rope_theta_are_read() {
        let mut value: Value = serde_json::from_str(&config(Family::Llama).to_json()).unwrap();
        value.as_object_mut().unwrap().remove("rope_theta");
        value["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 123.0});
        assert_eq!(Config::parse(&value.to_string()).unwrap().spec.rope_theta, 123.0);
    }
}
