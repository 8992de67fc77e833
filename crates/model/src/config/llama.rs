//! The keys of llama and its relatives, qwen2 and gemma.

use super::keys::{Keys, TANH_GELU};
use super::rope;
use osler_core::spec::{Family, ModelSpec};
use serde_json::{Value, json};

pub(super) fn read(family: Family, keys: &mut Keys<'_>) -> (ModelSpec, usize) {
    let gemma = family == Family::Gemma;
    let (dim, heads) = (keys.size("hidden_size"), keys.size("num_attention_heads"));
    activation(family, keys);
    let max_positions = keys.size_or(
        "max_position_embeddings",
        match family {
            Family::Qwen2 => 32_768,
            Family::Gemma => 8192,
            _ => 2048,
        },
    );
    let (rope_theta, rope_scaling) = rope::read(keys, max_positions);
    // An explicit null asks for one key for each head; transformers' default for an absent key is a number in two families.
    let kv_default = match family {
        Family::Qwen2 if keys.fields.value.get("num_key_value_heads").is_none() => 32,
        Family::Gemma => 16,
        _ => heads,
    };
    let head_dim = keys.maybe_size("head_dim").or_else(|| gemma.then_some(256));
    let spec = ModelSpec {
        family,
        dim,
        layers: keys.size("num_hidden_layers"),
        heads,
        kv_heads: keys.size_or("num_key_value_heads", kv_default),
        // The usual width is not written down, so that two ways to say the same are equal.
        head_dim: head_dim.filter(|width| heads.checked_mul(*width) != Some(dim)),
        ffn: keys.size("intermediate_size"),
        max_positions,
        tied: keys.boolean_or("tie_word_embeddings", gemma),
        norm_eps: keys.number("rms_norm_eps").unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        init_std: keys.init_std(),
    };
    (spec, keys.size("vocab_size") as usize)
}

/// Gemma's first configs said "gelu" and meant the approximation. transformers 5 goes by `hidden_act`, version 4 by `hidden_activation`.
fn activation(family: Family, keys: &mut Keys<'_>) {
    if family == Family::Gemma {
        let right: Vec<&str> = TANH_GELU.iter().copied().chain(["gelu"]).collect();
        keys.activation("hidden_act", &right);
        keys.activation("hidden_activation", TANH_GELU);
    } else {
        keys.activation("hidden_act", &["silu", "swish"]);
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
