//! Round trips, the defaults of absent keys, and everything that is refused.

use super::*;
use osler_core::spec::RopeScaling;

fn config(family: Family) -> ModelConfig {
    let spec = ModelSpec {
        family,
        dim: 64,
        layers: 2,
        heads: 4,
        kv_heads: if family.rotary() { 2 } else { 4 },
        head_dim: (family == Family::Gemma).then_some(24),
        ffn: 172,
        max_positions: 32,
        tied: family.always_tied(),
        norm_eps: 1e-6,
        rope_theta: if family.rotary() { 5e5 } else { 1e4 },
        rope_scaling: None,
        init_std: 0.01,
    };
    ModelConfig { spec, vocab: 512, unknown: vec![] }
}

fn read(value: &Value) -> Result<ModelConfig, ModelError> {
    ModelConfig::read(Path::new("config.json"), value)
}

/// The family's config with some keys set, and those that are `"absent"` removed.
fn with(family: Family, edits: &Value) -> Value {
    let mut value = config(family).to_json();
    let map = value.as_object_mut().unwrap();
    for (key, edit) in edits.as_object().unwrap() {
        if edit == "absent" {
            map.remove(key);
        } else {
            map.insert(key.clone(), edit.clone());
        }
    }
    value
}

#[test]
fn what_is_written_is_read() {
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 16 };
    for family in Family::ALL {
        for scaling in [None, Some(RopeScaling::Linear { factor: 2.0 }), Some(llama3)] {
            let mut config = config(family);
            config.spec.rope_scaling = scaling.filter(|_| family.rotary());
            assert_eq!(read(&config.to_json()).unwrap(), config);
        }
    }
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let cases = [
        (Family::Llama, json!({"attention_bias": true}), "attention_bias"),
        (Family::Llama, json!({"mlp_bias": true}), "mlp_bias"),
        (Family::Llama, json!({"hidden_act": "relu"}), "hidden_act"),
        (Family::Llama, json!({"head_dim": 99}), "head_dim: 99 is odd"),
        (Family::Llama, json!({"sliding_window": 128}), "sliding_window"),
        (Family::Llama, json!({"num_local_experts": 8}), "num_local_experts"),
        (Family::Llama, json!({"logits_scaling": 8.0}), "logits_scaling"),
        (Family::Llama, json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        (Family::Llama, json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}), "quantized already (gptq)"),
        (Family::Llama, json!({"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}), "auto_map"),
        (Family::Llama, json!({"architectures": ["LlamaForSequenceClassification"]}), "LlamaForSequenceClassification"),
        (Family::Qwen2, json!({"use_sliding_window": true}), "use_sliding_window"),
        (Family::Qwen2, json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
        (Family::Gemma, json!({"hidden_activation": "gelu"}), "hidden_activation"),
        (Family::Gemma, json!({"hidden_act": "silu"}), "hidden_act"),
        (Family::Gemma, json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping"),
        (Family::Gemma, json!({"tie_word_embeddings": false}), "tie_word_embeddings: gemma ties"),
        (Family::Bert, json!({"hidden_act": "relu"}), "hidden_act"),
        (Family::Bert, json!({"position_embedding_type": "relative_key"}), "position_embedding_type"),
        (Family::Bert, json!({"type_vocab_size": 1}), "type_vocab_size"),
        (Family::Bert, json!({"is_decoder": true}), "is_decoder"),
        (Family::Llama, json!({"hidden_size": -1}), "-1"),
        (Family::Llama, json!({"hidden_size": 0}), "hidden_size"),
        (Family::Llama, json!({"hidden_size": 1u64 << 40}), "not believable"),
        (Family::Llama, json!({"hidden_size": 1u64 << 20}), "hidden_size: found 1048576, expected 1 to 65536"),
        (Family::Llama, json!({"num_hidden_layers": "absent"}), "`num_hidden_layers`: is missing"),
        (Family::Llama, json!({"vocab_size": u32::MAX}), "vocab_size"),
        (Family::Llama, json!({"model_type": "mamba"}), "mamba"),
        (Family::Gpt2, json!({"activation_function": "relu"}), "activation_function"),
        (Family::Gpt2, json!({"n_inner": 0}), "n_inner"),
        (Family::Gpt2, json!({"hidden_size": 99}), "`hidden_size`: is 99, and n_embd is 64"),
        (Family::Gpt2, json!({"scale_attn_by_inverse_layer_idx": true}), "inverse_layer"),
    ];
    for (family, edits, word) in cases {
        let told = read(&with(family, &edits)).unwrap_err().to_string();
        assert!(told.contains(word) && told.starts_with("config.json: "), "{word}: {told}");
    }
    let two = read(&with(Family::Llama, &json!({"attention_bias": true, "mlp_bias": true}))).unwrap_err();
    assert!(matches!(two, ModelError::Refused { problems, .. } if problems.len() == 2));
    for value in [json!([]), json!({}), json!({"model_type": "llama"}), json!(null)] {
        read(&value).unwrap_err();
    }
}

#[test]
fn rotary_positions_are_what_transformers_computes() {
    let linear = |factor| Some(RopeScaling::Linear { factor });
    let scaling = json!({"type": "linear", "factor": 4.0});
    let llama3 =
        |original| Some(RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: original });
    let three = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    let ways = [
        (json!({"rope_theta": 123.0, "rope_scaling": null}), 123.0, None),
        (json!({"rope_theta": 123.0, "rope_scaling": scaling}), 123.0, linear(4.0)),
        (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 123.0}}), 123.0, None),
        (json!({"rope_parameters": {"rope_type": "default"}, "rope_theta": 123.0}), 123.0, None),
        (json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 123.0, "factor": 4}}), 123.0, linear(4.0)),
        (
            json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 123.0, "factor": 4}, "rope_scaling": scaling, "rope_theta": 123.0}),
            123.0,
            linear(4.0),
        ),
        (json!({"rope_parameters": {"rope_type": "linear", "factor": 4}, "rope_scaling": scaling}), 10_000.0, linear(4.0)),
        (json!({"rope_scaling": {}, "rope_parameters": {"rope_theta": 7.0}}), 7.0, None),
        // The first context's length is the model's where nothing says it.
        (json!({"rope_theta": 5e5, "rope_scaling": three}), 5e5, llama3(32)),
        (json!({}), 10_000.0, None),
    ];
    let none = json!({"rope_theta": "absent", "rope_scaling": "absent", "rope_parameters": "absent"});
    let merged = |edits: &Value| {
        let mut all = none.clone();
        all.as_object_mut().unwrap().extend(edits.as_object().unwrap().clone());
        with(Family::Llama, &all)
    };
    for (edits, theta, scaling) in ways {
        let spec = read(&merged(&edits)).unwrap_or_else(|e| panic!("{edits}: {e}")).spec;
        assert_eq!((spec.rope_theta, spec.rope_scaling), (theta, scaling), "{edits}");
    }
    let refused = [
        (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_scaling": scaling}), "says no scaling"),
        // transformers 5 takes the base of `rope_scaling`, which is the default here.
        (json!({"rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 123.0}, "rope_scaling": scaling}), "base 123"),
        (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_theta": 777.0}), "`rope_theta`: is 777"),
        (json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}), "\"yarn\" are not supported"),
        (json!({"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 4.0}}), "type \"linear\""),
        (json!({"rope_parameters": {"rope_theta": 1e4, "factor": 4.0}}), "factor = 4.0 is not supported"),
        (json!({"rope_parameters": {"rope_type": "linear", "factor": -1.0}}), "rope_scaling: found -1.0"),
        (json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}), "partial_rotary"),
        (json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), "low_freq_factor"),
        (json!({"rope_scaling": three, "original_max_position_embeddings": 16}), "original_max_position_embeddings"),
        (json!({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 9.0}}}), "full_attention"),
    ];
    for (edits, word) in refused {
        let told = read(&merged(&edits)).unwrap_err().to_string();
        assert!(told.contains(word), "{word}: {told}");
    }
}

/// The values are those of transformers 5.
#[test]
fn absent_keys_have_the_librarys_defaults() {
    let bare = |family, edits: Value| read(&with(family, &edits)).unwrap().spec;
    let spec = bare(
        Family::Llama,
        json!({"rms_norm_eps": "absent", "max_position_embeddings": "absent", "num_key_value_heads": "absent", "head_dim": "absent", "tie_word_embeddings": "absent"}),
    );
    assert_eq!((spec.norm_eps, spec.max_positions, spec.kv_heads, spec.tied, spec.head_dim), (1e-6, 2048, 4, false, None));
    let spec = bare(Family::Qwen2, json!({"max_position_embeddings": "absent", "num_key_value_heads": null}));
    assert_eq!((spec.max_positions, spec.kv_heads), (32_768, 4));
    assert!(read(&with(Family::Qwen2, &json!({"num_key_value_heads": "absent"}))).is_err(), "32 key heads do not fit 4");
    let spec = bare(
        Family::Gpt2,
        json!({"n_inner": null, "n_positions": "absent", "layer_norm_epsilon": "absent", "n_embd": "absent", "hidden_size": 64}),
    );
    assert_eq!((spec.ffn, spec.max_positions, spec.norm_eps), (256, 1024, 1e-5));
    let spec = bare(Family::Bert, json!({"max_position_embeddings": "absent", "layer_norm_eps": "absent"}));
    assert_eq!((spec.max_positions, spec.norm_eps), (512, 1e-12));
    // Gemma's first configs: no width of heads, and an activation that means another.
    let old = json!({"hidden_activation": "absent", "head_dim": "absent", "tie_word_embeddings": "absent", "hidden_act": "gelu"});
    let spec = bare(Family::Gemma, old);
    assert_eq!((spec.head_dim, spec.tied), (Some(256), true));
}

#[test]
fn keys_that_nobody_knows_are_listed() {
    let value = with(Family::Llama, &json!({"use_cache": false, "pretraining_tp": 2, "brand_new": 1, "absent_one": null, "quiet": "x"}));
    assert_eq!(read(&value).unwrap().unknown, ["brand_new", "quiet"]);
}
