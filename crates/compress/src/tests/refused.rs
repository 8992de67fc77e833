//! Inputs that must be refused, with the reason, leaving nothing behind.

use super::folder;
use crate::fixtures::{self, Tensors};
use crate::{CompressError, Method, open_quantized, quantize};
use osler_model::ModelError;
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn a_model_in_which_no_row_fits_is_an_error_not_a_success() {
    let mut config = fixtures::gpt2_config();
    config["n_embd"] = json!(12);
    config["n_inner"] = json!(44);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let out = dir.path().join("out.gguf");
    assert!(matches!(quantize(&model, Method::GgufQ8_0, &out), Err(CompressError::NothingQuantized { .. })));
    assert!(!out.exists());
    quantize(&model, Method::GgufF16, &out).unwrap();
}

#[test]
fn a_target_that_is_there_is_never_touched() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    for method in Method::ALL {
        let out = dir.path().join(format!("out-{method}"));
        fs::write(&out, "mine").unwrap();
        assert!(matches!(quantize(&model, method, &out), Err(CompressError::TargetExists(_))));
        assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    }
}

type Spoil = Box<dyn Fn(&Path, &mut Value, &mut Tensors)>;

#[test]
fn inputs_that_are_wrong_are_refused_and_leave_nothing() {
    fn config(edit: impl Fn(&mut Value) + 'static) -> Spoil {
        Box::new(move |_, c, _| edit(c))
    }
    fn weights(edit: impl Fn(&mut Tensors) + 'static) -> Spoil {
        Box::new(move |_, _, t| edit(t))
    }
    const GATE: &str = "model.layers.1.mlp.gate_proj.weight";
    let cases: Vec<(Spoil, &str)> = vec![
        (config(|c| c["architectures"] = json!(["MambaForCausalLM"])), "MambaForCausalLM"),
        (config(|c| c["num_hidden_layers"] = json!(3)), "model.layers.2"),
        (config(|c| c["num_hidden_layers"] = json!(1)), "is not a parameter of this model"),
        (config(|c| c["num_hidden_layers"] = json!(u64::MAX)), "num_hidden_layers"),
        (config(|c| c["hidden_size"] = json!(-4)), "`hidden_size`"),
        (config(|c| c["hidden_size"] = json!(1u64 << 60)), "not believable"),
        (config(|c| c["attention_bias"] = json!(true)), "attention_bias"),
        (config(|c| c["num_key_value_heads"] = json!(3)), "3 does not divide heads = 4"),
        (config(|c| c["num_attention_heads"] = json!(0)), "`num_attention_heads`"),
        (config(|c| c["head_dim"] = json!(5)), "odd"),
        (config(|c| c["vocab_size"] = json!(41)), "[41, 32]"),
        (config(|c| c["rms_norm_eps"] = json!(0)), "rms_norm_eps"),
        (config(|c| c["quantization_config"] = json!({"bits": 4})), "quantized already"),
        (weights(|t| t.get_mut(GATE).unwrap().1[7] = f32::NAN), "gate_proj.weight holds NaN at element 7"),
        (weights(|t| t.get_mut("model.norm.weight").unwrap().1[0] = f32::INFINITY), "model.norm.weight holds inf"),
        (weights(|t| t.get_mut("model.embed_tokens.weight").unwrap().1[0] = f32::NEG_INFINITY), "embed_tokens.weight holds -inf"),
        (weights(|t| drop(t.remove(GATE))), "gate_proj.weight is missing"),
        (weights(|t| drop(t.insert("model.layers.0.extra".to_owned(), (vec![1], vec![0.0])))), "model.layers.0.extra is not a parameter"),
        (weights(|t| t.get_mut(GATE).unwrap().0.reverse()), "has shape [32, 44]"),
    ];
    for (spoil, expected) in cases {
        let (mut c, dir) = (fixtures::llama_config(true), TempDir::new().unwrap());
        let mut tensors = fixtures::tensors(&c);
        let model = dir.path().join("model");
        spoil(&model, &mut c, &mut tensors);
        fixtures::write_folder(&model, &c, &tensors, Dtype::F32);
        for method in Method::ALL {
            let error = quantize(&model, method, &dir.path().join("out")).expect_err(expected).to_string();
            assert!(error.contains(expected), "{method}: wanted {expected:?}, got {error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{expected}: something was left behind");
    }
}

#[test]
fn what_gguf_cannot_say_is_refused_but_int8_can() {
    let mut config = fixtures::qwen2_config();
    config["rope_parameters"] = json!({
        "rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
    });
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let error = quantize(&model, Method::GgufQ8_0, &dir.path().join("out")).unwrap_err().to_string();
    assert!(error.contains("rope_scaling") && error.contains("int8"), "{error}");
    quantize(&model, Method::Int8, &dir.path().join("out")).unwrap();
}

#[test]
fn weights_beyond_f16_are_refused_by_name() {
    let config = fixtures::llama_config(true);
    let mut tensors = fixtures::tensors(&config);
    tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().1[3] = 1e9;
    let (dir, model) = folder(&config, &tensors);
    for method in [Method::GgufF16, Method::GgufQ8_0] {
        let error = quantize(&model, method, &dir.path().join("out")).unwrap_err();
        assert!(matches!(&error, CompressError::OutOfRange { tensor, .. } if tensor.contains("up_proj")), "{error}");
    }
    quantize(&model, Method::Int8, &dir.path().join("out")).unwrap();
}

#[test]
fn double_precision_weights_are_refused() {
    let config = fixtures::llama_config(true);
    let dir = TempDir::new().unwrap();
    fixtures::write_folder(dir.path(), &config, &fixtures::tensors(&config), Dtype::F64);
    let error = quantize(dir.path(), Method::Int8, &dir.path().join("out")).unwrap_err().to_string();
    assert!(error.contains("is stored as F64; F32, F16 and BF16 can be read"), "{error}");
}

#[test]
fn every_truncation_of_the_input_weights_is_an_error() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let path = model.join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let lengths = (0..header + 16).chain([header + 1000, whole.len() - 1]);
    for len in lengths {
        fs::write(&path, &whole[..len]).unwrap();
        let error = quantize(&model, Method::Int8, &dir.path().join("out")).expect_err(&format!("{len} bytes"));
        assert!(matches!(error, CompressError::Model(ModelError::Malformed { .. })), "{len}: {error}");
    }
    fs::write(&path, [whole.as_slice(), &[0; 4]].concat()).unwrap();
    assert!(quantize(&model, Method::Int8, &dir.path().join("out")).is_err(), "bytes after the last tensor");
}

#[test]
fn hostile_safetensors_headers_are_refused() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let entry = |dtype: &str, shape: Value, offsets: [u64; 2]| json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
    let cases: Vec<(Value, &str)> = vec![
        (json!({"a": entry("F32", json!([4]), [0, 8])}), "do not hold"),
        (json!({"a": entry("F32", json!([u64::MAX, 4]), [0, 16])}), "do not hold"),
        (json!({"a": entry("F32", json!([4]), [16, 0])}), "do not hold"),
        (json!({"a": entry("F32", json!([4]), [u64::MAX - 15, u64::MAX])}), "do not hold"),
        (json!({"a": entry("F7", json!([4]), [0, 16])}), "unknown type"),
        (json!({"a": entry("F32", json!([-4]), [0, 16])}), "invalid value"),
        (json!({"a": entry("F32", json!([4]), [0, 16]), "b": entry("F32", json!([4]), [0, 16])}), "overlaps"),
        (json!({"a": entry("F32", json!([2]), [8, 16])}), "leaves a gap"),
        (json!({"a": entry("F32", json!([2]), [0, 8])}), "belong to no tensor"),
        (json!([1]), "header"),
    ];
    for (header, expected) in cases {
        let text = header.to_string();
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &[0; 16]].concat();
        fs::write(model.join("model.safetensors"), bytes).unwrap();
        let error = quantize(&model, Method::Int8, &dir.path().join("out")).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("byte"), "wanted {expected:?}, got {error}");
    }
}

#[test]
fn a_shard_index_cannot_leave_its_folder_or_lie() {
    let config = fixtures::llama_config(true);
    let tensors = fixtures::tensors(&config);
    let cases: [(&str, Value, &str); 4] = [
        ("model.norm.weight", json!("../model-00001-of-00002.safetensors"), "plain name"),
        ("model.norm.weight", json!("/etc/passwd"), "plain name"),
        ("model.norm.weight", json!(7), "must be a file name"),
        ("ghost", json!("model-00001-of-00002.safetensors"), "where the index says"),
    ];
    for (tensor, file, expected) in cases {
        let dir = TempDir::new().unwrap();
        fixtures::write_sharded(dir.path(), &config, &tensors);
        let path = dir.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        index["weight_map"][tensor] = file;
        fs::write(&path, index.to_string()).unwrap();
        let error = quantize(dir.path(), Method::Int8, &dir.path().join("out")).expect_err(expected).to_string();
        assert!(error.contains(expected), "wanted {expected:?}, got {error}");
    }
}

#[test]
fn a_damaged_int8_folder_is_refused_when_opened() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let out = dir.path().join("int8");
    quantize(&model, Method::Int8, &out).unwrap();
    let good: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    for (pointer, value) in [
        ("/quantization_config/quant_method", json!("gptq")),
        ("/quantization_config/format", json!("int-quantized")),
        ("/quantization_config/config_groups", json!({})),
        ("/quantization_config/config_groups/group_0/weights/num_bits", json!(4)),
        ("/quantization_config/config_groups/group_0/weights/strategy", json!("group")),
        ("/quantization_config/config_groups/group_0/weights/symmetric", json!(false)),
        ("/intermediate_size", json!(48)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        fs::write(out.join("config.json"), bad.to_string()).unwrap();
        assert!(open_quantized(&out).is_err(), "{pointer}");
    }
    fs::write(out.join("config.json"), good.to_string()).unwrap();
    open_quantized(&out).unwrap();
}
