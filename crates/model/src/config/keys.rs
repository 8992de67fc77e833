//! Reading keys of one config, gathering what is wrong instead of stopping at the first.

use crate::ModelError;
use crate::json::Fields;
use osler_core::spec::Family;
use serde_json::Value;
use std::path::Path;

pub(super) struct Keys<'a> {
    pub fields: Fields<'a>,
    pub problems: Vec<String>,
}

impl<'a> Keys<'a> {
    pub fn new(path: &'a Path, value: &'a Value) -> Result<Self, ModelError> {
        Ok(Self { fields: Fields::new(path, value)?, problems: vec![] })
    }

    /// transformers goes by `model_type`; `architectures` must not say another.
    pub fn family(&mut self) -> Result<Family, ModelError> {
        let known = Family::ALL.map(Family::as_str).join(", ");
        let found = self.fields.text("model_type")?;
        let Some(found) = found else { return Err(self.fields.refuse("model_type", format!("is missing; known are {known}"))) };
        let Some(family) = Family::ALL.into_iter().find(|family| family.as_str() == found) else {
            return Err(self.fields.refuse("model_type", format!("{found:?} is not supported; known are {known}")));
        };
        let right: &[&str] = match family {
            Family::Llama => &["LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM"],
            Family::Qwen2 => &["Qwen2ForCausalLM", "Qwen2Model"],
            Family::Gemma => &["GemmaForCausalLM", "GemmaModel"],
            Family::Gpt2 => &["GPT2LMHeadModel", "GPT2Model"],
            Family::Bert => &["BertForMaskedLM", "BertForPreTraining", "BertModel"],
        };
        let named = self.fields.get("architectures").and_then(Value::as_array).into_iter().flatten();
        for name in named.filter(|name| !name.as_str().is_some_and(|name| right.contains(&name))) {
            self.problem(
                "architectures",
                format!("{name} is not supported with model_type {found:?}; {} is", right.first().unwrap_or(&"")),
            );
        }
        Ok(family)
    }

    pub fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(format!("field `{key}`: {}", reason.into()));
    }

    /// Weights that are not plain numbers have other names and shapes: nothing else that is found would help.
    pub fn refuse_quantized(&mut self) {
        for key in ["quantization_config", "compression_config"] {
            let Some(found) = self.fields.get(key) else { continue };
            let method = found.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            self.problem(key, format!("the weights are quantized already ({method}): start from the model that they were made from"));
        }
    }

    fn or_problem<T>(&mut self, found: Result<Option<T>, ModelError>) -> Option<T> {
        match found {
            Ok(value) => value,
            Err(ModelError::Field { field, reason, .. }) => {
                self.problem(&field, reason);
                None
            }
            Err(other) => {
                self.problems.push(other.to_string());
                None
            }
        }
    }

    /// A size that must be there.
    pub fn size(&mut self, key: &str) -> u32 {
        let absent = self.fields.get(key).is_none();
        if absent {
            self.problem(key, "is missing");
        }
        self.size_or(key, 1)
    }

    pub fn size_or(&mut self, key: &str, default: u32) -> u32 {
        self.maybe_size(key).unwrap_or(default)
    }

    pub fn maybe_size(&mut self, key: &str) -> Option<u32> {
        let found = self.fields.size(key);
        let size = self.or_problem(found)?;
        let narrow = u32::try_from(size).ok();
        if narrow.is_none() {
            self.problem(key, format!("{size} is not believable"));
        }
        narrow
    }

    pub fn number(&mut self, key: &str) -> Option<f64> {
        let found = self.fields.number(key);
        self.or_problem(found)
    }

    pub fn boolean_or(&mut self, key: &str, default: bool) -> bool {
        let found = self.fields.boolean(key);
        self.or_problem(found).unwrap_or(default)
    }

    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let found = self.fields.text(key);
        self.or_problem(found)
    }

    /// Only what the family's own models are initialised with; it changes no computation, so nonsense is not a reason to refuse.
    pub fn init_std(&self) -> f64 {
        let found = self.fields.get("initializer_range").and_then(Value::as_f64);
        found.filter(|std| *std > 0.0 && *std <= 1.0).unwrap_or(0.02)
    }

    /// An activation by the names that mean the same.
    pub fn activation(&mut self, key: &str, right: &[&str]) {
        if let Some(found) = self.text(key).filter(|found| !right.contains(found)) {
            self.problem(key, format!("{found:?} is not supported; {} is", right.first().unwrap_or(&"")));
        }
    }
}

/// The names of GELU's tanh approximation.
pub(super) const TANH_GELU: &[&str] = &["gelu_pytorch_tanh", "gelu_new", "gelu_fast"];
