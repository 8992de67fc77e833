//! Round trips, and everything that is refused.

use super::*;
use osler_core::spec::RopeScaling;

fn config(family: Family) -> Config {
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
    Config { spec, vocab: 512, special: SpecialTokens { bos: Some(1), eos: Some(2), pad: None } }
}

#[test]
fn what_is_written_is_read() {
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 16 };
    for family in Family::ALL {
        for scaling in [None, Some(RopeScaling::Linear { factor: 2.0 }), Some(llama3)] {
            let mut config = config(family);
            config.spec.rope_scaling = scaling.filter(|_| family.rotary());
            assert_eq!(Config::parse(&config.to_json("float32")), Ok(config));
        }
    }
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let with = |family, fields: Value| {
        let mut value: Value = serde_json::from_str(&config(family).to_json("float32")).unwrap();
        value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Config::parse(&value.to_string()).unwrap_err()
    };
    let cases = [
        (Family::Llama, json!({"attention_bias": true}), "attention_bias"),
        (Family::Llama, json!({"mlp_bias": true}), "mlp_bias"),
        (Family::Llama, json!({"hidden_act": "relu"}), "hidden_act"),
        (Family::Llama, json!({"rope_parameters": null, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), "low_freq_factor"),
        (Family::Llama, json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}), "rope_parameters with type yarn"),
        (Family::Llama, json!({"rope_parameters": {"rope_type": "linear", "factor": -1.0}}), "rope_scaling.factor"),
        (Family::Llama, json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}), "partial_rotary"),
        (Family::Llama, json!({"head_dim": 99}), "even number"),
        (Family::Qwen2, json!({"use_sliding_window": true}), "use_sliding_window"),
        (Family::Qwen2, json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
        (Family::Gemma, json!({"hidden_activation": "gelu"}), "hidden_activation"),
        (Family::Gemma, json!({"hidden_activation": null, "hidden_act": "silu"}), "hidden_act"),
        (Family::Gemma, json!({"tie_word_embeddings": false}), "tied"),
        (Family::Bert, json!({"hidden_act": "relu"}), "hidden_act"),
        (Family::Bert, json!({"position_embedding_type": "relative_key"}), "position_embedding_type"),
        (Family::Bert, json!({"type_vocab_size": 1}), "type_vocab_size"),
        (Family::Bert, json!({"is_decoder": true}), "is_decoder"),
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
fn both_ways_to_describe_rotary_positions_are_read() {
    let scaling = json!({"type": "linear", "factor": 4.0});
    let linear = Some(RopeScaling::Linear { factor: 4.0 });
    let ways = [
        (json!({"rope_theta": 123.0, "rope_scaling": null}), 123.0, None),
        (json!({"rope_theta": 123.0, "rope_scaling": scaling}), 123.0, linear),
        (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 123.0}}), 123.0, None),
        (json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 123.0, "factor": 4.0}}), 123.0, linear),
        (json!({}), 10_000.0, None),
    ];
    for (fields, theta, scaling) in ways {
        let mut value: Value = serde_json::from_str(&config(Family::Llama).to_json("float32")).unwrap();
        let map = value.as_object_mut().unwrap();
        for key in ["rope_theta", "rope_scaling", "rope_parameters"] {
            map.remove(key);
        }
        map.extend(fields.as_object().unwrap().clone());
        let spec = Config::parse(&value.to_string()).unwrap().spec;
        assert_eq!((spec.rope_theta, spec.rope_scaling), (theta, scaling), "{fields}");
    }
}

#[test]
fn gemmas_first_configs_are_read_as_they_were_meant() {
    let mut value: Value = serde_json::from_str(&config(Family::Gemma).to_json("float32")).unwrap();
    let map = value.as_object_mut().unwrap();
    map.remove("hidden_activation");
    map.remove("head_dim");
    map.remove("tie_word_embeddings");
    map.insert("hidden_act".into(), json!("gelu"));
    let spec = Config::parse(&value.to_string()).unwrap().spec;
    assert_eq!((spec.head_dim, spec.tied), (Some(256), true));
}
