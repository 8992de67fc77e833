//! What a folder says about special tokens, in GGUF metadata and in int8 folders; and the way back to a tokenizer.

use super::folder;
use crate::fixtures;
use crate::gguf::{Array, GgufFile, GgufTokenizer, Value as Meta};
use crate::{Method, quantize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// As a Llama 3 folder: the template for BOS stands in a sequence, and the model stops at three tokens.
fn llama3() -> (TempDir, std::path::PathBuf) {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let mut tokenizer = fixtures::byte_level_tokenizer();
    let added = |id: u32, content: &str| json!({"id": id, "content": content, "special": true});
    tokenizer["added_tokens"] = json!([added(37, "<bos>"), added(38, "<eot>"), added(39, "<eom>")]);
    tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"},
        {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>"}}, {"Sequence": {"id": "A"}}],
            "special_tokens": {"<bos>": {"ids": [37]}},
        },
    ]});
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(model.join("tokenizer_config.json"), json!({"bos_token": "<bos>", "eos_token": "ABC"}).to_string()).unwrap();
    fs::write(model.join("generation_config.json"), json!({"eos_token_id": [39, 38, 36], "temperature": 0.6}).to_string()).unwrap();
    fs::write(model.join("chat_template.jinja"), "{{ main }}").unwrap();
    fs::create_dir(model.join("additional_chat_templates")).unwrap();
    fs::write(model.join("additional_chat_templates/tool-use.jinja"), "{{ tools }}").unwrap();
    (dir, model)
}

fn metadata(file: &Path) -> BTreeMap<String, Meta> {
    let found = GgufFile::open(file).unwrap().metadata().clone();
    found.into_iter().filter_map(|(key, value)| Some((key.strip_prefix("tokenizer.")?.to_owned(), value))).collect()
}

#[test]
fn a_gguf_says_what_the_folder_does_with_texts() {
    let (dir, model) = llama3();
    let out = dir.path().join("out.gguf");
    assert_eq!(quantize(&model, Method::GgufF16, &out).unwrap().notes, [""; 0]);
    let found = metadata(&out);
    let text = |text: &str| Meta::String(text.to_owned());
    for (key, value) in [
        ("ggml.add_bos_token", Meta::Bool(true)),
        ("ggml.add_eos_token", Meta::Bool(false)),
        ("ggml.bos_token_id", Meta::U32(37)),
        ("ggml.eos_token_id", Meta::U32(36)),
        ("ggml.eot_token_id", Meta::U32(38)),
        ("ggml.eom_token_id", Meta::U32(39)),
        ("chat_template", text("{{ main }}")),
        ("chat_template.tool_use", text("{{ tools }}")),
        ("chat_templates", Meta::Array(Array::Strings(vec!["tool_use".into()]))),
    ] {
        assert_eq!(found.get(key), Some(&value), "{key}");
    }
    let own = GgufTokenizer::read(&out).unwrap();
    assert_eq!((own.bos, own.eos, own.adds_bos), (Some(37), Some(36), true));
}

#[test]
fn what_gguf_cannot_say_is_noted() {
    let (dir, model) = llama3();
    let path = model.join("tokenizer.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let notes = |edit: &dyn Fn(&mut Value), out: &str| {
        let mut tokenizer = whole.clone();
        edit(&mut tokenizer);
        fs::write(&path, tokenizer.to_string()).unwrap();
        quantize(&model, Method::GgufF16, &dir.path().join(out)).unwrap().notes.join("; ")
    };
    let template = |ids: Value, behind: Value| {
        json!({
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "y"}}],
            "special_tokens": {"x": {"ids": ids}, "y": {"ids": behind}},
        })
    };
    let said = notes(&|t| t["post_processor"] = template(json!([37, 38]), json!([36])), "two");
    assert!(said.contains("puts [\"<bos>\", \"<eot>\"] before texts") && !said.contains("behind"), "{said}");
    let said = notes(&|t| t["post_processor"] = template(json!([38]), json!([39])), "other");
    assert!(
        said.contains("\"<eot>\" before texts and calls \"<bos>\" its BOS") && said.contains("puts [\"<eom>\"] behind texts"),
        "{said}"
    );
    assert_eq!(metadata(&dir.path().join("other"))["ggml.bos_token_id"], Meta::U32(38), "what stands before texts counts");
    fs::write(model.join("generation_config.json"), json!({"eos_token_id": [36, 37, 38, 39]}).to_string()).unwrap();
    let said = notes(&|_| (), "many");
    assert!(said.contains("also stops at [\"<eom>\"]"), "{said}");
    fs::write(model.join("tokenizer_config.json"), json!({"bos_token": "<none>"}).to_string()).unwrap();
    let error = quantize(&model, Method::GgufF16, &dir.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json") && error.contains("bos_token") && error.contains("lacks"), "{error}");
}

#[test]
fn an_int8_folder_keeps_all_files_of_the_tokenizer() {
    let (dir, model) = llama3();
    let out = dir.path().join("int8");
    let report = quantize(&model, Method::Int8, &out).unwrap();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "additional_chat_templates/tool-use.jinja",
    ] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(model.join(name)).unwrap(), "{name}");
        assert!(report.outputs.iter().any(|file| file.name == name), "{name} is not in the report: {:?}", report.outputs);
    }
}

/// A vocabulary in which merging "ABC" never gives the token "ABC": readers that take whole tokens would find it.
#[test]
fn the_pre_tokenizers_name_says_whether_merges_are_ignored() {
    let (dir, model) = llama3();
    let path = model.join("tokenizer.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let llama = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    ]});
    let apart = json!([["A", "B"], ["Ġ", "C"]]);
    let merges = whole["model"]["merges"].clone();
    let gpt2 = whole["pre_tokenizer"].clone();
    for (number, (split, merges, ignores, name, notes)) in [
        (&llama, &merges, true, "llama-bpe", 0),
        (&llama, &merges, false, "llama-bpe", 0),
        (&llama, &apart, true, "llama-bpe", 0),
        (&llama, &apart, false, "dbrx", 0),
        (&gpt2, &merges, true, "gpt-2", 0),
        (&gpt2, &apart, false, "gpt-2", 0),
        (&gpt2, &apart, true, "gpt-2", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut tokenizer = whole.clone();
        tokenizer["pre_tokenizer"] = split.clone();
        tokenizer["model"]["merges"] = merges.clone();
        tokenizer["model"]["ignore_merges"] = json!(ignores);
        fs::write(&path, tokenizer.to_string()).unwrap();
        let out = dir.path().join(format!("{number}.gguf"));
        let report = quantize(&model, Method::GgufF16, &out).unwrap();
        assert_eq!((report.notes.len(), &metadata(&out)["ggml.pre"]), (notes, &Meta::String(name.into())), "{number}: {:?}", report.notes);
        assert!(report.notes.iter().all(|note| note.contains("ignore_merges = true") && note.contains("\"ABC\"")), "{:?}", report.notes);
        let own: Value = serde_json::from_str(&GgufTokenizer::read(&out).unwrap().json).unwrap();
        assert_eq!((&own["pre_tokenizer"], &own["model"]["ignore_merges"]), (split, &json!(name == "llama-bpe")), "{number}");
    }
}

#[test]
fn a_files_own_tokenizer_is_the_one_that_was_written() {
    let (dir, model) = llama3();
    let out = dir.path().join("out.gguf");
    quantize(&model, Method::GgufF16, &out).unwrap();
    let own: Value = serde_json::from_str(&GgufTokenizer::read(&out).unwrap().json).unwrap();
    let given: Value = serde_json::from_slice(&fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
    let mut vocab = given["model"]["vocab"].as_object().unwrap().clone();
    vocab.extend([("<bos>".to_owned(), json!(37)), ("<eot>".to_owned(), json!(38)), ("<eom>".to_owned(), json!(39))]);
    assert_eq!(own["model"]["vocab"], Value::Object(vocab));
    assert_eq!(own["model"]["merges"], json!([["A", "B"], ["Ġ", "C"], ["AB", "C"]]));
    assert_eq!(own["pre_tokenizer"], given["pre_tokenizer"]);
    let added: Vec<_> = own["added_tokens"].as_array().unwrap().iter().map(|t| (t["id"].clone(), t["content"].clone())).collect();
    assert_eq!(added, [(json!(37), json!("<bos>")), (json!(38), json!("<eot>")), (json!(39), json!("<eom>"))]);
}

#[test]
fn a_tokenizer_that_cannot_be_built_exactly_is_refused_by_key() {
    let (dir, model) = llama3();
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["pre_tokenizer"]["add_prefix_space"] = json!(true);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let out = dir.path().join("out.gguf");
    quantize(&model, Method::GgufF16, &out).unwrap();
    let error = GgufTokenizer::read(&out).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.pre") && error.contains("--tokenizer"), "{error}");
    fs::remove_file(&path).unwrap();
    let out = dir.path().join("none.gguf");
    quantize(&model, Method::GgufF16, &out).unwrap();
    let error = GgufTokenizer::read(&out).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.model") && error.contains("\"none\""), "{error}");
}

/// SentencePiece: the highest score merges first, and each pair that joins to a piece is a merge.
#[test]
fn sentence_pieces_come_back_in_the_order_of_their_scores() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "ab": 4, "abc": 5, "a": 6, "b": 7, "c": 8, "bc": 9});
    let merges = json!([["b", "c"], ["a", "b"], ["a", "bc"], ["ab", "c"]]);
    let tokenizer = json!({
        "added_tokens": [{"id": 1, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}],
        "normalizer": {"type": "Prepend", "prepend": "▁"}, "post_processor": null,
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": merges},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let out = dir.path().join("out.gguf");
    assert_eq!(quantize(&model, Method::GgufF16, &out).unwrap().notes, [""; 0]);
    let own = GgufTokenizer::read(&out).unwrap();
    assert!(!own.adds_bos, "the folder adds none, whatever the class usually does");
    let own: Value = serde_json::from_str(&own.json).unwrap();
    let (expected, steps) =
        (json!([["b", "c"], ["a", "b"], ["ab", "c"], ["a", "bc"]]), own["normalizer"]["normalizers"].as_array().unwrap());
    assert_eq!(
        (&own["model"]["merges"], &own["model"]["byte_fallback"], &own["model"]["unk_token"]),
        (&expected, &json!(true), &json!("<unk>"))
    );
    assert_eq!(steps[0], json!({"type": "Prepend", "prepend": "▁"}));
}
