//! Every method and back: values, names, shapes, orders, and what the report says of them.

use super::folder;
use crate::fixtures::{self, Tensors};
use crate::gguf::{GgmlType, GgufFile, Value as Meta};
use crate::{CompressError, Method, QuantReport, open_quantized, quantize};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// Largest step allowed between a weight and what is read back, for one row of output channels with this absmax.
fn tolerance(method: Method, stored_as: &str, absmax: f32) -> f32 {
    match (method, stored_as) {
        (_, "F32") => 0.0,
        (Method::Int8, _) => absmax / 127.5 * 0.5001,
        // Half a step, and the rounding of the scale to f16 (2^-11) on up to 127 steps.
        (_, "Q8_0") => absmax / 127.0 * (0.5 + 127.0 / 2048.0) * 1.001,
        _ => absmax / 2048.0,
    }
}

fn check_round_trip(config: &Value, method: Method) -> QuantReport {
    let tensors = fixtures::tensors(config);
    let (dir, model) = folder(config, &tensors);
    let out = dir.path().join("out");
    let report = quantize(&model, method, &out).unwrap();
    assert_eq!(report.quantized.len() + report.kept.len() + report.fallback.len(), tensors.len());
    assert_eq!(report.tensors.len(), tensors.len());
    assert!(fs::read_dir(dir.path()).unwrap().count() == 2, "no temporary file is left behind");

    let opened = open_quantized(&out).unwrap();
    assert_eq!(opened.names().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for entry in &report.tensors {
        let (shape, original) = &tensors[&entry.name];
        let (found_shape, values) = opened.tensor(&entry.name).unwrap();
        assert_eq!((&found_shape, &entry.shape), (shape, shape), "{}", entry.name);
        let absmax = original.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let errors: Vec<f32> = original.iter().zip(&values).map(|(a, b)| (a - b).abs()).collect();
        let worst = errors.iter().copied().fold(0.0, f32::max);
        assert!(worst <= tolerance(method, &entry.stored_as, absmax), "{} {}: {worst}", entry.name, entry.stored_as);
        assert!((f64::from(worst) - entry.max_abs_error).abs() < 1e-6, "the report's error is that of the file");
    }
    assert!(matches!(opened.tensor("nothing"), Err(CompressError::MissingTensor { .. })));
    report
}

#[test]
fn every_method_gives_back_every_tensor_of_every_family() {
    use fixtures::{gemma_config, gpt2_config, llama_config, qwen2_config};
    for config in [llama_config(true), llama_config(false), qwen2_config(), gemma_config(), gpt2_config()] {
        for method in Method::ALL {
            let report = check_round_trip(&config, method);
            match method {
                Method::GgufF32 => assert!(report.tensors.iter().all(|t| t.max_abs_error == 0.0)),
                _ => assert!(report.bytes_after < report.bytes_before, "{method}"),
            }
        }
    }
}

#[test]
fn int8_quantizes_the_projections_and_nothing_else() {
    let report = check_round_trip(&fixtures::llama_config(false), Method::Int8);
    assert_eq!(report.quantized.len(), 14, "7 projections in 2 layers");
    assert_eq!(report.quantized[0], "model.layers.0.self_attn.q_proj.weight");
    for kept in ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"] {
        assert!(report.kept.iter().any(|n| n == kept), "{kept}");
    }
    let report = check_round_trip(&fixtures::qwen2_config(), Method::Int8);
    assert!(report.kept.iter().any(|n| n == "model.layers.0.self_attn.q_proj.bias"));
    let report = check_round_trip(&fixtures::gpt2_config(), Method::Int8);
    assert_eq!(report.quantized.len(), 8, "4 projections in 2 layers");
}

#[test]
fn rows_that_fit_no_block_fall_back_to_f16_and_are_counted() {
    let report = check_round_trip(&fixtures::llama_config(true), Method::GgufQ8_0);
    assert_eq!(report.fallback, ["model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"]);
    assert_eq!(report.quantized.len(), 1 + 2 * 6, "the embedding too");
    assert!(report.bits_per_weight > 8.5 && report.bits_per_weight < 16.0);
}

#[test]
fn gguf_holds_the_published_names_shapes_orders_and_constants() {
    let config = fixtures::llama_config(true);
    let tensors = fixtures::tensors(&config);
    let (dir, model) = folder(&config, &tensors);
    let out = dir.path().join("out.gguf");
    quantize(&model, Method::GgufF32, &out).unwrap();
    let file = GgufFile::open(&out).unwrap();
    let q = &tensors["model.layers.1.self_attn.q_proj.weight"].1;
    let stored = file.values("blk.1.attn_q.weight").unwrap();
    // Head size 8: GGUF rows 0, 1, 2 of a head are Hugging Face rows 0, 4, 1.
    for (row, from) in [(0, 0), (1, 4), (2, 1), (8, 8), (9, 12)] {
        assert_eq!(stored[row * 32..][..32], q[from * 32..][..32], "row {row}");
    }
    assert_eq!(file.values("blk.0.attn_v.weight").unwrap(), tensors["model.layers.0.self_attn.v_proj.weight"].1);
    assert_eq!(file.tensor("blk.0.ffn_down.weight").unwrap().shape, [32, 44]);
    assert!(!file.tensors().contains_key("output.weight"), "a tied head is left out");
    for (key, value) in [
        ("general.architecture", Meta::String("llama".to_owned())),
        ("general.file_type", Meta::U32(0)),
        ("llama.block_count", Meta::U32(2)),
        ("llama.context_length", Meta::U32(16)),
        ("llama.attention.head_count_kv", Meta::U32(2)),
        ("llama.rope.dimension_count", Meta::U32(8)),
        ("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5)),
        ("tokenizer.ggml.model", Meta::String("none".to_owned())),
    ] {
        assert_eq!(file.metadata().get(key), Some(&value), "{key}");
    }
    let opened = open_quantized(&out).unwrap();
    for (key, value) in config.as_object().unwrap().iter().filter(|(k, _)| !k.ends_with("_token_id")) {
        assert_eq!(&opened.config()[key], value, "{key}");
    }

    let config = fixtures::gpt2_config();
    let tensors = fixtures::tensors(&config);
    let (dir, model) = folder(&config, &tensors);
    let out = dir.path().join("out.gguf");
    quantize(&model, Method::GgufQ8_0, &out).unwrap();
    let file = GgufFile::open(&out).unwrap();
    let qkv = file.tensor("blk.0.attn_qkv.weight").unwrap();
    assert_eq!((qkv.shape.as_slice(), qkv.ty), ([96, 32].as_slice(), GgmlType::Q8_0), "[out, in]");
    assert_eq!(file.tensor("position_embd.weight").unwrap().ty, GgmlType::F32);
    assert_eq!(file.metadata().get("general.quantization_version"), Some(&Meta::U32(2)));
    assert_eq!(file.metadata().get("gpt2.feed_forward_length"), Some(&Meta::U32(128)));
}

#[test]
fn half_precision_and_sharded_inputs_give_the_same_values() {
    let config = fixtures::llama_config(true);
    let tensors = fixtures::tensors(&config);
    let dir = TempDir::new().unwrap();
    let model = |name: &str| dir.path().join(name);
    fixtures::write_folder(&model("f32"), &config, &tensors, Dtype::F32);
    fixtures::write_folder(&model("f16"), &config, &tensors, Dtype::F16);
    fixtures::write_folder(&model("bf16"), &config, &tensors, Dtype::BF16);
    fixtures::write_sharded(&model("sharded"), &config, &tensors);
    let digest = |name: &str| {
        let out = dir.path().join(format!("{name}.gguf"));
        quantize(&model(name), Method::GgufQ8_0, &out).unwrap().outputs[0].sha256.clone()
    };
    let expected = digest("f32");
    for name in ["f16", "bf16", "sharded"] {
        assert_eq!(digest(name), expected, "{name}");
        let report = quantize(&model(name), Method::Int8, &dir.path().join(format!("{name}-int8"))).unwrap();
        assert_eq!(report.quantized.len(), 14);
        open_quantized(&dir.path().join(format!("{name}-int8"))).unwrap().tensor("model.layers.0.mlp.up_proj.weight").unwrap();
    }
}

#[test]
fn the_int8_folder_is_one_that_other_readers_accept() {
    let config = fixtures::gpt2_config();
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    fs::write(model.join("tokenizer.json"), "{\"copied\": true}").unwrap();
    let out = dir.path().join("int8");
    let report = quantize(&model, Method::Int8, &out).unwrap();
    assert_eq!(report.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read_to_string(out.join("tokenizer.json")).unwrap(), "{\"copied\": true}");

    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let packed = file.tensor("transformer.h.0.mlp.c_proj.weight_packed").unwrap();
    assert_eq!((packed.dtype(), packed.shape()), (Dtype::I32, [32, 32].as_slice()), "[out, in / 4]");
    let shape = file.tensor("transformer.h.0.mlp.c_proj.weight_shape").unwrap();
    assert_eq!(shape.data(), [32u64.to_le_bytes(), 128u64.to_le_bytes()].concat(), "[out, in]");
    assert_eq!(file.tensor("transformer.h.0.mlp.c_proj.weight_scale").unwrap().shape(), [32, 1]);
    assert!(file.tensor("transformer.h.0.mlp.c_proj.weight").is_err());

    let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["quantization_config"]["format"], "pack-quantized");
    assert_eq!(open_quantized(&out).unwrap().config(), &config, "opening gives the original config");
    assert!(matches!(quantize(&out, Method::GgufF16, &dir.path().join("again")), Err(CompressError::Model(_))), "never twice");
}

#[test]
fn buffers_without_weights_are_dropped_and_named() {
    let config = fixtures::gpt2_config();
    let mut tensors: Tensors =
        fixtures::tensors(&config).into_iter().map(|(n, t)| (n.trim_start_matches("transformer.").to_owned(), t)).collect();
    tensors.insert("h.0.attn.bias".to_owned(), (vec![1, 1, 16, 16], vec![1.0; 256]));
    tensors.insert("lm_head.weight".to_owned(), tensors["wte.weight"].clone());
    let (dir, model) = folder(&config, &tensors);
    for method in Method::ALL {
        let out = dir.path().join(method.as_str());
        assert_eq!(quantize(&model, method, &out).unwrap().dropped, ["h.0.attn.bias", "lm_head.weight"]);
        assert!(open_quantized(&out).unwrap().names().all(|n| n.starts_with("transformer.")));
    }
}

#[test]
fn methods_are_named_as_in_run_files() {
    for (method, name) in Method::ALL.into_iter().zip(["int8", "gguf-q8_0", "gguf-f16", "gguf-f32"]) {
        assert_eq!((method.to_string().as_str(), name.parse::<Method>().unwrap()), (name, method));
        assert_eq!(serde_json::to_string(&method).unwrap(), format!("{name:?}"));
        assert_eq!(serde_json::from_str::<Method>(&format!("{name:?}")).unwrap(), method);
    }
    let error = "int4".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("int4") && error.contains("gguf-q8_0"), "{error}");
}

#[test]
fn scaled_rotary_positions_come_back_from_gguf() {
    let llama3 = json!({
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let linear = json!({"rope_type": "linear", "rope_theta": 777.0, "factor": 4.0});
    for (scaling, tensors) in [(llama3, 1), (linear, 0)] {
        let mut config = fixtures::llama_config(true);
        config.as_object_mut().unwrap().remove("rope_theta");
        config["rope_parameters"] = scaling.clone();
        let (dir, model) = folder(&config, &fixtures::tensors(&config));
        let out = dir.path().join("out.gguf");
        quantize(&model, Method::GgufF16, &out).unwrap();
        let file = GgufFile::open(&out).unwrap();
        assert_eq!(file.tensors().keys().filter(|name| *name == "rope_freqs.weight").count(), tensors);
        assert_eq!(open_quantized(&out).unwrap().config()["rope_parameters"], scaling);
        if tensors == 0 {
            assert_eq!(file.metadata().get("llama.rope.scaling.type"), Some(&Meta::String("linear".to_owned())));
            assert_eq!(file.metadata().get("llama.rope.scaling.factor"), Some(&Meta::F32(4.0)));
        }
    }
}
