//! GPT-2's keys. transformers knows its sizes by the other families' names too.

use super::keys::{Keys, TANH_GELU};
use osler_core::spec::{Family, ModelSpec};
use serde_json::{Value, json};

/// The usual name and the other one.
const ALIASES: [(&str, &str); 4] = [
    ("n_embd", "hidden_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_head", "num_attention_heads"),
    ("n_positions", "max_position_embeddings"),
];

pub(super) fn read(keys: &mut Keys<'_>) -> (ModelSpec, usize) {
    for (own, other) in ALIASES {
        let (first, second) = (keys.fields.get(own), keys.fields.get(other));
        if let (Some(first), Some(second)) = (first, second)
            && first != second
        {
            keys.problem(other, format!("is {second}, and {own} is {first}: remove the one that is wrong"));
        }
    }
    let name = |keys: &Keys<'_>, own: &'static str| {
        let other = ALIASES.iter().find(|(name, _)| *name == own).map_or(own, |(_, other)| *other);
        if keys.fields.get(own).is_none() && keys.fields.get(other).is_some() { other } else { own }
    };
    keys.activation("activation_function", TANH_GELU);
    if !keys.boolean_or("scale_attn_weights", true) {
        keys.problem("scale_attn_weights", "false is not supported");
    }
    if !keys.boolean_or("tie_word_embeddings", true) {
        keys.problem("tie_word_embeddings", "false is not supported: a gpt2 model has a tied head");
    }
    let (dim, heads) = (keys.size(name(keys, "n_embd")), keys.size(name(keys, "n_head")));
    let spec = ModelSpec {
        family: Family::Gpt2,
        dim,
        layers: keys.size(name(keys, "n_layer")),
        heads,
        kv_heads: heads,
        head_dim: None,
        ffn: keys.size_or("n_inner", dim.saturating_mul(4)),
        max_positions: keys.size_or(name(keys, "n_positions"), 1024),
        tied: true,
        norm_eps: keys.number("layer_norm_epsilon").unwrap_or(1e-5),
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: keys.init_std(),
    };
    (spec, keys.size("vocab_size") as usize)
}

pub(super) fn write(spec: &ModelSpec) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
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
    })
}
