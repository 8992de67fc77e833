//! Folders that hold a model, and folders that say another one than they hold.

use super::*;
use crate::weights::{INDEX, SINGLE};
use osler_core::spec::Family;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

type Stored = (String, &'static str, Vec<usize>, Vec<u8>);

fn config(tied: bool) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 10, "tie_word_embeddings": tied,
    })
}

fn small(family: &str) -> Value {
    match family {
        "gpt2" => json!({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 10}),
        "bert" => json!({
            "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
            "max_position_embeddings": 16, "vocab_size": 10,
        }),
        _ => config(true),
    }
}

/// Each value of the model's tensors is another one.
fn tensors(config: &Value) -> Vec<Stored> {
    let config = ModelConfig::read(Path::new("config.json"), config).unwrap();
    let mut next = 0.0f32;
    let mut stored = |param: Param| {
        let bytes = (0..param.len())
            .flat_map(|_| {
                next += 0.5;
                next.to_le_bytes()
            })
            .collect();
        (param.name, "F32", param.shape, bytes)
    };
    parameters(&config.spec, config.vocab).unwrap().into_iter().map(&mut stored).collect()
}

fn write(path: &Path, tensors: &[Stored]) {
    let (mut at, mut header) = (0, serde_json::Map::new());
    for (name, dtype, shape, data) in tensors {
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + data.len()]}));
        at += data.len();
    }
    let header = Value::Object(header).to_string();
    let data: Vec<u8> = tensors.iter().flat_map(|t| t.3.clone()).collect();
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

fn folder(config: &Value, tensors: &[Stored]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    write(&folder.path().join(SINGLE), tensors);
    folder
}

fn told(folder: &Path) -> String {
    ModelFolder::open(folder).unwrap_err().to_string()
}

fn renamed(tensors: Vec<Stored>, rename: impl Fn(&str) -> String) -> Vec<Stored> {
    tensors.into_iter().map(|(name, dtype, shape, data)| (rename(&name), dtype, shape, data)).collect()
}

#[test]
fn older_names_and_missing_prefixes_are_the_same_model() {
    for family in ["llama", "gpt2", "bert"] {
        let config = small(family);
        let usual = tensors(&config);
        let bare = |name: &str| ["model.", "transformer.", "bert."].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name).to_owned();
        let older = |name: &str| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        for stored in [usual.clone(), renamed(usual.clone(), bare), renamed(usual.clone(), older)] {
            let folder = folder(&config, &stored);
            let found = ModelFolder::open(folder.path()).unwrap();
            for (name, _, _, data) in &usual {
                assert_eq!(found.raw(name).unwrap(), *data, "{name}");
                assert_eq!(found.read_f32(name).unwrap().len() * 4, data.len());
            }
        }
    }
    // Of two names of one tensor, the head's.
    let head = folder(&config(true), &renamed(tensors(&config(true)), |name| name.replace("model.embed_tokens", "lm_head")));
    ModelFolder::open(head.path()).unwrap().raw("model.embed_tokens.weight").unwrap();
}

#[test]
fn a_tied_head_that_is_stored_must_be_the_embedding() {
    let mut all = tensors(&config(true));
    let table = all.iter().find(|t| t.0 == "model.embed_tokens.weight").unwrap().clone();
    all.push(("lm_head.weight".to_owned(), table.1, table.2, table.3));
    let same = folder(&config(true), &all);
    assert_eq!(ModelFolder::open(same.path()).unwrap().dropped(), ["lm_head.weight"]);
    all.last_mut().unwrap().3[8 * 4 * 3] ^= 1;
    let other = folder(&config(true), &all);
    let told = told(other.path());
    assert!(
        told.contains("lm_head.weight differs from model.embed_tokens.weight in row 3") && told.contains("tie_word_embeddings"),
        "{told}"
    );
}

#[test]
fn a_foreign_model_is_named_in_one_line() {
    let quantized = renamed(tensors(&config(true)), |name| match name.strip_suffix("_proj.weight") {
        Some(part) => format!("{part}_proj.qweight"),
        None => name.to_owned(),
    });
    let inside = renamed(tensors(&config(true)), |name| format!("language_model.{name}"));
    for (stored, word) in [(quantized, "quantized already"), (inside, "begins with \"language_model.model.\"")] {
        let told = told(folder(&config(true), &stored).path());
        assert!(told.contains(word) && told.len() < 400 && !told.contains('\n'), "{told}");
    }
    let untied = ModelFolder::open(folder(&config(false), &tensors(&config(true))).path()).unwrap_err().to_string();
    assert!(untied.contains("lm_head.weight is missing"), "{untied}");
    for name in ["adapter_config.json", "quantize_config.json"] {
        let folder = folder(&config(true), &tensors(&config(true)));
        fs::write(folder.path().join(name), "{}").unwrap();
        assert!(told(folder.path()).contains(name));
    }
    let folder = folder(&config(true), &[]);
    fs::rename(folder.path().join(SINGLE), folder.path().join("pytorch_model.bin")).unwrap();
    assert!(told(folder.path()).contains("save_pretrained"));
}

#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let mut all = tensors(&config(true));
    let at = |all: &[Stored], end: &str| all.iter().position(|t| t.0.ends_with(end)).unwrap();
    let (gate, up, norm) = (at(&all, "gate_proj.weight"), at(&all, "up_proj.weight"), at(&all, "input_layernorm.weight"));
    all[gate].2 = vec![8, 12];
    all[norm].1 = "I32";
    all[up].0 = "model.layers.0.mlp.upp_proj.weight".to_owned();
    let told = told(folder(&config(true), &all).path());
    for word in [
        "gate_proj.weight has shape [8, 12]",
        "input_layernorm.weight is stored as I32",
        "up_proj.weight is missing",
        "upp_proj.weight is not a parameter",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn index_and_shards_must_agree_about_every_tensor() {
    let all = tensors(&config(true));
    let (first, second) = all.split_at(all.len() / 2);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let map: serde_json::Map<String, Value> =
        [first, second].iter().zip(names).flat_map(|(part, file)| part.iter().map(move |t| (t.0.clone(), json!(file)))).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config(true).to_string()).unwrap();
    write(&folder.path().join(names[0]), first);
    write(&folder.path().join(names[1]), second);
    let index =
        |map: &serde_json::Map<String, Value>| fs::write(folder.path().join(INDEX), json!({ "weight_map": map }).to_string()).unwrap();
    index(&map);
    ModelFolder::open(folder.path()).unwrap();
    let mut left_out = map.clone();
    left_out.remove(&first[0].0);
    index(&left_out);
    assert!(told(folder.path()).contains("but not in weight_map"));
    for (file, word) in [
        (json!("../model-00001-of-00002.safetensors"), "plain name"),
        (json!("/etc/passwd"), "plain name"),
        (json!(""), "plain name"),
        (json!("model.bin"), "plain name"),
        (json!(7), "must be a file name"),
        (json!(names[1]), "where the index says"),
    ] {
        let mut bad = map.clone();
        bad.insert(first[0].0.clone(), file);
        index(&bad);
        assert!(told(folder.path()).contains(word), "{word}: {}", told(folder.path()));
    }
    index(&serde_json::Map::new());
    assert!(told(folder.path()).contains("weight_map"));
}

#[test]
fn a_folder_without_its_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(told(folder.path()).contains("config.json"));
    fs::write(folder.path().join("config.json"), config(true).to_string()).unwrap();
    assert!(told(folder.path()).contains(SINGLE));
    assert_eq!(ModelConfig::of_folder(folder.path()).unwrap().0.spec.family, Family::Llama);
}
