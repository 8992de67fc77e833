//! Whole folders through every method and back, and the inputs that must be refused.

use crate::fixtures::{self, Tensors};
use crate::gguf::{Array, GgmlType, GgufFile, Value as Meta};
use crate::{CompressError, Method, QuantReport, open_quantized, quantize};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn folder(config: &Value, tensors: &Tensors) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("model");
    fixtures::write_folder(&model, config, tensors, Dtype::F32);
    (dir, model)
}

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
fn every_method_gives_back_every_tensor_of_both_families() {
    for config in [fixtures::llama_config(true), fixtures::llama_config(false), fixtures::gpt2_config()] {
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
    for kept in ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"] {
        assert!(report.kept.iter().any(|n| n == kept), "{kept}");
    }
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
    assert!(matches!(quantize(&out, Method::GgufF16, &dir.path().join("again")), Err(CompressError::Field { .. })), "never twice");
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
        (config(|c| c["architectures"] = json!(["MambaForCausalLM"])), "supported: LlamaForCausalLM, GPT2LMHeadModel"),
        (config(|c| c["num_hidden_layers"] = json!(3)), "model.layers.2"),
        (config(|c| c["num_hidden_layers"] = json!(1)), "not part of this architecture"),
        (config(|c| c["num_hidden_layers"] = json!(u64::MAX)), "layers"),
        (config(|c| c["hidden_size"] = json!(-4)), "`hidden_size`"),
        (config(|c| c["hidden_size"] = json!(1u64 << 60)), "not believable"),
        (config(|c| c["num_key_value_heads"] = json!(3)), "cannot share 3"),
        (config(|c| c["num_attention_heads"] = json!(0)), "`num_attention_heads`"),
        (config(|c| c["head_dim"] = json!(5)), "odd"),
        (config(|c| c["vocab_size"] = json!(41)), "[41, 32]"),
        (config(|c| c["rms_norm_eps"] = json!(0)), "epsilon"),
        (config(|c| c["quantization_config"] = json!({"bits": 4})), "quantized already"),
        (weights(|t| t.get_mut(GATE).unwrap().1[7] = f32::NAN), "gate_proj.weight holds NaN at element 7"),
        (weights(|t| t.get_mut("model.norm.weight").unwrap().1[0] = f32::INFINITY), "model.norm.weight holds inf"),
        (weights(|t| t.get_mut("model.embed_tokens.weight").unwrap().1[0] = f32::NEG_INFINITY), "embed_tokens.weight holds -inf"),
        (weights(|t| drop(t.remove(GATE))), "gate_proj.weight is missing"),
        (weights(|t| drop(t.insert("model.layers.0.extra".to_owned(), (vec![1], vec![0.0])))), "model.layers.0.extra is not part"),
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
    let mut scaled = fixtures::llama_config(true);
    scaled["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0});
    let mut relu = fixtures::llama_config(true);
    relu["hidden_act"] = json!("relu");
    let mut exact = fixtures::gpt2_config();
    exact["activation_function"] = json!("gelu");
    for (config, key) in [(scaled, "rope_scaling"), (relu, "hidden_act"), (exact, "activation_function")] {
        let (dir, model) = folder(&config, &fixtures::tensors(&config));
        let error = quantize(&model, Method::GgufQ8_0, &dir.path().join("out")).expect_err(key).to_string();
        assert!(error.contains(key) && error.contains("int8"), "{error}");
        quantize(&model, Method::Int8, &dir.path().join("out")).unwrap();
    }
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
    assert!(error.contains("has type F64; expected F32, F16 or BF16"), "{error}");
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
        assert!(matches!(error, CompressError::Malformed { .. }), "{len}: {error}");
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
        ("ghost", json!("model-00001-of-00002.safetensors"), "ghost is missing"),
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

#[test]
fn a_byte_level_tokenizer_goes_into_the_gguf() {
    let config = fixtures::gpt2_config();
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    fs::write(model.join("tokenizer.json"), fixtures::byte_level_tokenizer().to_string()).unwrap();
    let out = dir.path().join("out.gguf");
    let report = quantize(&model, Method::GgufQ8_0, &out).unwrap();
    assert_eq!(report.notes, [""; 0]);
    let file = GgufFile::open(&out).unwrap();
    let get = |key: &str| file.metadata().get(&format!("tokenizer.ggml.{key}")).cloned();
    assert_eq!(get("model"), Some(Meta::String("gpt2".to_owned())));
    assert_eq!(get("pre"), Some(Meta::String("gpt-2".to_owned())));
    assert_eq!(get("merges"), Some(Meta::Array(Array::Strings(vec!["A B".to_owned(), "Ġ C".to_owned(), "AB C".to_owned()]))));
    assert_eq!(get("eos_token_id"), Some(Meta::U32(39)));
    let (Some(Meta::Array(Array::Strings(tokens))), Some(Meta::Array(Array::I32(types)))) = (get("tokens"), get("token_type")) else {
        panic!("tokens and types must be arrays");
    };
    assert_eq!(tokens[36..], ["ABC", "[PAD37]", "[PAD38]", "<|endoftext|>"].map(str::to_owned));
    assert_eq!(types[35..], [1, 1, 5, 5, 3]);
    assert_eq!(open_quantized(&out).unwrap().config()["eos_token_id"], 39);
}

#[test]
fn tokenizers_that_do_not_fit_are_refused_or_noted() {
    let config = fixtures::gpt2_config();
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let run = |edit: &dyn Fn(&mut Value), out: &str| {
        let mut tokenizer = fixtures::byte_level_tokenizer();
        edit(&mut tokenizer);
        fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        quantize(&model, Method::GgufF16, &dir.path().join(out))
    };
    let cases: [(&dyn Fn(&mut Value), &str); 6] = [
        (&|t| t["model"]["vocab"]["far"] = json!(40), "the embedding has 40 rows"),
        (&|t| t["model"]["vocab"]["twice"] = json!(3), "given twice"),
        (&|t| t["model"]["type"] = json!("WordPiece"), "WordPiece"),
        (&|t| t["pre_tokenizer"] = Value::Null, "int8"),
        (&|t| t["model"]["merges"] = json!(["A"]), "model.merges"),
        (&|t| t["added_tokens"][0]["content"] = json!("A"), "another id"),
    ];
    for (edit, expected) in cases {
        let error = run(edit, "out").expect_err(expected).to_string();
        assert!(error.contains(expected), "wanted {expected:?}, got {error}");
    }
    let other = |t: &mut Value| t["pre_tokenizer"]["add_prefix_space"] = json!(true);
    let report = run(&other, "noted").unwrap();
    assert!(report.notes.len() == 1 && report.notes[0].contains("pre-tokenizer"), "{:?}", report.notes);
}

#[test]
fn sentencepiece_scores_follow_the_merge_ranks() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "ab": 4, "abc": 5, "a": 6, "b": 7, "c": 8, "bc": 9});
    let tokenizer = |merges: Value| {
        json!({
            "added_tokens": [{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}],
            "normalizer": {"type": "Prepend", "prepend": "▁"},
            "post_processor": {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]},
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": merges},
        })
    };
    let run = |merges: Value, out: &str| {
        fs::write(model.join("tokenizer.json"), tokenizer(merges).to_string()).unwrap();
        let report = quantize(&model, Method::GgufF16, &dir.path().join(out)).unwrap();
        (GgufFile::open(&dir.path().join(out)).unwrap(), report.notes)
    };
    let (file, notes) = run(json!(["b c", "a b", "ab c", "a bc"]), "exact");
    assert_eq!(notes, [""; 0]);
    let Some(Meta::Array(Array::F32(scores))) = file.metadata().get("tokenizer.ggml.scores") else { panic!("no scores") };
    assert_eq!(scores[..10], [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, 0.0]);
    let Some(Meta::Array(Array::I32(types))) = file.metadata().get("tokenizer.ggml.token_type") else { panic!("no types") };
    assert_eq!(types[..5], [2, 3, 3, 6, 1]);
    assert_eq!(file.metadata().get("tokenizer.ggml.add_bos_token"), Some(&Meta::Bool(true)));
    assert_eq!(file.metadata().get("tokenizer.ggml.add_space_prefix"), Some(&Meta::Bool(true)));
    for (merges, reason) in [(json!(["ab c", "b c", "a b", "a bc"]), "1 merges stand apart"), (json!(["b c", "a b", "ab c"]), "1 joinable pairs")] {
        let (_, notes) = run(merges, reason);
        assert!(notes.len() == 1 && notes[0].contains(reason), "{notes:?}");
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
fn the_real_stories_model_goes_through_every_method() {
    let shared = std::env::var_os("OSLER_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let model = shared.join("data/stories260k/hf");
    if !model.exists() {
        eprintln!("SKIPPED: the_real_stories_model_goes_through_every_method: no shared data");
        return;
    }
    let dir = TempDir::new().unwrap();
    for method in Method::ALL {
        let out = dir.path().join(method.as_str());
        let report = quantize(&model, method, &out).unwrap();
        assert_eq!(report.notes, [""; 0], "{method}");
        assert_eq!(report.fallback.len(), if method == Method::GgufQ8_0 { 5 } else { 0 }, "ffn_down has 172 columns");
        let worst = report.worst().unwrap();
        let limit = match method {
            Method::Int8 | Method::GgufQ8_0 => 0.02,
            Method::GgufF16 => 5e-4,
            Method::GgufF32 => 0.0,
        };
        assert!(worst.relative_rms_error <= limit, "{method}: {worst:?}");
        let opened = open_quantized(&out).unwrap();
        assert_eq!(opened.names().count(), 47);
        let again = quantize(&model, method, &dir.path().join("again")).unwrap();
        assert_eq!(again, QuantReport { outputs: again.outputs.clone(), ..report.clone() });
        let digests = |r: &QuantReport| r.outputs.iter().map(|o| o.sha256.clone()).collect::<Vec<_>>();
        assert_eq!(digests(&again), digests(&report), "the same input gives the same bytes");
        if method.writes_file() { fs::remove_file(dir.path().join("again")) } else { fs::remove_dir_all(dir.path().join("again")) }.unwrap();
    }
    // The original SentencePiece scores of this tokenizer are minus the id, counted from the first merged token.
    let file = GgufFile::open(&dir.path().join("gguf-q8_0")).unwrap();
    let Some(Meta::Array(Array::F32(scores))) = file.metadata().get("tokenizer.ggml.scores") else { panic!("no scores") };
    let expected: Vec<f32> = (0..512i32).map(|id| (259 - id).min(0) as f32).collect();
    assert_eq!(scores, &expected);
}
