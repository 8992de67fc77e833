//! Keys that change what a model computes in ways that are not computed here, and keys that change nothing. Some are of other families:
//! transformers passes over them, other libraries may not, so a folder that sets them does not say one model.

use super::keys::Keys;
use osler_core::spec::Family;
use serde_json::Value;

/// What a key may say, null aside.
enum Harmless {
    /// Nothing, no, zero or empty.
    Off,
    /// A multiplier of 1.
    One,
    /// `"full_attention"`, however often.
    Full,
}

/// Refused unless harmless.
const DANGEROUS: &[(&str, Harmless)] = &[
    ("add_cross_attention", Harmless::Off),
    ("alibi", Harmless::Off),
    ("attention_bias", Harmless::Off),
    ("attention_multiplier", Harmless::Off),
    ("attn_logit_softcapping", Harmless::Off),
    ("clip_qkv", Harmless::Off),
    ("cross_attention_layers", Harmless::Off),
    ("embedding_multiplier", Harmless::One),
    ("final_logit_softcapping", Harmless::Off),
    ("is_encoder_decoder", Harmless::Off),
    ("kv_lora_rank", Harmless::Off),
    ("layer_types", Harmless::Full),
    ("logit_scale", Harmless::One),
    ("logits_scaling", Harmless::One),
    ("logits_soft_cap", Harmless::Off),
    ("mlp_bias", Harmless::Off),
    ("moe_intermediate_size", Harmless::Off),
    ("n_routed_experts", Harmless::Off),
    ("no_rope_layers", Harmless::Off),
    ("num_experts", Harmless::Off),
    ("num_experts_per_tok", Harmless::Off),
    ("num_local_experts", Harmless::Off),
    ("partial_rotary_factor", Harmless::One),
    ("pruned_heads", Harmless::Off),
    ("q_lora_rank", Harmless::Off),
    ("qk_layernorm", Harmless::Off),
    ("qk_norm", Harmless::Off),
    ("query_pre_attn_scalar", Harmless::Off),
    ("residual_multiplier", Harmless::One),
    ("rope_interleave", Harmless::Off),
    ("rope_interleaved", Harmless::Off),
    ("rotary_pct", Harmless::One),
    ("scale_attn_by_inverse_layer_idx", Harmless::Off),
    ("sliding_window", Harmless::Off),
    ("tie_encoder_decoder", Harmless::Off),
    ("use_alibi", Harmless::Off),
    ("use_bidirectional_attention", Harmless::Off),
    ("use_parallel_residual", Harmless::Off),
    ("use_qk_norm", Harmless::Off),
    ("use_sliding_window", Harmless::Off),
];

/// Keys that the families' readers look at, beside those above.
const READ: &[&str] = &[
    "activation_function",
    "architectures",
    "auto_map",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "is_decoder",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "max_position_embeddings",
    "model_type",
    "n_embd",
    "n_head",
    "n_inner",
    "n_layer",
    "n_positions",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "position_embedding_type",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "scale_attn_weights",
    "tie_word_embeddings",
    "type_vocab_size",
    "vocab_size",
    "quantization_config",
    "compression_config",
];

/// Keys without a bearing on what is computed for a token: dropout (there is none here), special tokens, generation, bookkeeping, memory.
const IDLE: &[&str] = &[
    "_attn_implementation",
    "_name_or_path",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "directionality",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "n_ctx",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

pub(super) fn refuse_others(family: Family, keys: &mut Keys<'_>) {
    for (key, harmless) in DANGEROUS {
        let Some(found) = keys.fields.get(key) else { continue };
        // A qwen2 names a window that is switched off; its biases are there whatever this key says.
        let its_own = family == Family::Qwen2 && (*key == "sliding_window" || (*key == "attention_bias" && found.as_bool().is_some()));
        if !its_own && !is_harmless(found, harmless) {
            keys.problem(key, format!("{found} is not supported"));
        }
    }
    let code = keys.fields.get("auto_map").and_then(Value::as_object).and_then(|map| map.keys().find(|key| key.starts_with("AutoModel")));
    if let Some(class) = code {
        let reason = format!("{class}: the model is computed by code of the folder's own: if it is a plain {family}, remove this key");
        keys.problem("auto_map", reason);
    }
}

fn is_harmless(value: &Value, harmless: &Harmless) -> bool {
    match harmless {
        Harmless::Off => match value {
            Value::Bool(on) => !on,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::Null => true,
            Value::String(_) => false,
        },
        Harmless::One => value.as_f64() == Some(1.0),
        Harmless::Full => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "full_attention")),
    }
}

/// Keys that are not null and that nobody knows, in alphabetical order.
pub(super) fn unknown(value: &Value) -> Vec<String> {
    let known = |key: &str| READ.contains(&key) || IDLE.contains(&key) || DANGEROUS.iter().any(|(name, _)| *name == key);
    let all = value.as_object().into_iter().flatten();
    all.filter(|(key, value)| !value.is_null() && !known(key)).map(|(key, _)| key.clone()).collect()
}
