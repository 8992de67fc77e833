//! Tokens and ids of a `tokenizer.json`: its model's vocabulary and the tokens that were added.

use crate::ModelError;
use crate::json::read_object;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) struct Vocab<'a> {
    model: &'a Value,
    /// An object from token to id, or Unigram's list of tokens with scores.
    vocab: &'a Value,
    added: &'a [Value],
}

impl<'a> Vocab<'a> {
    pub fn new(tokenizer: &'a Value) -> Self {
        let model = tokenizer.get("model").unwrap_or(&Value::Null);
        let added = tokenizer.get("added_tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self { model, vocab: model.get("vocab").unwrap_or(&Value::Null), added }
    }

    fn added(&self) -> impl Iterator<Item = (&'a str, u32)> {
        self.added.iter().filter_map(|token| Some((token.get("content")?.as_str()?, id_of(token.get("id")?)?)))
    }

    fn listed(&self) -> &'a [Value] {
        self.vocab.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        let added = self.added().find(|(content, _)| *content == token).map(|(_, id)| id);
        let own = || self.vocab.get(token).and_then(id_of);
        let listed = || self.listed().iter().position(|piece| piece.get(0).and_then(Value::as_str) == Some(token));
        added.or_else(own).or_else(|| listed().and_then(|place| place.try_into().ok()))
    }

    pub fn has(&self, id: u32) -> bool {
        let own = || self.vocab.as_object().is_some_and(|tokens| tokens.values().any(|value| id_of(value) == Some(id)));
        self.added().any(|(_, added)| added == id) || own() || (id as usize) < self.listed().len()
    }

    /// What the model itself takes for text that it cannot spell.
    pub fn unknown(&self) -> Option<u32> {
        let named = self.model.get("unk_token").and_then(Value::as_str).and_then(|token| self.id(token));
        named.or_else(|| self.model.get("unk_id").and_then(id_of))
    }
}

fn id_of(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| id.try_into().ok())
}

/// How the tokenizer at `path` spells each id.
pub fn spellings(path: &Path) -> Result<BTreeMap<u32, String>, ModelError> {
    let tokenizer = read_object(path, super::MAX_TOKENIZER)?;
    let vocab = Vocab::new(&tokenizer);
    let listed = vocab.listed().iter().enumerate().filter_map(|(id, piece)| Some((piece.get(0)?.as_str()?, u32::try_from(id).ok()?)));
    let own = vocab.vocab.as_object().into_iter().flatten().filter_map(|(token, id)| Some((token.as_str(), id_of(id)?)));
    Ok(listed.chain(own).chain(vocab.added()).map(|(token, id)| (id, token.to_owned())).collect())
}
