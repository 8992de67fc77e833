//! The special tokens that the files beside a `tokenizer.json` name: `tokenizer_config.json`, or else `special_tokens_map.json`.

use super::read_bounded;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// What a token can be for a model.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const OTHERS: &str = "additional_special_tokens";

/// Each role with its token's text, and a list of further ones, in the form of a `tokenizer_config.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Named(Map<String, Value>);

impl Named {
    /// What stands beside `tokenizer`; a file that is not there names nothing.
    pub(super) fn beside(tokenizer: &Path) -> Result<Self> {
        let mut named = Map::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = tokenizer.with_file_name(name);
            if !path.exists() {
                continue;
            }
            let file: Value = serde_json::from_slice(&read_bounded(&path)?).map_err(|e| Error::file(&path, format!("not JSON: {e}")))?;
            for role in ROLES {
                if let (Some(token), false) = (file.get(role).and_then(content), named.contains_key(role)) {
                    named.insert(role.to_owned(), Value::String(token.to_owned()));
                }
            }
            let others: Vec<Value> =
                file.get(OTHERS).and_then(Value::as_array).into_iter().flatten().filter_map(content).map(Value::from).collect();
            if !others.is_empty() {
                named.entry(OTHERS).or_insert(Value::Array(others));
            }
        }
        Ok(Self(named))
    }

    pub(super) fn role(&self, role: &str) -> Option<&str> {
        self.0.get(role)?.as_str()
    }

    /// Every named token with its role.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(role, tokens)| {
            let many = tokens.as_array().map_or(&[][..], Vec::as_slice);
            tokens.as_str().into_iter().chain(many.iter().filter_map(Value::as_str)).map(move |token| (role.as_str(), token))
        })
    }

    /// In the form of a `tokenizer_config.json`.
    pub(super) fn config(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// A token is a string, or an object with the string in `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
