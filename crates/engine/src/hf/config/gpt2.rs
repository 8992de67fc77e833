//! GPT-2's fields.

use super::{Refusals, is_tanh_gelu};
use osler_core::spec::{Family, ModelSpec};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct Fields {
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

pub(super) fn read(config: Fields, refused: &mut Refusals) -> (ModelSpec, usize) {
    refused.when(config.activation_function.as_deref().is_some_and(|a| !is_tanh_gelu(a)), "an activation_function other than gelu_new");
    refused.when(config.tie_word_embeddings == Some(false), "tie_word_embeddings = false");
    refused.when(config.scale_attn_weights == Some(false), "scale_attn_weights = false");
    refused.when(config.scale_attn_by_inverse_layer_idx == Some(true), "scale_attn_by_inverse_layer_idx = true");
    refused.when(config.add_cross_attention == Some(true), "add_cross_attention = true");
    let spec = ModelSpec {
        family: Family::Gpt2,
        dim: config.n_embd,
        layers: config.n_layer,
        heads: config.n_head,
        kv_heads: config.n_head,
        head_dim: None,
        ffn: config.n_inner.unwrap_or(config.n_embd.saturating_mul(4)),
        max_positions: config.n_positions,
        tied: true,
        norm_eps: config.layer_norm_epsilon.unwrap_or(1e-5),
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: config.initializer_range.unwrap_or(0.02),
    };
    (spec, config.vocab_size)
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
