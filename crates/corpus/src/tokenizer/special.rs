//! What the files beside a tokenizer say about its special tokens.

use crate::error::{Error, Result};
use osler_model::{ModelError, Specials};
use serde_json::Value;
use std::path::Path;

/// `json` is the tokenizer at `path`, whose neighbours are read.
pub(super) fn read(path: &Path, json: &[u8]) -> Result<Specials> {
    let tokenizer: Value = serde_json::from_slice(json).map_err(|e| Error::file(path, format!("not JSON: {e}")))?;
    Specials::beside(path, &tokenizer).map_err(|error| match error {
        ModelError::Io { action, path, source } => Error::Io { action, path, source },
        ModelError::File { path, reason } => Error::File { path, problem: reason },
        ModelError::Field { path, field, reason } => Error::File { path, problem: format!("{field:?} {reason}") },
        other => Error::Unusable(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use crate::Tokenizer;
    use serde_json::json;

    #[test]
    fn documents_begin_with_what_the_tokenizer_puts_before_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let single = |pieces: &[&str]| -> Vec<_> {
            let special = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
            pieces.iter().map(|p| if *p == "A" { json!({ "Sequence": { "id": "A", "type_id": 0 } }) } else { special(p) }).collect()
        };
        let ids =
            json!({ "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] }, "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] } });
        let front = |pieces: &[&str]| {
            let post = json!({ "type": "TemplateProcessing", "single": single(pieces), "pair": single(&["A"]), "special_tokens": ids });
            let file = json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
                "post_processor": post, "decoder": null, "model": { "type": "BPE", "vocab": { "a": 0, "<s>": 1, "</s>": 2 }, "merges": [] },
            });
            std::fs::write(&path, file.to_string()).unwrap();
            let tokenizer = Tokenizer::load(&path).unwrap();
            assert_eq!((tokenizer.eos(), tokenizer.encode("a").unwrap()), (2, vec![0]), "texts themselves are as ever");
            tokenizer.front().to_vec()
        };
        std::fs::write(folder.path().join("config.json"), json!({ "eos_token_id": [2, 0] }).to_string()).unwrap();
        assert_eq!((front(&["<s>", "A"]), front(&["A"]), front(&["<s>", "A", "</s>"])), (vec![1], vec![], vec![1]));
    }
}
