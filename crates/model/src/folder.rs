//! A Hugging Face folder as a model: config and weights, checked against each other when it is opened. Values are read when they are asked for.

mod names;
#[cfg(test)]
mod tests;

use crate::config::{CONFIG, ModelConfig};
use crate::parameters::{Param, parameters};
use crate::safetensors::Entry;
use crate::{ModelError, Weights};
use names::{carries_no_weights, foreign_names, spellings, tied};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: ModelConfig,
    json: Value,
    params: Vec<Param>,
    weights: Weights,
    /// A parameter's name to its name in the files.
    stored: BTreeMap<String, String>,
    /// Names in the files that carry no weights: masks, rotary tables, a tied head.
    dropped: Vec<String>,
}

impl ModelFolder {
    /// # Errors
    /// The folder holds another kind of model, or files that contradict each other; see [`ModelError`]. All problems of config, and all of
    /// weights, at once.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        refuse_other_kinds(path)?;
        let (config, json) = ModelConfig::of_folder(path)?;
        let refused = |problems| ModelError::Refused { path: path.to_owned(), problems };
        let params = parameters(&config.spec, config.vocab).map_err(refused)?;
        let weights = Weights::open(path)?;
        let mut this = Self { path: path.to_owned(), config, json, params, weights, stored: BTreeMap::new(), dropped: vec![] };
        let mut problems = this.match_names();
        if problems.is_empty() {
            this.check_tied(&mut problems)?;
        }
        if problems.is_empty() { Ok(this) } else { Err(refused(problems)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The whole `config.json`.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// In the model's order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Bytes of all weight files.
    pub fn bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Names in the files that carry no weights, sorted.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// How a parameter is stored, and in which file.
    pub fn find(&self, name: &str) -> Option<(&Path, &Entry)> {
        let (file, entry) = self.weights.find(self.stored.get(name)?)?;
        Some((file.path(), entry))
    }

    fn stored(&self, name: &str) -> Result<&str, ModelError> {
        self.stored.get(name).map(String::as_str).ok_or_else(|| ModelError::file(&self.path, format!("the model has no parameter {name}")))
    }

    /// A parameter's bytes as they are stored.
    pub fn raw(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        self.weights.raw(self.stored(name)?)
    }

    /// All values of a parameter, as f32; they may be anything, not a number included.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let stored = self.stored(name)?;
        let count = self.weights.find(stored).map_or(0, |(_, entry)| entry.shape.iter().product());
        self.weights.read_f32(stored, 0, count)
    }

    /// Finds every parameter and complains about everything else.
    fn match_names(&mut self) -> Vec<String> {
        let (spec, weights) = (&self.config.spec, &self.weights);
        let (mut missing, mut misfits, mut used) = (vec![], vec![], BTreeSet::new());
        for param in &self.params {
            let found = spellings(spec, &param.name).into_iter().find_map(|name| Some((weights.find(&name)?.1, name)));
            let Some((entry, name)) = found else {
                missing.push(param.name.as_str());
                continue;
            };
            if entry.shape != param.shape {
                misfits.push(format!("{name} has shape {:?}, {CONFIG} needs {:?}", entry.shape, param.shape));
            }
            if !entry.dtype.is_float() {
                misfits.push(format!("{name} is stored as {}; F32, F16 and BF16 can be read", entry.dtype.name()));
            }
            used.insert(name.clone());
            self.stored.insert(param.name.clone(), name);
        }
        let others = || weights.names().filter(|name| !used.contains(*name));
        if let Some(told) = (!missing.is_empty()).then(|| foreign_names(spec.family, &missing, weights)).flatten() {
            return vec![told];
        }
        let idle = |name: &&String| carries_no_weights(spec, name) || tied(spec).iter().any(|(head, _)| head == name);
        self.dropped = others().filter(idle).cloned().collect();
        let mut problems = several(&missing, "is missing", "are missing");
        let unexpected: Vec<&str> = others().filter(|name| !idle(name)).map(String::as_str).collect();
        problems.extend(misfits);
        problems.extend(several(&unexpected, "is not a parameter of this model", "are no parameters of this model"));
        problems
    }

    /// What is stored although it is tied must be equal to what it is tied to: transformers 5 takes the stored one, others the tied one.
    fn check_tied(&self, problems: &mut Vec<String>) -> Result<(), ModelError> {
        for (head, own) in tied(&self.config.spec) {
            let Some(name) = self.stored.get(*own).filter(|name| name != head) else { continue };
            let (Some((_, stored)), Some((_, table))) = (self.weights.find(head), self.weights.find(name)) else { continue };
            let way_out = "set tie_word_embeddings to false if the stored head is the right one, else remove it from the file";
            if stored.shape != table.shape {
                problems.push(format!("{head} has another shape than {name}, but tie_word_embeddings is true: {way_out}"));
                continue;
            }
            let width = table.shape.get(1).copied().unwrap_or(1).max(1);
            for row in 0..table.shape.first().copied().unwrap_or(0) {
                let read = |tensor: &str| self.weights.read_f32(tensor, row * width, width);
                if read(head)?.iter().map(|v| v.to_bits()).ne(read(name)?.iter().map(|v| v.to_bits())) {
                    problems.push(format!("{head} differs from {name} in row {row}, but tie_word_embeddings is true: {way_out}"));
                    break;
                }
            }
        }
        Ok(())
    }
}

/// One name a problem, unless there are many.
fn several(names: &[&str], one: &str, many: &str) -> Vec<String> {
    const EACH: usize = 3;
    let mut told: Vec<String> = names.iter().take(EACH).map(|name| format!("{name} {one}")).collect();
    if names.len() > EACH {
        told.push(format!("{} more {many}", names.len() - EACH));
    }
    told
}

/// Files that say that the folder's model is more, or other, than its config and weights.
fn refuse_other_kinds(folder: &Path) -> Result<(), ModelError> {
    let kinds = [
        (
            "adapter_config.json",
            "an adapter (LoRA) is in the folder, and transformers would apply it: merge it into the model, or remove it",
        ),
        ("quantize_config.json", "the weights are quantized already (GPTQ): start from the model that they were made from"),
        ("quant_config.json", "the weights are quantized already (AWQ): start from the model that they were made from"),
    ];
    match kinds.iter().find(|(name, _)| folder.join(name).exists()) {
        Some((name, reason)) => Err(ModelError::file(&folder.join(name), *reason)),
        None => Ok(()),
    }
}
