//! `config.json`, read and written. What the engine cannot compute is refused by name, never ignored.

mod bert;
mod gpt2;
mod llama;
mod rope;
#[cfg(test)]
mod tests;

use crate::EngineError;
use crate::models::params::parameters;
use osler_core::spec::{Family, ModelSpec};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let value: Value = serde_json::from_str(text).map_err(|e| vec![format!("config.json: {e}")])?;
        let mut problems = Refusals(vec![]);
        let special = special(&value, &mut problems.0);
        let found = value.get("model_type").and_then(Value::as_str);
        let (spec, vocab) = match Family::ALL.into_iter().find(|family| Some(family.as_str()) == found) {
            Some(family @ (Family::Llama | Family::Qwen2 | Family::Gemma)) => llama::read(family, fields(value)?, &mut problems),
            Some(Family::Gpt2) => gpt2::read(fields(value)?, &mut problems),
            Some(Family::Bert) => bert::read(fields(value)?, &mut problems),
            None => {
                let known = Family::ALL.map(Family::as_str).join(", ");
                return Err(vec![format!("config.json: model_type {found:?} is not supported; {known} are")]);
            }
        };
        let mut problems = problems.0;
        if let Err(EngineError::Model(more)) = parameters(&spec, vocab) {
            problems.extend(more);
        }
        if problems.is_empty() { Ok(Self { spec, vocab, special }) } else { Err(problems) }
    }

    /// The text of `config.json`, for transformers 4 and 5. `dtype` is that of the weights beside it, in torch's words.
    pub fn to_json(&self, dtype: &str) -> String {
        let Self { spec, vocab, special } = self;
        let mut value = match spec.family {
            Family::Llama | Family::Qwen2 | Family::Gemma => llama::write(spec),
            Family::Gpt2 => gpt2::write(spec),
            Family::Bert => bert::write(spec),
        };
        value["model_type"] = json!(spec.family.as_str());
        value["vocab_size"] = json!(vocab);
        value["initializer_range"] = json!(spec.init_std);
        value["tie_word_embeddings"] = json!(spec.tied);
        // The older and the newer name.
        value["torch_dtype"] = json!(dtype);
        value["dtype"] = json!(dtype);
        value["use_cache"] = json!(true);
        for (key, id) in special.fields() {
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

/// What was found in a config that we do not compute.
struct Refusals(Vec<String>);

impl Refusals {
    fn when(&mut self, bad: bool, what: &str) {
        if bad {
            self.0.push(format!("config.json: {what} is not supported"));
        }
    }
}

fn fields<T: DeserializeOwned>(value: Value) -> Result<T, Vec<String>> {
    serde_json::from_value(value).map_err(|e| vec![format!("config.json: {e}")])
}

/// The names of GELU's tanh approximation.
fn is_tanh_gelu(name: &str) -> bool {
    matches!(name, "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast")
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
                problems.push(format!("config.json: {key} is {other}, must be a token id"));
            }
            id
        }
    };
    SpecialTokens { bos: id("bos_token_id"), eos: id("eos_token_id"), pad: id("pad_token_id") }
}
