//! Small tokenizers of every kind of model, and texts that spell their special tokens.

use crate::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

const METASPACE: &str = r#"{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}"#;

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
}

/// A tokenizer with this model; `config` is what stands beside it.
fn load(model: &Value, added: &[Value], pre_tokenizer: Value, config: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": pre_tokenizer,
        "post_processor": null, "decoder": null, "added_tokens": added, "model": model});
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::load(&folder.path().join("tokenizer.json")).unwrap()
}

fn letters() -> impl Iterator<Item = char> {
    "abcdefghijklmnopqrstuvwxyz</>[]|_x0123456789 ".chars()
}

fn vocab(special: &[&str]) -> Value {
    let pieces = special.iter().map(|piece| (*piece).to_owned()).chain(letters().map(String::from));
    let mut vocab = serde_json::Map::new();
    for piece in pieces {
        let id = vocab.len();
        vocab.entry(piece).or_insert(id.into());
    }
    vocab.into()
}

fn unigram(byte_fallback: bool) -> Tokenizer {
    let special = ["<unk>", "</s>", "<pad>"].map(|piece| json!([piece, 0.0]));
    let letters = letters().map(|c| if c == ' ' { '▁' } else { c }).collect::<std::collections::BTreeSet<_>>();
    let mut pieces: Vec<Value> = special.into_iter().chain(letters.into_iter().map(|c| json!([c.to_string(), -5.0]))).collect();
    if byte_fallback {
        pieces.extend((0..256).map(|byte| json!([format!("<0x{byte:02X}>"), 0.0])));
    }
    let model = json!({"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": byte_fallback});
    let config = json!({"eos_token": "</s>", "unk_token": {"content": "<unk>"}, "pad_token": "<pad>"});
    load(&model, &[], serde_json::from_str(METASPACE).unwrap(), &config)
}

/// Its merges make "</s>" of the letters, and no character outside of its vocabulary has a token.
fn bpe(extra: &[Value], config: &Value) -> Tokenizer {
    let model = json!({"type": "BPE", "vocab": vocab(&["</s>", "</", "s>"]), "merges": [["<", "/"], ["s", ">"], ["</", "s>"]]});
    load(&model, extra, Value::Null, config)
}

fn spelled(tokenizer: &Tokenizer, text: &str) -> String {
    let ids = tokenizer.encode(text).unwrap();
    ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect::<String>().replace('▁', " ")
}

#[test]
fn a_unigram_spells_what_looks_like_a_special_token() {
    let tokenizer = unigram(false);
    for text in ["one </s> two", "</s>", "</s></s><pad>", "<<pad>/s>", "<unk>", "<unk><unk>", "a<pad"] {
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.iter().all(|id| *id > 2), "{text}: {ids:?}");
        assert_eq!(spelled(&tokenizer, text), text);
    }
    // What is unknown has the unknown token, and is counted.
    let encoded = tokenizer.encode_counted("one µ, ää").unwrap();
    assert_eq!(encoded.ids.iter().filter(|id| **id == 0).count() as u64, encoded.unknown.tokens);
    assert_eq!((encoded.unknown.characters, encoded.unknown.of_characters, encoded.unknown.documents), (4, 7, 1));
    // A hostile document takes no longer than its length.
    let hostile = "</s>".repeat(50_000);
    assert_eq!(tokenizer.encode(&hostile).unwrap().len(), hostile.len());
}

#[test]
fn bytes_are_made_of_unknown_characters_only() {
    let tokenizer = unigram(true);
    assert_eq!(spelled(&tokenizer, "<0x41> é"), "<0x41> <0xC3><0xA9>");
    assert_eq!(tokenizer.encode("<0x41>").unwrap().len(), 6, "spelled out, not the byte of an A");
    assert!(tokenizer.encode_counted("é<0xC3>").unwrap().unknown.is_nothing());
}

#[test]
fn merges_and_added_tokens_make_no_special_token_either() {
    let eos = json!({"eos_token": "</s>"});
    // By merges alone; as an added token that is not special by the tokenizer's own word; and as one that is.
    for extra in [vec![], vec![added(0, "</s>", false)], vec![added(0, "</s>", true)]] {
        let tokenizer = bpe(&extra, &eos);
        for text in ["a</s>b", "</s></s>", "</", "s></s"] {
            assert!(!tokenizer.encode(text).unwrap().contains(&tokenizer.eos()), "{text} with {extra:?}");
            assert_eq!(spelled(&tokenizer, text), text);
        }
    }
    // A word of the user's own stays one token, whatever stands around it.
    let tokenizer = bpe(&[added(0, "</s>", true), added(100, "knee", false)], &eos);
    let knee = tokenizer.inner.token_to_id("knee").unwrap();
    assert_eq!(tokenizer.encode("a knee</s>").unwrap().iter().filter(|id| **id == knee).count(), 1);
    assert_eq!(spelled(&tokenizer, "kneeknee </s>"), "kneeknee </s>");
    // A token with any other role, and one that is only listed, count too.
    for config in [json!({"eos_token": "<", "cls_token": "</s>"}), json!({"eos_token": "<", "additional_special_tokens": ["</s>"]})] {
        assert!(!bpe(&[added(0, "</s>", false)], &config).encode("x</s>").unwrap().contains(&0), "{config}");
    }
}

#[test]
fn characters_that_are_lost_join_nothing_and_are_counted() {
    let tokenizer = bpe(&[], &json!({"eos_token": "</s>"}));
    // The library leaves out what it does not know and merges what stands around it.
    for text in ["<µ/s>", "µ</s>", "<µ/µsµ>", "µµ<一/s>β</s>"] {
        let encoded = tokenizer.encode_counted(text).unwrap();
        assert!(!encoded.ids.contains(&tokenizer.eos()), "{text}: {:?}", encoded.ids);
        let foreign = text.chars().filter(|c| !c.is_ascii()).count() as u64;
        assert_eq!((encoded.unknown.characters, encoded.unknown.tokens), (foreign, 0), "{text}");
    }
    let encoded = tokenizer.encode_counted("dose 5 µg, β-blocker").unwrap();
    assert_eq!((encoded.unknown.characters, encoded.unknown.of_characters), (4, 17));
    assert_eq!(tokenizer.encode_counted("一二三").unwrap().ids, [0_u32; 0]);
}

#[test]
fn words_that_are_special_tokens_are_cut() {
    let split = || json!({"type": "WhitespaceSplit"});
    let model = json!({"type": "WordLevel", "vocab": vocab(&["<unk>", "</s>", "one"]), "unk_token": "<unk>"});
    let tokenizer = load(&model, &[], split(), &json!({"eos_token": "</s>"}));
    let encoded = tokenizer.encode_counted("one </s> two").unwrap();
    assert!(!encoded.ids.contains(&1) && encoded.ids[0] == 2, "{:?}", encoded.ids);
    assert_eq!(encoded.unknown.characters, 6, "two words: {:?}", encoded.unknown);

    let model = json!({"type": "WordPiece", "vocab": {"[UNK]": 0, "[SEP]": 1, "[": 2, "S": 3, "##E": 4, "##P": 5, "##]": 6, "SE": 7, "one": 8},
        "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100});
    let tokenizer = load(&model, &[], split(), &json!({"eos_token": "[SEP]"}));
    assert_eq!(tokenizer.encode("one [SEP]").unwrap(), [8, 2, 7, 5, 6]);
}

#[test]
fn an_unknown_token_that_ends_documents_is_left_out() {
    let model = json!({"type": "WordLevel", "vocab": {"<|endoftext|>": 0, "one": 1}, "unk_token": "<|endoftext|>"});
    let tokenizer = load(&model, &[], json!({"type": "WhitespaceSplit"}), &json!({}));
    let encoded = tokenizer.encode_counted("one two").unwrap();
    assert_eq!((encoded.ids, encoded.unknown.characters), (vec![1], 3));
}

#[test]
fn what_the_splitting_drops_is_counted() {
    let model = json!({"type": "BPE", "vocab": vocab(&["<|endoftext|>"]), "merges": []});
    let without_digits = json!({"type": "Split", "pattern": {"Regex": "[0-9]+"}, "behavior": "Removed", "invert": false});
    let tokenizer = load(&model, &[], without_digits, &json!({}));
    let encoded = tokenizer.encode_counted("dose 500 of a2").unwrap();
    assert_eq!((encoded.unknown.characters, encoded.unknown.of_characters), (4, 11));
}

#[test]
fn dropout_in_a_file_changes_nothing() {
    let with = |dropout: Value| {
        let model = json!({"type": "BPE", "dropout": dropout, "vocab": vocab(&["<|endoftext|>", "ab", "abc"]), "merges": [["a", "b"], ["ab", "c"]]});
        load(&model, &[], Value::Null, &json!({})).encode(&"abcab ".repeat(100)).unwrap()
    };
    assert_eq!(with(json!(0.5)), with(Value::Null));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let written = |text: &str| {
        std::fs::write(&path, text).unwrap();
        String::from_utf8(crate::tokenizer_json(&path).unwrap()).unwrap()
    };
    let plain = r#"{ "model": {"dropout": null, "vocab": {}} }"#;
    assert_eq!(written(plain), plain, "a file without it stays as it is, to the byte");
    assert!(written(r#"{"model": {"vocab": {}, "dropout": 0.1}}"#).contains(r#""dropout":null"#));
}

#[test]
fn a_corpus_packed_twice_with_a_dropout_tokenizer_has_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let model =
        json!({"type": "BPE", "dropout": 0.5, "vocab": vocab(&["<|endoftext|>", "ab", "abc"]), "merges": [["a", "b"], ["ab", "c"]]});
    let document = |id: u32| crate::CleanDocument {
        id: id.to_string(),
        version: 1,
        source_index: 0,
        ordinal: id,
        words: 1,
        text_digest: osler_core::digest::Digest::of(b""),
        text: "abcab ".repeat(20),
    };
    let lines: String = (0..50).map(|id| serde_json::to_string(&document(id)).unwrap() + "\n").collect();
    let train = folder.path().join("train.jsonl");
    std::fs::write(&train, lines).unwrap();
    let pack = |name: &str| {
        let tokenizer = load(&model, &[], Value::Null, &json!({}));
        crate::pack(std::slice::from_ref(&train), &tokenizer, 8, None, &folder.path().join(name)).unwrap().dataset.fingerprint
    };
    assert_eq!(pack("first"), pack("second"));
}

proptest! {
    #[test]
    fn no_text_makes_a_special_token(pieces in proptest::collection::vec("</s>|<pad>|<unk>|<|/|s|>|</|s>|<0x41>|p| |µ|一|a", 0..20)) {
        let text = pieces.concat();
        for tokenizer in [unigram(false), unigram(true), bpe(&[added(0, "</s>", false)], &json!({"eos_token": "</s>"}))] {
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert!(!ids.contains(&tokenizer.eos()), "{text}: {ids:?}");
            // Bytes spell nothing, but they say the same.
            let bytes = ids.iter().any(|id| tokenizer.token(*id).unwrap().starts_with("<0x"));
            if text.is_ascii() && !bytes {
                prop_assert_eq!(spelled(&tokenizer, &text), text.clone());
            }
        }
    }
}
