//! Hugging Face folders: out and in again, in every float type, sharded, and with everything wrong that can be.

use crate::support::{Random, VOCAB, gemma, gpt2, llama, options, qwen2, run, shared, tokens, trainer};
use osler_core::spec::{Family, FloatType, ModelSpec};
use osler_engine::hf::{ExportOptions, SpecialTokens, export, import};
use osler_engine::models::Model;
use osler_engine::models::params::parameters;
use osler_engine::source::TensorSource;
use osler_engine::{Device, EngineError};
use serde_json::{Value, json};
use std::path::Path;

const SPECIAL: SpecialTokens = SpecialTokens { bos: Some(1), eos: Some(2), pad: None };

fn models() -> [ModelSpec; 6] {
    [llama(2, false), llama(2, true), llama(1, false), gpt2(), qwen2(), gemma()]
}

fn random_folder(folder: &Path, spec: &ModelSpec) {
    export(folder, spec, VOCAB, &mut Random(11), SPECIAL, ExportOptions::default()).unwrap();
}

/// Safetensors of any type, from names, types, shapes and bytes.
fn write(path: &Path, tensors: &[(String, &str, Vec<usize>, Vec<u8>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), vec![]);
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(path, [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat()).unwrap();
}

type Stored = (String, &'static str, Vec<usize>, Vec<u8>);

fn stored(spec: &ModelSpec, dtype: &'static str) -> Vec<Stored> {
    let mut random = Random(11);
    let one = |param: osler_engine::models::params::Param| {
        let values = random.read(&param.name, &param.shape).unwrap();
        let bytes = match dtype {
            "F16" => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            "BF16" => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        (param.name, dtype, param.shape, bytes)
    };
    parameters(spec, VOCAB).unwrap().into_iter().map(one).collect()
}

#[test]
fn what_is_exported_is_imported_bit_for_bit() {
    for spec in models() {
        let folder = tempfile::tempdir().unwrap();
        let mut trained = trainer(options(spec.clone(), 2, 2, 1e-3));
        run(&mut trained, 2);
        let written = export(folder.path(), &spec, VOCAB, &mut trained, SPECIAL, ExportOptions::default()).unwrap();
        let file = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        assert_eq!((written.bytes, written.files.len()), (file.len() as u64, 1));
        assert_eq!(written.files[0].1.digest, osler_core::digest::Digest::of(&file));
        let mut found = import(folder.path()).unwrap();
        let config = found.config().clone();
        assert_eq!((config.spec, config.vocab, config.special), (spec.clone(), VOCAB, SPECIAL));
        for param in parameters(&spec, VOCAB).unwrap() {
            let (a, b) = (found.read(&param.name, &param.shape).unwrap(), trained.read(&param.name, &param.shape).unwrap());
            assert_eq!(a, b, "{}", param.name);
        }
        let generation: Value = serde_json::from_slice(&std::fs::read(folder.path().join("generation_config.json")).unwrap()).unwrap();
        assert_eq!((&generation["eos_token_id"], generation.get("pad_token_id")), (&json!(2), None));
        // The same bits begin another training.
        let mut next = trainer(options(spec, 2, 2, 1e-3));
        next.load_weights_only(&mut found).unwrap();
    }
}

#[test]
fn a_large_model_is_exported_in_shards_that_hold_the_same_values() {
    for spec in models() {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { shard_bytes: 40_000, ..ExportOptions::default() };
        let written = export(folder.path(), &spec, VOCAB, &mut Random(11), SPECIAL, options).unwrap();
        assert!(written.files.len() > 2, "{} files", written.files.len());
        let count = written.files.len();
        for (i, (name, file)) in written.files.iter().enumerate() {
            assert_eq!(*name, format!("model-{:05}-of-{count:05}.safetensors", i + 1));
            assert_eq!(file.bytes, std::fs::metadata(folder.path().join(name)).unwrap().len());
        }
        let index: Value = serde_json::from_slice(&std::fs::read(folder.path().join("model.safetensors.index.json")).unwrap()).unwrap();
        let values: usize = parameters(&spec, VOCAB).unwrap().iter().map(|p| p.len()).sum();
        assert_eq!(index["metadata"]["total_size"], json!(values * 4));
        let (mut found, mut random) = (import(folder.path()).unwrap(), Random(11));
        for param in parameters(&spec, VOCAB).unwrap() {
            let expected = random.read(&param.name, &param.shape).unwrap();
            assert_eq!(found.read(&param.name, &param.shape).unwrap(), expected, "{}", param.name);
        }
        // A single file would be read instead of the shards.
        random_folder(folder.path(), &spec);
        let error = export(folder.path(), &spec, VOCAB, &mut Random(11), SPECIAL, options).unwrap_err().to_string();
        assert!(error.contains("empty folder"), "{error}");
    }
}

#[test]
fn an_export_in_halves_holds_the_rounded_values_in_half_the_bytes() {
    for (dtype, round) in [
        (FloatType::Bf16, (|v| half::bf16::from_f32(v).to_f32()) as fn(f32) -> f32),
        (FloatType::Fp16, |v| half::f16::from_f32(v).to_f32()),
    ] {
        let (folder, spec) = (tempfile::tempdir().unwrap(), qwen2());
        let options = ExportOptions { dtype, ..ExportOptions::default() };
        let written = export(folder.path(), &spec, VOCAB, &mut Random(11), SPECIAL, options).unwrap();
        let (mut found, mut random, mut values) = (import(folder.path()).unwrap(), Random(11), 0);
        for param in parameters(&spec, VOCAB).unwrap() {
            let expected: Vec<f32> = random.read(&param.name, &param.shape).unwrap().into_iter().map(round).collect();
            assert_eq!(found.read(&param.name, &param.shape).unwrap(), expected, "{}", param.name);
            values += expected.len() as u64;
        }
        assert!(written.bytes >= values * 2 && written.bytes < values * 2 + 20_000);
    }
    let mut large = osler_engine::source::Lookup(&mut |_| Ok((vec![512, 64], vec![1e6; 512 * 64])));
    let options = ExportOptions { dtype: FloatType::Fp16, ..ExportOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let error = export(folder.path(), &qwen2(), VOCAB, &mut large, SPECIAL, options).unwrap_err().to_string();
    assert!(error.contains("embed_tokens") && error.contains("float16"), "{error}");
}

#[test]
fn halves_shards_and_old_names_are_read() {
    for spec in models() {
        let folder = tempfile::tempdir().unwrap();
        random_folder(folder.path(), &spec);
        let exact = Model::from_folder(folder.path(), Device::Cpu).unwrap().logits(&tokens(0)[..20]).unwrap();
        let near = |limit: f32| {
            let found = Model::from_folder(folder.path(), Device::Cpu).unwrap().logits(&tokens(0)[..20]).unwrap();
            let worst = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= limit, "{worst} is above {limit}");
        };
        let path = folder.path().join("model.safetensors");
        for (dtype, limit) in [("F32", 0.0), ("F16", 0.02), ("BF16", 0.2)] {
            write(&path, &stored(&spec, dtype));
            near(limit);
        }
        // As OpenAI's first files: no prefix, constants along.
        let mut old: Vec<Stored> = stored(&spec, "F32");
        old.iter_mut().for_each(|t| t.0 = t.0.replace("transformer.", ""));
        if spec.family == Family::Gpt2 {
            old.push(("h.0.attn.bias".into(), "F32", vec![1], vec![0; 4]));
        }
        write(&path, &old);
        near(0.0);
        std::fs::remove_file(&path).unwrap();
        let all = stored(&spec, "F32");
        let (first, second) = all.split_at(all.len() / 2);
        write(&folder.path().join("model-00001-of-00002.safetensors"), first);
        write(&folder.path().join("model-00002-of-00002.safetensors"), second);
        let part = |tensors: &[Stored], number: u32| {
            tensors.iter().map(|t| (t.0.clone(), json!(format!("model-0000{number}-of-00002.safetensors")))).collect::<Vec<_>>()
        };
        let map: serde_json::Map<String, Value> = part(first, 1).into_iter().chain(part(second, 2)).collect();
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
        near(0.0);
        for bad in ["../model.safetensors", "/etc/passwd", "", "model.bin"] {
            let mut map = map.clone();
            map.insert(first[0].0.clone(), json!(bad));
            std::fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
            let error = import(folder.path()).unwrap_err().to_string();
            assert!(error.contains("of this folder") || error.contains("plain name"), "{error}");
        }
        let mut map = map.clone();
        map.insert(first[0].0.clone(), json!("model-00002-of-00002.safetensors"));
        std::fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
        assert!(import(folder.path()).unwrap_err().to_string().contains("where the index says"));
    }
}

#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let spec = llama(2, false);
    random_folder(folder.path(), &spec);
    let mut tensors = stored(&spec, "F32");
    tensors[0].2 = vec![VOCAB / 2, 128];
    tensors[1].1 = "I32";
    tensors[2].0 = "model.layers.0.self_attn.qq_proj.weight".into();
    write(&folder.path().join("model.safetensors"), &tensors);
    let EngineError::Import(error) = import(folder.path()).unwrap_err() else { panic!("an import error") };
    let told = error.to_string();
    for word in [
        "model.embed_tokens.weight has shape",
        "input_layernorm.weight is stored as I32",
        "q_proj.weight is missing",
        "qq_proj.weight is not a",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn a_tied_head_that_is_stored_must_be_the_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let spec = llama(2, true);
    random_folder(folder.path(), &spec);
    let path = folder.path().join("model.safetensors");
    let mut tensors = stored(&spec, "F32");
    let head = ("lm_head.weight".to_owned(), tensors[0].1, tensors[0].2.clone(), tensors[0].3.clone());
    tensors.push(head);
    write(&path, &tensors);
    import(folder.path()).unwrap();
    tensors.last_mut().unwrap().3[64 * 4 * 3] ^= 1;
    write(&path, &tensors);
    assert!(import(folder.path()).unwrap_err().to_string().contains("row 3"));
}

#[test]
fn broken_folders_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert!(import(&folder.path().join("absent")).unwrap_err().to_string().contains("config.json"));
    random_folder(folder.path(), &gpt2());
    let path = folder.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    for bytes in [&[][..], &good[..7], &good[..100], &good[..good.len() - 1], &[&good[..], &[0]].concat()] {
        std::fs::write(&path, bytes).unwrap();
        assert!(import(folder.path()).unwrap_err().to_string().contains("model.safetensors"));
    }
    let mut spoiled = good.clone();
    let end = spoiled.len();
    spoiled[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    std::fs::write(&path, spoiled).unwrap();
    assert!(Model::from_folder(folder.path(), Device::Cpu).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(import(folder.path()).unwrap_err().to_string().contains("model.safetensors"));
}

#[test]
fn a_model_can_be_made_from_decoded_tensors() {
    for spec in models() {
        let folder = tempfile::tempdir().unwrap();
        random_folder(folder.path(), &spec);
        let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        let mut source = import(folder.path()).unwrap();
        let shapes: std::collections::BTreeMap<_, _> = parameters(&spec, VOCAB).unwrap().into_iter().map(|p| (p.name, p.shape)).collect();
        let mut lookup = |name: &str| {
            let shape = shapes.get(name).ok_or("absent")?.clone();
            Ok((shape.clone(), source.read(name, &shape)?))
        };
        let found = Model::from_named(&config, &mut lookup).unwrap().logits(&[1, 2, 3]).unwrap();
        assert_eq!(found, Model::from_folder(folder.path(), Device::Cpu).unwrap().logits(&[1, 2, 3]).unwrap());
        let mut wrong = |_: &str| Ok((vec![1], vec![0.0]));
        assert!(Model::from_named(&config, &mut wrong).is_err());
    }
}

#[test]
fn a_real_model_is_imported() {
    let Some(folder) = shared("a_real_model_is_imported", "stories260k/hf") else { return };
    let config = import(&folder).unwrap().config().clone();
    assert_eq!((config.spec.kv_heads, config.spec.tied, config.vocab), (4, true, 512));
    assert_eq!(config.special, SPECIAL);
}
