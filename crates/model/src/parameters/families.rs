//! The parameters of each family in Hugging Face's names and order.

use super::{Begin, Param};
use osler_core::spec::{BERT_TOKEN_TYPES, Family, ModelSpec};

fn param(name: String, shape: &[usize], begin: Begin) -> Param {
    Param { name, shape: shape.to_vec(), begin }
}

fn weight(name: &str, shape: [usize; 2]) -> Param {
    param(format!("{name}.weight"), &shape, Begin::Normal)
}

fn bias(name: &str, len: usize) -> Param {
    param(format!("{name}.bias"), &[len], Begin::Zeros)
}

/// Gain and shift.
fn layer_norm(name: &str, dim: usize) -> [Param; 2] {
    [param(format!("{name}.weight"), &[dim], Begin::Ones), bias(name, dim)]
}

/// Llama, qwen2, gemma. Weights are stored `[out, in]`.
pub(super) fn llama(spec: &ModelSpec, vocab: usize) -> Vec<Param> {
    let (dim, ffn, head_dim) = (spec.dim as usize, spec.ffn as usize, spec.head_dim() as usize);
    let (q, kv) = (head_dim * spec.heads as usize, head_dim * spec.kv_heads as usize);
    // A gain of 1 + w begins at 1, too.
    let gain = if spec.family == Family::Gemma { Begin::Zeros } else { Begin::Ones };
    let norm = |name: &str| param(format!("{name}.weight"), &[dim], gain);
    let mut all = vec![weight("model.embed_tokens", [vocab, dim])];
    for layer in 0..spec.layers {
        let of = |part: &str| format!("model.layers.{layer}.{part}");
        all.push(norm(&of("input_layernorm")));
        for (part, out) in [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)] {
            all.push(weight(&of(part), [out, dim]));
            all.extend((spec.family == Family::Qwen2).then(|| bias(&of(part), out)));
        }
        all.extend([
            weight(&of("self_attn.o_proj"), [dim, q]),
            norm(&of("post_attention_layernorm")),
            weight(&of("mlp.gate_proj"), [ffn, dim]),
            weight(&of("mlp.up_proj"), [ffn, dim]),
            weight(&of("mlp.down_proj"), [dim, ffn]),
        ]);
    }
    all.push(norm("model.norm"));
    all.extend((!spec.tied).then(|| weight("lm_head", [vocab, dim])));
    all
}

/// Projections are stored `[in, out]`, as Hugging Face's Conv1D keeps them: nothing is transposed on import or export.
pub(super) fn gpt2(spec: &ModelSpec, vocab: usize) -> Vec<Param> {
    let (dim, ffn) = (spec.dim as usize, spec.ffn as usize);
    let projection = |name: String, into, out| [weight(&name, [into, out]), bias(&name, out)];
    let mut all = vec![weight("transformer.wte", [vocab, dim]), weight("transformer.wpe", [spec.max_positions as usize, dim])];
    for layer in 0..spec.layers {
        let of = |part: &str| format!("transformer.h.{layer}.{part}");
        all.extend(layer_norm(&of("ln_1"), dim));
        all.extend(projection(of("attn.c_attn"), dim, 3 * dim));
        all.extend(projection(of("attn.c_proj"), dim, dim));
        all.extend(layer_norm(&of("ln_2"), dim));
        all.extend(projection(of("mlp.c_fc"), dim, ffn));
        all.extend(projection(of("mlp.c_proj"), ffn, dim));
    }
    all.extend(layer_norm("transformer.ln_f", dim));
    all
}

/// The encoder and the head for masked tokens. Weights are stored `[out, in]`; the decoder is the token embedding and its bias comes last.
pub(super) fn bert(spec: &ModelSpec, vocab: usize) -> Vec<Param> {
    let (dim, ffn) = (spec.dim as usize, spec.ffn as usize);
    let linear = |name: String, out, into| [weight(&name, [out, into]), bias(&name, out)];
    let mut all = vec![
        weight("bert.embeddings.word_embeddings", [vocab, dim]),
        weight("bert.embeddings.position_embeddings", [spec.max_positions as usize, dim]),
        weight("bert.embeddings.token_type_embeddings", [BERT_TOKEN_TYPES as usize, dim]),
    ];
    all.extend(layer_norm("bert.embeddings.LayerNorm", dim));
    for layer in 0..spec.layers {
        let of = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            all.extend(linear(of(&format!("attention.self.{part}")), dim, dim));
        }
        all.extend(linear(of("attention.output.dense"), dim, dim));
        all.extend(layer_norm(&of("attention.output.LayerNorm"), dim));
        all.extend(linear(of("intermediate.dense"), ffn, dim));
        all.extend(linear(of("output.dense"), dim, ffn));
        all.extend(layer_norm(&of("output.LayerNorm"), dim));
    }
    all.extend(linear("cls.predictions.transform.dense".into(), dim, dim));
    all.extend(layer_norm("cls.predictions.transform.LayerNorm", dim));
    all.push(bias("cls.predictions", vocab));
    all
}
