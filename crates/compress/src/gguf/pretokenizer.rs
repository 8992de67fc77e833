//! Which normalizer and pre-tokenizer steps a tokenizer.json takes, and the name that GGUF readers have for them.

use serde_json::{Value as Json, json};

/// Regexes of pre-tokenizers that readers know by name, as tokenizer.json spells them.
const GPT2_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3_REGEX: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN2_REGEX: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Normalizer and pre-tokenizer that a name stands for, as tokenizer.json has them; none where we do not know the name.
pub(super) fn steps_of(name: &str) -> Option<(Json, Json)> {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let sequence = |first: Json, bytes: Json| json!({"type": "Sequence", "pretokenizers": [first, bytes]});
    let split = |regex: &str| {
        let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        sequence(split, bytes(false))
    };
    match name {
        "gpt-2" => Some((Json::Null, bytes(true))),
        "smollm" => Some((Json::Null, sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)))),
        "llama-bpe" | "llama3" | "llama-v3" | LLAMA3_MERGING => Some((Json::Null, split(LLAMA3_REGEX))),
        "qwen2" => Some((json!({"type": "NFC"}), split(QWEN2_REGEX))),
        _ => None,
    }
}

/// Whether readers take a piece of split text that is a token as it stands, without looking at merges.
pub(super) fn takes_whole(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3")
}

/// A name for Llama 3's way to split, whose readers always merge.
pub(super) const LLAMA3_MERGING: &str = "dbrx";

/// The steps of normalizer and pre-tokenizer, sequences unrolled.
fn steps(json: &Json) -> Vec<&Json> {
    let mut out = Vec::new();
    for (key, inner) in [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")] {
        let Some(part) = json.get(key).filter(|p| !p.is_null()) else {
            continue;
        };
        match part.get(inner).and_then(Json::as_array) {
            Some(list) => out.extend(list),
            None => out.push(part),
        }
    }
    out
}

fn type_of(step: &Json) -> &str {
    step.get("type").and_then(Json::as_str).unwrap_or("")
}

pub(super) fn mentions(json: &Json, kind: &str) -> bool {
    steps(json).into_iter().any(|s| type_of(s) == kind)
}

pub(super) fn prepends_by_metaspace(json: &Json) -> bool {
    steps(json).into_iter().any(|s| type_of(s) == "Metaspace" && s.get("prepend_scheme").and_then(Json::as_str) != Some("never"))
}

/// The name by which GGUF readers know the way text is split before merging.
pub(super) fn pre_tokenizer_name(json: &Json) -> Option<&'static str> {
    let steps = steps(json);
    let kinds: Vec<&str> = steps.iter().map(|s| type_of(s)).collect();
    let flag = |step: &Json, key: &str, default: bool| step.get(key).and_then(Json::as_bool).unwrap_or(default);
    match (kinds.as_slice(), steps.as_slice()) {
        (["ByteLevel"], [bytes]) if flag(bytes, "use_regex", true) && !flag(bytes, "add_prefix_space", true) => Some("gpt-2"),
        (["Digits", "ByteLevel"], [digits, bytes])
            if flag(digits, "individual_digits", false) && flag(bytes, "use_regex", true) && !flag(bytes, "add_prefix_space", true) =>
        {
            Some("smollm")
        }
        (["Split", "ByteLevel"], [split, bytes]) if !flag(bytes, "use_regex", true) && !flag(bytes, "add_prefix_space", true) => {
            let isolated = split.get("behavior").and_then(Json::as_str) == Some("Isolated") && !flag(split, "invert", false);
            match split.get("pattern").and_then(|p| p.get("Regex")).and_then(Json::as_str) {
                Some(GPT2_REGEX) if isolated => Some("gpt-2"),
                Some(LLAMA3_REGEX) if isolated => Some("llama-bpe"),
                Some(QWEN2_REGEX) if isolated => Some("qwen2"),
                _ => None,
            }
        }
        // Qwen's: readers know the name, and that texts come in Unicode's composed form.
        (["NFC", "Split", "ByteLevel"], [_, split, bytes]) if !flag(bytes, "use_regex", true) && !flag(bytes, "add_prefix_space", true) => {
            let pattern = split.get("pattern").and_then(|p| p.get("Regex")).and_then(Json::as_str);
            let isolated = split.get("behavior").and_then(Json::as_str) == Some("Isolated") && !flag(split, "invert", false);
            (isolated && pattern == Some(QWEN2_REGEX)).then_some("qwen2")
        }
        _ => None,
    }
}
