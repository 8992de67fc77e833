//! The `tokenizer_config.json` of a tokenizer that comes without one: trained here, or a bare `tokenizer.json`.

use osler_core::spec::ModelSpec;
use osler_model::Specials;
use serde_json::{Value, json};

/// What `transformers` and our own exams need to know: the class, the special tokens, the longest text. `specials` is what the tokenizer
/// says itself, `end` what ends its documents; where no token is known to begin a text, that is taken for BOS too, and nothing is put before texts.
/// A bert's `given` settings are completed, so that its class makes the normalizer that `tokenizer.json` has.
pub fn settings(given: Option<Value>, tokenizer: &Value, specials: &Specials, end: u32, model: &ModelSpec) -> Value {
    let mut config = given.unwrap_or_else(|| json!({}));
    let mut put = |key: &str, value: Value| config[key] = value;
    put("tokenizer_class", json!("PreTrainedTokenizerFast"));
    put("model_max_length", json!(model.max_positions));
    if model.family.causal() {
        let begin = specials.bos.or(specials.front.first().copied()).unwrap_or(end);
        put("add_bos_token", json!(!specials.front.is_empty()));
        for (key, id) in [("bos_token", Some(begin)), ("eos_token", Some(end)), ("unk_token", specials.unk), ("pad_token", specials.pad)] {
            if let Some(token) = id.and_then(|id| spelled(tokenizer, id)) {
                put(key, json!(token));
            }
        }
        return config;
    }
    for (key, token) in [("pad", "[PAD]"), ("unk", "[UNK]"), ("cls", "[CLS]"), ("sep", "[SEP]"), ("mask", "[MASK]")] {
        put(&format!("{key}_token"), json!(token));
    }
    let normalizer = &tokenizer["normalizer"];
    if normalizer["type"] == "BertNormalizer" {
        // This class makes its normalizer from these words, whatever tokenizer.json holds.
        put("tokenizer_class", json!("BertTokenizer"));
        put("do_lower_case", normalizer["lowercase"].clone());
        put("strip_accents", normalizer["strip_accents"].clone());
        put("tokenize_chinese_chars", normalizer["handle_chinese_chars"].clone());
    }
    config
}

fn spelled(tokenizer: &Value, id: u32) -> Option<&str> {
    let added = tokenizer["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let added = added.iter().find(|token| token["id"].as_u64() == Some(id.into())).and_then(|token| token["content"].as_str());
    let own = || tokenizer["model"]["vocab"].as_object()?.iter().find(|(_, value)| value.as_u64() == Some(id.into()));
    added.or_else(|| own().map(|(token, _)| token.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::spec::Family;

    fn model(family: Family) -> ModelSpec {
        ModelSpec {
            family,
            dim: 8,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: None,
            ffn: 8,
            max_positions: 64,
            tied: false,
            norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: None,
            init_std: 0.02,
        }
    }

    #[test]
    fn a_tokenizer_that_names_nothing_has_one_token_for_both_ends_and_none_in_front() {
        let tokenizer = json!({ "added_tokens": [{ "id": 0, "content": "<|endoftext|>" }], "model": { "vocab": { "a": 1 } } });
        let found = settings(None, &tokenizer, &Specials::default(), 0, &model(Family::Llama));
        let expected = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "add_bos_token": false,
            "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        });
        assert_eq!(found, expected);
        let begun = Specials { front: vec![1], ..Specials::default() };
        let found = settings(None, &tokenizer, &begun, 0, &model(Family::Llama));
        assert_eq!((&found["bos_token"], &found["add_bos_token"]), (&json!("a"), &json!(true)));
    }

    #[test]
    fn a_berts_class_makes_the_normalizer_that_the_file_has() {
        let normalizer = json!({ "type": "BertNormalizer", "lowercase": true, "strip_accents": null, "handle_chinese_chars": true });
        let found =
            settings(Some(json!({ "other": 1 })), &json!({ "normalizer": normalizer }), &Specials::default(), 0, &model(Family::Bert));
        assert_eq!(
            (&found["tokenizer_class"], &found["do_lower_case"], &found["mask_token"]),
            (&json!("BertTokenizer"), &json!(true), &json!("[MASK]"))
        );
        assert_eq!((&found["other"], found.get("bos_token")), (&json!(1), None));
    }
}
