//! tokenizer.json in GGUF metadata.

use super::folder;
use crate::fixtures;
use crate::gguf::{Array, GgufFile, Value as Meta};
use crate::{Method, open_quantized, quantize};
use serde_json::{Value, json};
use std::fs;

type Edit<'a> = &'a dyn Fn(&mut Value);

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
    let run = |edit: Edit, out: &str| {
        let mut tokenizer = fixtures::byte_level_tokenizer();
        edit(&mut tokenizer);
        fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        quantize(&model, Method::GgufF16, &dir.path().join(out))
    };
    let cases: [(Edit, &str); 6] = [
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
            "post_processor": {
                "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            },
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
    for (merges, reason) in
        [(json!(["ab c", "b c", "a b", "a bc"]), "1 merges stand apart"), (json!(["b c", "a b", "ab c"]), "1 joinable pairs")]
    {
        let (_, notes) = run(merges, reason);
        assert!(notes.len() == 1 && notes[0].contains(reason), "{notes:?}");
    }
}
