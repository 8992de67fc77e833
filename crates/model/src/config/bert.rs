//! BERT's keys.

use super::keys::Keys;
use osler_core::spec::{BERT_TOKEN_TYPES, Family, ModelSpec};
use serde_json::{Value, json};

pub(super) fn read(keys: &mut Keys<'_>) -> (ModelSpec, usize) {
    keys.activation("hidden_act", &["gelu"]);
    keys.activation("position_embedding_type", &["absolute"]);
    if keys.size_or("type_vocab_size", BERT_TOKEN_TYPES) != BERT_TOKEN_TYPES {
        keys.problem("type_vocab_size", format!("only {BERT_TOKEN_TYPES} is supported"));
    }
    if !keys.boolean_or("tie_word_embeddings", true) {
        keys.problem("tie_word_embeddings", "false is not supported: a bert model has a tied head");
    }
    if keys.boolean_or("is_decoder", false) {
        keys.problem("is_decoder", "true is not supported");
    }
    let heads = keys.size("num_attention_heads");
    let spec = ModelSpec {
        family: Family::Bert,
        dim: keys.size("hidden_size"),
        layers: keys.size("num_hidden_layers"),
        heads,
        kv_heads: heads,
        head_dim: None,
        ffn: keys.size("intermediate_size"),
        max_positions: keys.size_or("max_position_embeddings", 512),
        tied: true,
        norm_eps: keys.number("layer_norm_eps").unwrap_or(1e-12),
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: keys.init_std(),
    };
    (spec, keys.size("vocab_size") as usize)
}

pub(super) fn write(spec: &ModelSpec) -> Value {
    json!({
        "architectures": ["BertForMaskedLM"],
        "hidden_size": spec.dim,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "max_position_embeddings": spec.max_positions,
        "type_vocab_size": BERT_TOKEN_TYPES,
        "layer_norm_eps": spec.norm_eps,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    })
}
