//! The fields of llama and its relatives, qwen2 and gemma.

use super::{Refusals, is_tanh_gelu, rope};
use osler_core::spec::{Family, ModelSpec};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct Fields {
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
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    use_bidirectional_attention: Option<bool>,
    initializer_range: Option<f64>,
}

pub(super) fn read(family: Family, config: Fields, refused: &mut Refusals) -> (ModelSpec, usize) {
    refused.when(config.attention_bias == Some(true), "attention_bias = true");
    refused.when(config.mlp_bias == Some(true), "mlp_bias = true");
    refused.when(config.use_sliding_window == Some(true), "use_sliding_window = true");
    let sliding = config.layer_types.iter().flatten().any(|kind| kind != "full_attention");
    refused.when(sliding, "a layer of layer_types other than full_attention");
    refused.when(config.use_bidirectional_attention == Some(true), "use_bidirectional_attention = true");
    refuse_activation(family, &config, refused);
    let gemma = family == Family::Gemma;
    let (theta, rope_scaling) = rope::read(config.rope_parameters.as_ref(), config.rope_scaling.as_ref(), refused);
    let even = config.hidden_size.checked_div(config.num_attention_heads);
    // The library's default for gemma is a number, for the others the even share.
    let head_dim = config.head_dim.or_else(|| gemma.then_some(256));
    let spec = ModelSpec {
        family,
        dim: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        head_dim: head_dim.filter(|width| Some(*width) != even || !config.hidden_size.is_multiple_of(config.num_attention_heads)),
        ffn: config.intermediate_size,
        max_positions: config.max_position_embeddings,
        tied: config.tie_word_embeddings.unwrap_or(gemma),
        norm_eps: config.rms_norm_eps,
        rope_theta: theta.or(config.rope_theta).unwrap_or(10_000.0),
        rope_scaling,
        init_std: config.initializer_range.unwrap_or(0.02),
    };
    (spec, config.vocab_size)
}

/// Gemma's first configs said "gelu" and meant the approximation; `hidden_activation`, where it is set, was always right.
fn refuse_activation(family: Family, config: &Fields, refused: &mut Refusals) {
    let (act, activation) = (config.hidden_act.as_deref(), config.hidden_activation.as_deref());
    if family == Family::Gemma {
        refused.when(activation.is_some_and(|a| !is_tanh_gelu(a)), "a hidden_activation other than gelu_pytorch_tanh");
        let meant = activation.is_some() || act.is_none_or(|a| a == "gelu" || is_tanh_gelu(a));
        refused.when(!meant, "a hidden_act other than gelu_pytorch_tanh");
    } else {
        refused.when(act.is_some_and(|a| a != "silu"), "a hidden_act other than silu");
    }
}

pub(super) fn write(spec: &ModelSpec) -> Value {
    let (architecture, activation) = match spec.family {
        Family::Qwen2 => ("Qwen2ForCausalLM", "silu"),
        Family::Gemma => ("GemmaForCausalLM", "gelu_pytorch_tanh"),
        _ => ("LlamaForCausalLM", "silu"),
    };
    let (scaling, parameters) = rope::write(spec);
    let mut value = json!({
        "architectures": [architecture],
        "hidden_size": spec.dim,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim(),
        "intermediate_size": spec.ffn,
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": spec.norm_eps,
        "rope_theta": spec.rope_theta,
        "rope_scaling": scaling,
        "rope_parameters": parameters,
        "hidden_act": activation,
        "attention_dropout": 0.0,
    });
    match spec.family {
        Family::Qwen2 => {
            value["use_sliding_window"] = json!(false);
            value["sliding_window"] = json!(null);
            value["max_window_layers"] = json!(spec.layers);
        }
        Family::Gemma => {
            value["hidden_activation"] = json!(activation);
            value["attention_bias"] = json!(false);
        }
        _ => {
            value["attention_bias"] = json!(false);
            value["mlp_bias"] = json!(false);
        }
    }
    value
}
