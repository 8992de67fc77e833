//! `config.json` to a model's shape, with the defaults that transformers 5 has for absent keys, and back. What it asks for and Osler does
//! not compute is refused by name; keys that nobody here knows are listed.

mod bert;
mod gpt2;
mod keys;
mod known;
mod llama;
mod rope;
#[cfg(test)]
mod tests;

use crate::json::read_object;
use crate::{ModelError, parameters};
use keys::Keys;
use osler_core::spec::{Family, ModelSpec};
use serde_json::{Value, json};
use std::path::Path;

/// The file's name in a folder.
pub const CONFIG: &str = "config.json";
/// No real config comes near.
const MOST_BYTES: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub spec: ModelSpec,
    /// Rows of the token embedding. A tokenizer may have fewer tokens.
    pub vocab: usize,
    /// Keys that are not known here, in alphabetical order: worth a look, since nothing here reads them.
    pub unknown: Vec<String>,
}

impl ModelConfig {
    /// Reads a folder's `config.json`; its JSON comes along for those who need other keys.
    pub fn of_folder(folder: &Path) -> Result<(Self, Value), ModelError> {
        let path = folder.join(CONFIG);
        let value = read_object(&path, MOST_BYTES)?;
        Ok((Self::read(&path, &value)?, value))
    }

    /// Reads a config; `path` is the file to blame.
    ///
    /// # Errors
    /// All problems at once: what is missing or of a wrong type, beyond its bounds, or not computed here.
    pub fn read(path: &Path, value: &Value) -> Result<Self, ModelError> {
        let mut keys = Keys::new(path, value)?;
        let family = keys.family()?;
        keys.refuse_quantized();
        let (spec, vocab) = match family {
            Family::Llama | Family::Qwen2 | Family::Gemma => llama::read(family, &mut keys),
            Family::Gpt2 => gpt2::read(&mut keys),
            Family::Bert => bert::read(&mut keys),
        };
        known::refuse_others(family, &mut keys);
        // What is missing was named above, and has no bounds.
        if keys.problems.is_empty() {
            keys.problems.extend(parameters::problems(&spec, vocab).into_iter().map(|(field, message)| match key_of(family, &field) {
                Some(key) => format!("{key}: {message}"),
                None => format!("{field}: {message}"),
            }));
        }
        let unknown = known::unknown(value);
        if keys.problems.is_empty() {
            Ok(Self { spec, vocab, unknown })
        } else {
            Err(ModelError::Refused { path: path.to_owned(), problems: keys.problems })
        }
    }

    /// The keys that describe the shape, for transformers 4 and 5. Special tokens and the type of the weights are the caller's.
    pub fn to_json(&self) -> Value {
        let spec = &self.spec;
        let mut value = match spec.family {
            Family::Llama | Family::Qwen2 | Family::Gemma => llama::write(spec),
            Family::Gpt2 => gpt2::write(spec),
            Family::Bert => bert::write(spec),
        };
        value["model_type"] = json!(spec.family.as_str());
        value["vocab_size"] = json!(self.vocab);
        value["initializer_range"] = json!(spec.init_std);
        value["tie_word_embeddings"] = json!(spec.tied);
        value["use_cache"] = json!(true);
        value
    }
}

/// The key of `config.json` that says the same as a field of `[model]`.
pub fn key_of(family: Family, field: &str) -> Option<&'static str> {
    let field = field.strip_prefix("model.").unwrap_or(field);
    let [gpt2, bert, others] = match field {
        "family" => ["model_type"; 3],
        "dim" => ["n_embd", "hidden_size", "hidden_size"],
        "layers" => ["n_layer", "num_hidden_layers", "num_hidden_layers"],
        "heads" => ["n_head", "num_attention_heads", "num_attention_heads"],
        "kv_heads" => ["n_head", "num_attention_heads", "num_key_value_heads"],
        "head_dim" => ["n_head", "num_attention_heads", "head_dim"],
        "ffn" => ["n_inner", "intermediate_size", "intermediate_size"],
        "max_positions" => ["n_positions", "max_position_embeddings", "max_position_embeddings"],
        "tied" => ["tie_word_embeddings"; 3],
        "norm_eps" => ["layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps"],
        "rope_theta" => ["rope_theta"; 3],
        "vocabulary" => ["vocab_size"; 3],
        "rope_scaling" => ["rope_scaling"; 3],
        _ if field.starts_with("rope_scaling.") => ["rope_scaling"; 3],
        _ => return None,
    };
    Some(match family {
        Family::Gpt2 => gpt2,
        Family::Bert => bert,
        Family::Llama | Family::Qwen2 | Family::Gemma => others,
    })
}
