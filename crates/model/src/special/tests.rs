//! Folders as they are met, and what transformers 5 does with each; the Python lane compares the same cases with the library itself.

use super::*;
use serde_json::json;
use std::fs;

/// A vocabulary of ten tokens, the last four of which were added.
fn tokenizer(post_processor: Value) -> Value {
    let added = |id: u32, content: &str| json!({ "id": id, "content": content, "special": true });
    json!({
        "added_tokens": [added(6, "<s>"), added(7, "</s>"), added(8, "<pad>"), added(9, "<|endoftext|>")],
        "pre_tokenizer": { "type": "ByteLevel" },
        "post_processor": post_processor,
        "model": { "type": "BPE", "unk_token": "u", "vocab": { "u": 0, "a": 1, "b": 2, "c": 3, "<bos>": 4, "<eos>": 5 } },
    })
}

fn template(pieces: &[&str]) -> Value {
    let piece = |name: &&str| match *name {
        "A" => json!({ "Sequence": { "id": "A", "type_id": 0 } }),
        name => json!({ "SpecialToken": { "id": name, "type_id": 0 } }),
    };
    let ids = json!({ "<s>": { "ids": [6] }, "</s>": { "ids": [7] }, "[two]": { "ids": [1, 6] } });
    json!({ "type": "TemplateProcessing", "single": pieces.iter().map(piece).collect::<Vec<_>>(), "special_tokens": ids })
}

fn read(tokenizer: &Value, files: &[(&str, Value)]) -> Result<Specials, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(TOKENIZER), tokenizer.to_string()).unwrap();
    for (name, value) in files {
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    }
    Specials::read(folder.path()).map_err(|e| e.to_string())
}

#[test]
fn what_stands_around_a_text_is_the_post_processors_word() {
    let level = json!({ "type": "ByteLevel" });
    let sequence = |steps: &[Value]| json!({ "type": "Sequence", "processors": steps });
    let cases = [
        (Value::Null, vec![], vec![]),
        (level.clone(), vec![], vec![]),
        (template(&["A"]), vec![], vec![]),
        (template(&["<s>", "A"]), vec![6], vec![]),
        (template(&["<s>", "A", "</s>"]), vec![6], vec![7]),
        (template(&["[two]", "A"]), vec![1, 6], vec![]),
        // Llama 3's.
        (sequence(&[level.clone(), template(&["<s>", "A"])]), vec![6], vec![]),
        (sequence(&[template(&["</s>", "A"]), template(&["<s>", "A", "</s>"])]), vec![6, 7], vec![7]),
        (json!({ "type": "RobertaProcessing", "cls": ["<s>", 6], "sep": ["</s>", 7] }), vec![6], vec![7]),
    ];
    for (post, front, back) in cases {
        for flag in [None, Some(true), Some(false)] {
            let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": flag, "add_eos_token": flag });
            let found = read(&tokenizer(post.clone()), &[("tokenizer_config.json", config)]).unwrap();
            assert_eq!((&found.front, &found.back), (&front, &back), "{post} {flag:?}");
            assert_eq!((found.adds_bos(), found.adds_eos()), (front == [6], back == [7]), "{post} {flag:?}");
            let contradicted = [&front, &back].into_iter().filter(|around| flag.is_some_and(|flag| flag == around.is_empty())).count();
            assert_eq!(found.notes.len(), contradicted, "{post} {flag:?}: {:?}", found.notes);
        }
    }
    for (post, word) in [
        (json!({ "type": "Unheard" }), "Unheard"),
        (json!({ "type": "TemplateProcessing", "single": [] }), "no place for the text"),
        (template(&["<x>", "A"]), "no ids for \"<x>\""),
        (json!({ "type": "RobertaProcessing", "cls": ["<s>", 99], "sep": ["</s>", 7] }), "token 99"),
    ] {
        let error = read(&tokenizer(post), &[]).unwrap_err();
        assert!(error.contains("post_processor") && error.contains(word), "{error}");
    }
}

#[test]
fn roles_are_given_by_the_tokenizers_files_its_class_and_last_by_the_models_numbers() {
    type Case<'a> = (&'a [(&'a str, Value)], [Option<u32>; 4]);
    let named = json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" }, "pad_token": "<pad>" });
    let class = |name: &str| json!({ "tokenizer_class": name });
    let numbers = json!({ "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 3 });
    let cases: [Case; 12] = [
        (&[], [None, None, Some(0), None]),
        (&[("tokenizer_config.json", named.clone())], [Some(6), Some(7), Some(0), Some(8)]),
        (&[("config.json", numbers.clone())], [Some(1), Some(2), Some(0), Some(3)]),
        (&[("generation_config.json", numbers.clone())], [Some(1), Some(2), Some(0), Some(3)]),
        (&[("config.json", numbers.clone()), ("tokenizer_config.json", named.clone())], [Some(6), Some(7), Some(0), Some(8)]),
        // A null is a statement: this tokenizer has no BOS, whatever the model's config numbers.
        (&[("config.json", numbers.clone()), ("tokenizer_config.json", json!({ "bos_token": null }))], [None, Some(2), Some(0), Some(3)]),
        // In older folders the map has the last word, in newer ones nobody reads it.
        (
            &[("tokenizer_config.json", named.clone()), ("special_tokens_map.json", json!({ "eos_token": "c" }))],
            [Some(6), Some(3), Some(0), Some(8)],
        ),
        (
            &[
                ("tokenizer_config.json", json!({ "eos_token": "</s>", "added_tokens_decoder": {} })),
                ("special_tokens_map.json", json!({ "eos_token": "c" })),
            ],
            [None, Some(7), Some(0), None],
        ),
        (&[("tokenizer_config.json", class("GPT2TokenizerFast"))], [Some(9), Some(9), Some(9), None]),
        (&[("tokenizer_config.json", class("GemmaTokenizer"))], [Some(4), Some(5), Some(0), Some(8)]),
        // Byte-level: the library does not take Llama 2's class for it.
        (&[("tokenizer_config.json", class("LlamaTokenizer"))], [None, None, Some(0), None]),
        (
            &[("config.json", json!({ "model_type": "qwen2" })), ("tokenizer_config.json", class("LlamaTokenizer"))],
            [None, Some(9), Some(9), Some(9)],
        ),
    ];
    for (files, expected) in cases {
        let found = read(&tokenizer(Value::Null), files).unwrap();
        assert_eq!([found.bos, found.eos, found.unk, found.pad], expected, "{files:?}");
    }
    let mut pieces = tokenizer(Value::Null);
    pieces["pre_tokenizer"] = Value::Null;
    let found = read(&pieces, &[("config.json", json!({ "model_type": "llama" }))]).unwrap();
    assert_eq!((found.bos, found.eos), (Some(6), Some(7)));
    pieces["model"] = json!({ "type": "Unigram", "unk_id": 1, "vocab": [["x", 0.0], ["<unk>", -1.0]] });
    let found = read(&pieces, &[("tokenizer_config.json", json!({ "eos_token": "x" }))]).unwrap();
    assert_eq!((found.eos, found.unk), (Some(0), Some(1)));
}

#[test]
fn a_role_for_what_is_no_token_is_refused_by_file_and_field() {
    for (name, value, file, word) in [
        ("tokenizer_config.json", json!({ "bos_token": "<x>" }), "tokenizer_config.json: field `bos_token`", "which the vocabulary lacks"),
        ("special_tokens_map.json", json!({ "eos_token": "<x>" }), "special_tokens_map.json: field `eos_token`", "\"<x>\""),
        ("tokenizer_config.json", json!({ "bos_token": 7 }), "field `bos_token`", "neither a string nor"),
        ("config.json", json!({ "bos_token_id": 99 }), "config.json: field `bos_token_id`", "token 99, which the vocabulary lacks"),
        ("generation_config.json", json!({ "eos_token_id": [99] }), "generation_config.json: field `eos_token_id`", "token 99"),
        ("tokenizer_config.json", json!([]), "tokenizer_config.json", "JSON object"),
        ("tokenizer_config.json", json!({ "chat_template": 7 }), "field `chat_template`", "must be a string"),
    ] {
        let error = read(&tokenizer(Value::Null), &[(name, value)]).unwrap_err();
        assert!(error.contains(file) && error.contains(word), "{file} {word}: {error}");
    }
}

#[test]
fn chat_templates_are_files_or_entries_and_files_win() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let found = || {
        let templates = Specials::read(folder.path()).unwrap().templates;
        templates.into_iter().map(|t| format!("{}={}", t.name, t.text)).collect::<Vec<_>>()
    };
    fs::write(path(TOKENIZER), tokenizer(Value::Null).to_string()).unwrap();
    assert_eq!(found(), [""; 0]);
    let list = json!([{ "name": "default", "template": "x" }, { "name": "tools", "template": "y" }]);
    for (value, expected) in
        [(json!("x"), vec!["default=x"]), (list, vec!["default=x", "tools=y"]), (json!({ "tools": "y" }), vec!["tools=y"])]
    {
        fs::write(path("tokenizer_config.json"), json!({ "chat_template": value }).to_string()).unwrap();
        assert_eq!(found(), expected);
    }
    fs::write(path("chat_template.jinja"), "file").unwrap();
    assert_eq!(found(), ["default=file"]);
    fs::create_dir(path("additional_chat_templates")).unwrap();
    fs::write(path("additional_chat_templates/rag.jinja"), "r").unwrap();
    fs::write(path("additional_chat_templates/notes.txt"), "no template").unwrap();
    assert_eq!(found(), ["default=file", "rag=r"]);
    let files = tokenizer_files(folder.path()).unwrap();
    assert_eq!(files, ["additional_chat_templates/rag.jinja", "chat_template.jinja", "tokenizer_config.json"]);
}

#[test]
fn a_folders_spellings_are_those_of_its_vocabulary_and_its_added_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TOKENIZER);
    fs::write(&path, tokenizer(Value::Null).to_string()).unwrap();
    let found = spellings(&path).unwrap();
    assert_eq!((found.len(), found[&1].as_str(), found[&9].as_str()), (10, "a", "<|endoftext|>"));
}
