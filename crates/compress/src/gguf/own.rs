//! The way back: a `tokenizer.json` from a GGUF file's metadata, so that a file is examined with the tokenizer that it carries.
//!
//! Byte-level BPE is exact where the pre-tokenizer has a name that we know. SentencePiece ("llama") merges the neighbours whose token scores
//! highest; that is BPE in the order of the scores as long as no two tokens that merging makes have the same one.

use super::pretokenizer::{steps_of, takes_whole};
use super::tokenizer::{BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, is_byte_token};
use super::{Array, GgufFile, Value};
use crate::CompressError;
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::path::Path;

const HINT: &str = "name a tokenizer's folder with --tokenizer";

/// A file's own tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTokenizer {
    /// As `tokenizer.json` has it, without a post-processor.
    pub json: String,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// Whether BOS stands before every text.
    pub adds_bos: bool,
}

impl GgufTokenizer {
    /// # Errors
    /// The file holds no tokenizer, or one that cannot be built exactly; the error names the key.
    pub fn read(path: &Path) -> Result<Self, CompressError> {
        let file = GgufFile::open(path)?;
        Reader { file: &file }.tokenizer()
    }
}

/// Two pieces that join to a third.
struct Merge<'a> {
    score: f32,
    made: usize,
    ids: (usize, usize),
    parts: (&'a str, &'a str),
}

/// One token of the file.
struct Token<'a> {
    text: &'a str,
    kind: i32,
    score: f32,
}

struct Reader<'a> {
    file: &'a GgufFile,
}

impl<'a> Reader<'a> {
    fn tokenizer(&self) -> Result<GgufTokenizer, CompressError> {
        let model = self.get("ggml.model").and_then(Value::as_str);
        let pre = self.get("ggml.pre").and_then(Value::as_str).unwrap_or("default");
        // What readers do with files that do not say it.
        let (parts, adds_bos) = match model {
            Some("gpt2") => (self.byte_level(pre)?, takes_whole(pre)),
            Some("llama") => (self.sentence_piece()?, true),
            other => {
                let found = other.unwrap_or("none");
                return self.fail("ggml.model", format!("is {found:?}; \"gpt2\" and \"llama\" are understood: {HINT}"));
            }
        };
        let Parts { model, normalizer, pre_tokenizer, decoder } = parts;
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added()?, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
        });
        let adds_bos = match self.get("ggml.add_bos_token") {
            None => adds_bos,
            Some(Value::Bool(adds)) => *adds,
            Some(_) => return self.fail("ggml.add_bos_token", "must be a bool"),
        };
        Ok(GgufTokenizer { json: json.to_string(), bos: self.id("bos")?, eos: self.id("eos")?, adds_bos })
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.file.metadata().get(&format!("tokenizer.{key}"))
    }

    fn fail<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, CompressError> {
        Err(CompressError::field(self.file.path(), format!("tokenizer.{key}"), reason))
    }

    fn id(&self, role: &str) -> Result<Option<u32>, CompressError> {
        let key = format!("ggml.{role}_token_id");
        let count = self.texts()?.len() as u64;
        match self.get(&key).map(|value| value.as_u64()) {
            None => Ok(None),
            Some(Some(id)) if id < count => Ok(u32::try_from(id).ok()),
            Some(_) => self.fail(&key, format!("must be below {count}, the number of tokens")),
        }
    }

    fn texts(&self) -> Result<&'a [String], CompressError> {
        match self.get("ggml.tokens") {
            Some(Value::Array(Array::Strings(texts))) => Ok(texts),
            _ => self.fail("ggml.tokens", format!("must be a list of strings: {HINT}")),
        }
    }

    /// Every token with its kind, which files may leave out, and its score.
    fn tokens(&self) -> Result<Vec<Token<'a>>, CompressError> {
        let texts = self.texts()?;
        let kinds: Option<&[i32]> = match self.get("ggml.token_type") {
            Some(Value::Array(Array::I32(kinds))) if kinds.len() == texts.len() => Some(kinds),
            None => None,
            _ => return self.fail("ggml.token_type", "must be a list of integers, one for each token"),
        };
        let scores: Option<&[f32]> = match self.get("ggml.scores") {
            Some(Value::Array(Array::F32(scores))) if scores.len() == texts.len() => Some(scores),
            None => None,
            _ => return self.fail("ggml.scores", "must be a list of floats, one for each token"),
        };
        let nth = |i: usize, text: &'a String| Token {
            text,
            kind: kinds.and_then(|kinds| kinds.get(i)).copied().unwrap_or(NORMAL),
            score: scores.and_then(|scores| scores.get(i)).copied().unwrap_or_default(),
        };
        Ok(texts.iter().enumerate().map(|(i, text)| nth(i, text)).collect())
    }

    /// Tokens that are found in a text before it is split: those that control, and those that users defined.
    fn added(&self) -> Result<Vec<Json>, CompressError> {
        let tokens = self.tokens()?;
        let found =
            tokens.iter().enumerate().filter(|(_, token)| matches!(token.kind, CONTROL | USER_DEFINED | UNKNOWN) && !token.text.is_empty());
        let entry = |(id, token): (usize, &Token)| {
            let special = token.kind != USER_DEFINED;
            json!({"id": id, "content": token.text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
        };
        Ok(found.map(entry).collect())
    }

    /// Tokens to ids, without those that only fill the embedding up.
    fn vocab(&self) -> Result<Map<String, Json>, CompressError> {
        let mut vocab = Map::new();
        for (id, token) in self.tokens()?.iter().enumerate() {
            let real = matches!(token.kind, NORMAL | UNKNOWN | CONTROL | USER_DEFINED | BYTE);
            if real && vocab.insert(token.text.to_owned(), json!(id)).is_some() {
                return self.fail("ggml.tokens", format!("{:?} is there twice: {HINT}", token.text));
            }
        }
        Ok(vocab)
    }

    fn byte_level(&self, pre: &str) -> Result<Parts, CompressError> {
        let Some((normalizer, pre_tokenizer)) = steps_of(pre) else {
            return self.fail("ggml.pre", format!("is {pre:?}, and how that splits text is not known here: {HINT}"));
        };
        let merges = match self.get("ggml.merges") {
            Some(Value::Array(Array::Strings(merges))) => merges,
            _ => return self.fail("ggml.merges", format!("must be a list of strings: {HINT}")),
        };
        let vocab = self.vocab()?;
        let pair = |merge: &String| {
            let (a, b) = merge.split_once(' ')?;
            let all = [a.to_owned(), b.to_owned(), format!("{a}{b}")];
            all.iter().all(|token| vocab.contains_key(token)).then(|| json!([a, b]))
        };
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            match pair(merge) {
                Some(pair) => pairs.push(pair),
                None => return self.fail("ggml.merges", format!("{merge:?} is no pair of tokens that makes a token")),
            }
        }
        let model = bpe(vocab, pairs, json!({"ignore_merges": takes_whole(pre)}));
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        Ok(Parts { model, normalizer, pre_tokenizer, decoder })
    }

    fn sentence_piece(&self) -> Result<Parts, CompressError> {
        for key in ["ggml.precompiled_charsmap", "ggml.remove_extra_whitespaces"] {
            if self.get(key).is_some_and(|value| *value != Value::Bool(false)) {
                return self.fail(key, format!("changes texts in a way that is not built here: {HINT}"));
            }
        }
        let (tokens, vocab) = (self.tokens()?, self.vocab()?);
        let merges = self.merges_by_score(&tokens)?;
        let unknown = tokens.iter().find(|token| token.kind == UNKNOWN).map(|token| token.text);
        if unknown.is_none() && (0..=255u8).any(|byte| !vocab.contains_key(&format!("<0x{byte:02X}>"))) {
            return self.fail("ggml.tokens", format!("neither all 256 bytes nor an unknown token are there: {HINT}"));
        }
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let normalizer = match self.get("ggml.add_space_prefix") {
            Some(Value::Bool(false)) => space,
            None | Some(Value::Bool(true)) => {
                json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]})
            }
            Some(_) => return self.fail("ggml.add_space_prefix", "must be a bool"),
        };
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        ]});
        let model = bpe(vocab, merges, json!({"unk_token": unknown, "fuse_unk": true, "byte_fallback": true}));
        Ok(Parts { model, normalizer, pre_tokenizer: Json::Null, decoder })
    }

    /// All pairs of pieces that join to a piece, the highest score first.
    fn merges_by_score(&self, tokens: &[Token<'a>]) -> Result<Vec<Json>, CompressError> {
        let pieces = tokens.iter().enumerate().filter(|(_, token)| token.kind == NORMAL && !is_byte_token(token.text));
        let ids: HashMap<&str, usize> = pieces.clone().map(|(id, token)| (token.text, id)).collect();
        let mut found: Vec<Merge> = vec![];
        for (id, token) in pieces {
            for (at, _) in token.text.char_indices().skip(1) {
                let Some((left, right)) = token.text.split_at_checked(at) else { continue };
                if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                    found.push(Merge { score: token.score, made: id, ids: (*l, *r), parts: (left, right) });
                }
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.made, a.ids).cmp(&(b.made, b.ids))));
        for pair in found.windows(2) {
            if let [a, b] = pair
                && a.made != b.made
                && a.score == b.score
            {
                let made = |merge: &Merge| format!("{}{}", merge.parts.0, merge.parts.1);
                let same = format!("{:?} and {:?} have the same score", made(a), made(b));
                return self.fail("ggml.scores", format!("{same}, so the order of merges is not known: {HINT}"));
            }
        }
        Ok(found.into_iter().map(|merge| json!([merge.parts.0, merge.parts.1])).collect())
    }
}

/// What differs between the two kinds.
struct Parts {
    model: Json,
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
}

fn bpe(vocab: Map<String, Json>, merges: Vec<Json>, more: Json) -> Json {
    let mut model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
    });
    if let (Some(model), Json::Object(more)) = (model.as_object_mut(), more) {
        model.extend(more);
    }
    model
}
