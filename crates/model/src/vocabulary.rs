//! Which rows of a folder's embedding belong to tokens, and which a larger vocabulary needs. Embeddings are often filled up to a round
//! number: the rows behind the last token were never trained, and hold noise or zeros.

use crate::ModelError;
use crate::json::read_object;
use osler_core::spec::ExtendSpec;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;

/// Larger than any real tokenizer.json.
const MOST_BYTES: u64 = 256 << 20;

/// One more than the largest id in the folder's `tokenizer.json`, or, for a bert of old, its lines of `vocab.txt`; none without either.
pub fn tokens_of(folder: &Path) -> Result<Option<usize>, ModelError> {
    let (json, lines) = (folder.join("tokenizer.json"), folder.join("vocab.txt"));
    if json.exists() {
        let value = read_object(&json, MOST_BYTES)?;
        return Ok(Some(count(&value)));
    }
    if lines.exists() {
        let size = std::fs::metadata(&lines).map_err(ModelError::io("read", &lines))?.len();
        if size > MOST_BYTES {
            return Err(ModelError::file(&lines, format!("{size} bytes are too many for this file; at most {MOST_BYTES} are read")));
        }
        let text = std::fs::read_to_string(&lines).map_err(ModelError::io("read", &lines))?;
        return Ok(Some(text.lines().count()));
    }
    Ok(None)
}

/// The vocabulary of a model that goes on with a tokenizer of `needed` tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Of the folder's embedding.
    pub held: usize,
    /// Of the model that is trained; never fewer.
    pub total: usize,
    /// Rows that begin by the run file's rule: those of tokens that the folder's tokenizer does not have, and what fills up the new end.
    pub made: Range<usize>,
    /// Tokens that the folder's tokenizer does not have and that get padding's rows, because the run file has no rule.
    pub untrained: usize,
}

impl Rows {
    /// `folder` is continued with a tokenizer of `needed` tokens; its embedding has `held` rows.
    ///
    /// # Errors
    /// There are fewer rows than tokens and no rule for more; or a rule, and nobody knows which of the rows are padding.
    pub fn of(folder: &Path, held: usize, needed: usize, extend: Option<ExtendSpec>) -> Result<Self, ModelError> {
        let tokens = tokens_of(folder).map(|tokens| tokens.map(|tokens| tokens.min(held)));
        let Some(extend) = extend else {
            if held < needed {
                let reason = format!(
                    "its embedding has {held} rows, and the tokenizer {needed} tokens: use the model's own tokenizer, or add rows with tokenizer.extend"
                );
                return Err(ModelError::file(folder, reason));
            }
            // Only worth a warning, so a tokenizer that cannot be read does no harm here.
            let untrained = tokens.ok().flatten().map_or(0, |tokens| needed.saturating_sub(tokens));
            return Ok(Self { held, total: held, made: held..held, untrained });
        };
        let tokens = tokens?;
        if held < needed {
            let total = needed.next_multiple_of(extend.multiple_of.max(1) as usize);
            return Ok(Self { held, total, made: tokens.unwrap_or(held)..total, untrained: 0 });
        }
        let Some(tokens) = tokens else {
            let reason = format!(
                "tokenizer.extend asks for rows of new tokens, and without a tokenizer.json in the folder nobody knows which of its {held} rows are padding: copy the model's own tokenizer.json there, or remove tokenizer.extend"
            );
            return Err(ModelError::file(folder, reason));
        };
        Ok(Self { held, total: held, made: tokens.min(needed)..needed, untrained: 0 })
    }
}

fn count(json: &Value) -> usize {
    let vocab = json.pointer("/model/vocab");
    let by_name = vocab.and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    // Unigram: a list in which the place is the id.
    let listed = vocab.and_then(Value::as_array).map_or(0, Vec::len);
    let added = json.get("added_tokens").and_then(Value::as_array).into_iter().flatten().filter_map(|token| token.get("id"));
    let ids = by_name.chain(added).filter_map(Value::as_u64).filter_map(|id| usize::try_from(id).ok());
    ids.map(|id| id.saturating_add(1)).max().unwrap_or(0).max(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_counted_up_to_the_largest_id() {
        let bpe = json!({"model": {"vocab": {"a": 0, "b": 1, "c": 7}}, "added_tokens": [{"id": 9, "content": "<s>"}]});
        let unigram = json!({"model": {"vocab": [["a", -1.0], ["b", -2.0]]}, "added_tokens": [{"id": 0, "content": "a"}]});
        assert_eq!((count(&bpe), count(&unigram), count(&json!({}))), (10, 2, 0));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(tokens_of(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join("vocab.txt"), "[PAD]\n[UNK]\nrest\n").unwrap();
        assert_eq!(tokens_of(folder.path()).unwrap(), Some(3));
        std::fs::write(folder.path().join("tokenizer.json"), bpe.to_string()).unwrap();
        assert_eq!(tokens_of(folder.path()).unwrap(), Some(10));
    }

    #[test]
    fn new_tokens_get_rows_by_the_rule_also_where_padding_lies() {
        let folder = tempfile::tempdir().unwrap();
        let extend = Some(ExtendSpec { rule: osler_core::spec::ExtendRule::Mean, multiple_of: 8 });
        let rows = |needed, extend| Rows::of(folder.path(), 16, needed, extend);
        let simple = |total, made: Range<usize>, untrained| Rows { held: 16, total, made, untrained };
        // Without the folder's tokenizer all rows count as trained.
        assert_eq!(rows(16, None).unwrap(), simple(16, 16..16, 0));
        assert_eq!(rows(18, extend).unwrap(), simple(24, 16..24, 0));
        assert!(rows(14, extend).unwrap_err().to_string().contains("padding"));
        assert!(rows(17, None).unwrap_err().to_string().contains("tokenizer.extend"));
        std::fs::write(folder.path().join("tokenizer.json"), json!({"model": {"vocab": {"a": 9}}}).to_string()).unwrap();
        assert_eq!(rows(14, extend).unwrap(), simple(16, 10..14, 0));
        assert_eq!(rows(18, extend).unwrap(), simple(24, 10..24, 0));
        assert_eq!(rows(8, extend).unwrap(), simple(16, 8..8, 0));
        assert_eq!(rows(14, None).unwrap(), simple(16, 16..16, 4));
    }
}
