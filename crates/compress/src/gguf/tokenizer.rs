//! tokenizer.json -> GGUF tokenizer metadata. Byte-level BPE becomes model "gpt2" with its merges. BPE with byte fallback, which
//! is how Hugging Face stores SentencePiece, becomes model "llama": tokens with scores, where a higher score merges earlier.

use super::pretokenizer::{mentions, pre_tokenizer_name, prepends_by_metaspace};
use super::{Array, Value, specials, whole};
use crate::CompressError;
use crate::hf::read_json_if_there;
use osler_model::json::Fields;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Metadata, and notes on what a reader of them cannot reproduce.
pub(crate) struct TokenizerMetadata {
    pub values: Vec<(String, Value)>,
    pub notes: Vec<String>,
}

impl TokenizerMetadata {
    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.values.push((format!("tokenizer.{key}"), value));
    }

    pub(super) fn put_text(&mut self, key: &str, text: &str) {
        self.put(key, Value::String(text.to_owned()));
    }
}

/// `vocab` is the number of embedding rows: ids without a token are filled up to it.
pub(crate) fn read(dir: &Path, vocab: usize) -> Result<TokenizerMetadata, CompressError> {
    let mut out = TokenizerMetadata { values: Vec::new(), notes: Vec::new() };
    let path = dir.join("tokenizer.json");
    let Some(json) = read_json_if_there(&path)? else {
        out.put_text("ggml.model", "none");
        out.notes.push("no tokenizer.json in the model folder: the file holds no tokenizer and takes token ids only".to_owned());
        return Ok(out);
    };
    let tokenizer = Tokenizer::parse(&path, &json, vocab)?;
    let mut types = tokenizer.types();
    if tokenizer.byte_fallback {
        out.put_text("ggml.model", "llama");
        out.put_text("ggml.pre", "default");
        for (token, ty) in tokenizer.tokens.iter().zip(&mut types) {
            if *ty == NORMAL && is_byte_token(token) {
                *ty = BYTE;
            }
        }
        let scores = tokenizer.scores(&mut out.notes);
        out.put("ggml.scores", Value::Array(Array::F32(scores)));
        out.put("ggml.add_space_prefix", Value::Bool(mentions(&json, "Prepend") || prepends_by_metaspace(&json)));
    } else {
        out.put_text("ggml.model", "gpt2");
        let pre = pre_tokenizer_name(&json).unwrap_or_else(|| {
            let note = "the pre-tokenizer of tokenizer.json has no name in GGUF; \"default\" is written and may split text differently";
            out.notes.push(note.to_owned());
            "default"
        });
        let ignores = json.pointer("/model/ignore_merges").and_then(Json::as_bool).unwrap_or(false);
        let pre = whole::fitting(pre, ignores, &tokenizer, &mut out.notes);
        out.put_text("ggml.pre", pre);
        let merges = tokenizer.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        out.put("ggml.merges", Value::Array(Array::Strings(merges)));
    }
    out.put("ggml.token_type", Value::Array(Array::I32(types)));
    specials::write(&mut out, dir, &json, &tokenizer.tokens)?;
    out.put("ggml.tokens", Value::Array(Array::Strings(tokenizer.tokens)));
    out.values.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// Whether a tokenizer can be written at all; `json` holds its `tokenizer.json`, `path` is the file to blame.
pub(crate) fn check(path: &Path, json: &[u8], vocab: usize) -> Result<(), CompressError> {
    let json: Json = serde_json::from_slice(json).map_err(|e| CompressError::field(path, "file", e.to_string()))?;
    Tokenizer::parse(path, &json, vocab).map(drop)
}

/// The parts of a BPE tokenizer.json that matter here.
pub(super) struct Tokenizer {
    /// By id, gaps and the tail filled with unused tokens.
    tokens: Vec<String>,
    /// Ids that carry a real token.
    pub(super) ids: BTreeMap<String, usize>,
    /// Added tokens: id and whether special.
    pub(super) added: BTreeMap<usize, bool>,
    unknown: Option<String>,
    pub(super) merges: Vec<(String, String)>,
    byte_fallback: bool,
}

impl Tokenizer {
    fn parse(path: &Path, json: &Json, vocab: usize) -> Result<Self, CompressError> {
        let blame = |field: &str, reason: String| CompressError::field(path, field, reason);
        let model = json.get("model").unwrap_or(&Json::Null);
        let fields = Fields::new(path, model)?;
        let byte_fallback = fields.bool_or("byte_fallback", false)?;
        let kind = fields.text("type")?.unwrap_or("BPE");
        if kind != "BPE" || !(byte_fallback || mentions(json, "ByteLevel")) {
            return Err(blame(
                "model.type",
                format!(
                    "{kind} without byte-level or byte-fallback pieces cannot be written to GGUF; use method int8, which copies tokenizer.json"
                ),
            ));
        }

        let mut ids = BTreeMap::new();
        let entries = model.get("vocab").and_then(Json::as_object).ok_or_else(|| blame("model.vocab", "must be an object".to_owned()))?;
        for (token, id) in entries {
            ids.insert(token.clone(), token_id(id, vocab).ok_or_else(|| out_of_range(path, token, id, vocab))?);
        }
        let mut added = BTreeMap::new();
        for entry in json.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
            let (content, id) = (entry.get("content").and_then(Json::as_str), entry.get("id").unwrap_or(&Json::Null));
            let content = content.ok_or_else(|| blame("added_tokens", "an entry has no content".to_owned()))?;
            let id = token_id(id, vocab).ok_or_else(|| out_of_range(path, content, id, vocab))?;
            if ids.insert(content.to_owned(), id).is_some_and(|before| before != id) {
                return Err(blame("added_tokens", format!("{content:?} has another id in model.vocab")));
            }
            added.insert(id, entry.get("special").and_then(Json::as_bool).unwrap_or(false));
        }
        let mut slots: Vec<Option<String>> = vec![None; vocab];
        for (token, id) in &ids {
            match slots.get_mut(*id) {
                Some(slot @ None) => *slot = Some(token.clone()),
                _ => {
                    return Err(blame("model.vocab", format!("id {id} is given twice, once to {token:?}")));
                }
            }
        }
        let tokens = slots.into_iter().enumerate().map(|(id, t)| t.unwrap_or_else(|| format!("[PAD{id}]"))).collect();

        let mut merges = Vec::new();
        for merge in model.get("merges").and_then(Json::as_array).into_iter().flatten() {
            let pair = pair_of(merge).ok_or_else(|| blame("model.merges", format!("{merge} is not a pair of tokens without spaces")))?;
            merges.push((pair.0.to_owned(), pair.1.to_owned()));
        }
        let unknown = fields.text("unk_token")?.map(str::to_owned);
        Ok(Self { tokens, ids, added, unknown, merges, byte_fallback })
    }

    fn types(&self) -> Vec<i32> {
        let real: BTreeSet<usize> = self.ids.values().copied().collect();
        let unknown = self.unknown.as_ref().and_then(|t| self.ids.get(t)).copied();
        let type_of = |id: usize| match self.added.get(&id) {
            _ if unknown == Some(id) => UNKNOWN,
            Some(true) => CONTROL,
            Some(false) => USER_DEFINED,
            None if real.contains(&id) => NORMAL,
            None => UNUSED,
        };
        (0..self.tokens.len()).map(type_of).collect()
    }

    /// SentencePiece scores from merge ranks. A reader merges the adjacent pair whose joined token scores highest, so a token gets
    /// minus its place among the merged tokens; unmerged characters follow, in id order; specials and bytes stay at 0. This is
    /// exact if all merges of one token stand together and no pair that would join to a token lacks its merge; else a note says so.
    fn scores(&self, notes: &mut Vec<String>) -> Vec<f32> {
        let mut order: Vec<String> = Vec::new();
        let mut placed: BTreeSet<String> = BTreeSet::new();
        let mut scattered = 0usize;
        for (left, right) in &self.merges {
            let token = format!("{left}{right}");
            if order.last() == Some(&token) {
                continue;
            }
            match placed.insert(token.clone()) {
                true => order.push(token),
                false => scattered += 1,
            }
        }
        let rank: BTreeMap<&str, usize> = order.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
        let mut next = order.len();
        let mut scores = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let place = match rank.get(token.as_str()) {
                _ if !self.is_piece(token) => 0,
                Some(place) => *place,
                None => {
                    next += 1;
                    next - 1
                }
            };
            scores.push(0.0 - place as f32);
        }
        let unmerged = self.missing_merges();
        if scattered + unmerged > 0 {
            notes.push(format!(
                "tokenizer scores are approximate: {scattered} merges stand apart from others of their token, {unmerged} joinable pairs are no merges"
            ));
        }
        scores
    }

    /// Whether merging can use or make the token: not a special, the unknown token, a byte or a filler.
    fn is_piece(&self, token: &str) -> bool {
        let known = self.ids.get(token).is_some_and(|id| !self.added.contains_key(id));
        known && self.unknown.as_deref() != Some(token) && !is_byte_token(token)
    }

    /// Pairs of tokens whose concatenation is a token, without being a merge.
    fn missing_merges(&self) -> usize {
        let merges: BTreeSet<(&str, &str)> = self.merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let pieces = self.ids.keys().filter(|t| self.is_piece(t));
        pieces
            .flat_map(|token| token.char_indices().skip(1).filter_map(|(at, _)| token.split_at_checked(at)))
            .filter(|(left, right)| self.is_piece(left) && self.is_piece(right) && !merges.contains(&(*left, *right)))
            .count()
    }
}

fn token_id(id: &Json, vocab: usize) -> Option<usize> {
    id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < vocab)
}

fn out_of_range(path: &Path, token: &str, id: &Json, vocab: usize) -> CompressError {
    CompressError::field(path, "model.vocab", format!("token {token:?} has id {id}; the embedding has {vocab} rows"))
}

/// A merge as `["a", "b"]` or `"a b"`.
fn pair_of(merge: &Json) -> Option<(&str, &str)> {
    let (a, b) = match merge {
        Json::String(text) => text.split_once(' ')?,
        Json::Array(pair) => match pair.as_slice() {
            [a, b] => (a.as_str()?, b.as_str()?),
            _ => return None,
        },
        _ => return None,
    };
    (!a.is_empty() && !b.is_empty() && !a.contains(' ') && !b.contains(' ')).then_some((a, b))
}

/// `<0x00>` to `<0xFF>`.
pub(super) fn is_byte_token(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    digits.is_some_and(|d| d.len() == 2 && u8::from_str_radix(d, 16).is_ok())
}
