//! BERT's fields.

use super::Refusals;
use osler_core::spec::{BERT_TOKEN_TYPES, Family, ModelSpec};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct Fields {
    hidden_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    intermediate_size: u32,
    max_position_embeddings: u32,
    type_vocab_size: Option<u32>,
    vocab_size: usize,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    tie_word_embeddings: Option<bool>,
    is_decoder: Option<bool>,
    add_cross_attention: Option<bool>,
    initializer_range: Option<f64>,
}

pub(super) fn read(config: Fields, refused: &mut Refusals) -> (ModelSpec, usize) {
    refused.when(config.hidden_act.as_deref().is_some_and(|a| a != "gelu"), "a hidden_act other than gelu");
    refused.when(
        config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute"),
        "a position_embedding_type other than absolute",
    );
    refused.when(config.type_vocab_size.is_some_and(|types| types != BERT_TOKEN_TYPES), "a type_vocab_size other than 2");
    refused.when(config.tie_word_embeddings == Some(false), "tie_word_embeddings = false");
    refused.when(config.is_decoder == Some(true), "is_decoder = true");
    refused.when(config.add_cross_attention == Some(true), "add_cross_attention = true");
    let spec = ModelSpec {
        family: Family::Bert,
        dim: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_attention_heads,
        head_dim: None,
        ffn: config.intermediate_size,
        max_positions: config.max_position_embeddings,
        tied: true,
        norm_eps: config.layer_norm_eps.unwrap_or(1e-12),
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: config.initializer_range.unwrap_or(0.02),
    };
    (spec, config.vocab_size)
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
