//! `config.json`: the shape as [`osler_model`] reads and writes it, and the special tokens that go with it.

#[cfg(test)]
mod tests;

use osler_core::spec::ModelSpec;
use osler_model::{ModelConfig, ModelError};
use serde_json::{Value, json};
use std::path::Path;

/// Ids that generation needs; absent ones are left out of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub spec: ModelSpec,
    pub vocab: usize,
    pub special: SpecialTokens,
}

impl Config {
    /// Errors: all problems at once.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let path = Path::new("config.json");
        let value: Value = serde_json::from_str(text).map_err(|e| ModelError::file(path, e.to_string()))?;
        Self::of(path, &ModelConfig::read(path, &value)?, &value)
    }

    /// `value` is the whole file, `path` the one to blame.
    pub(super) fn of(path: &Path, config: &ModelConfig, value: &Value) -> Result<Self, ModelError> {
        let mut problems = vec![];
        let special = special(value, &mut problems);
        if problems.is_empty() {
            Ok(Self { spec: config.spec.clone(), vocab: config.vocab, special })
        } else {
            Err(ModelError::Refused { path: path.to_owned(), problems })
        }
    }

    /// The text of `config.json`, for transformers 4 and 5. `dtype` is that of the weights beside it, in torch's words.
    pub fn to_json(&self, dtype: &str) -> String {
        let mut value = ModelConfig { spec: self.spec.clone(), vocab: self.vocab, unknown: vec![] }.to_json();
        // The older and the newer name.
        value["torch_dtype"] = json!(dtype);
        value["dtype"] = json!(dtype);
        for (key, id) in self.special.fields() {
            // Written even when absent: the library's own defaults would name other tokens.
            value[key] = json!(id);
        }
        format!("{value:#}\n")
    }
}

impl SpecialTokens {
    pub(super) fn fields(&self) -> [(&'static str, Option<u32>); 3] {
        [("bos_token_id", self.bos), ("eos_token_id", self.eos), ("pad_token_id", self.pad)]
    }
}

fn special(value: &Value, problems: &mut Vec<String>) -> SpecialTokens {
    let mut id = |key: &str| match value.get(key) {
        None | Some(Value::Null) => None,
        // Several end tokens: the first is the one that documents end with.
        Some(Value::Array(ids)) => ids.first().and_then(Value::as_u64).and_then(|id| id.try_into().ok()),
        // -1 stands for "none" in old files.
        Some(Value::Number(n)) if n.as_i64() == Some(-1) => None,
        Some(other) => {
            let id = other.as_u64().and_then(|id| id.try_into().ok());
            if id.is_none() {
                problems.push(format!("field `{key}`: is {other}, must be a token id"));
            }
            id
        }
    };
    SpecialTokens { bos: id("bos_token_id"), eos: id("eos_token_id"), pad: id("pad_token_id") }
}
