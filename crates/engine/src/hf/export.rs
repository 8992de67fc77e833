//! Writing a folder that `transformers` loads. The tokenizer's files are the caller's.

use super::config::{Config, SpecialTokens};
use crate::EngineError;
use crate::models::params::parameters;
use crate::safefile::{self, Written, f32_bytes};
use crate::source::TensorSource;
use osler_core::spec::ModelSpec;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Writes `config.json`, `generation_config.json` and, last, `model.safetensors` (f32), whose size and digest it returns. One tensor is in memory at
/// a time.
pub fn export(
    folder: &Path,
    spec: &ModelSpec,
    vocab: usize,
    source: &mut dyn TensorSource,
    special: SpecialTokens,
) -> Result<Written, EngineError> {
    let params = parameters(spec, vocab)?;
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "create"))?;
    let config = Config { spec: spec.clone(), vocab, special };
    safefile::write_bytes(&folder.join("config.json"), config.to_json().as_bytes())?;
    safefile::write_bytes(&folder.join("generation_config.json"), generation(special).as_bytes())?;
    let tensors: Vec<_> = params.iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    safefile::write(&folder.join("model.safetensors"), &metadata, &tensors, |i| match tensors.get(i) {
        Some((name, shape)) => Ok(f32_bytes(&source.read(name, shape)?)),
        None => Ok(vec![]),
    })
}

fn generation(special: SpecialTokens) -> String {
    let mut value = json!({ "_from_model_config": true });
    for (key, id) in special.fields() {
        if let Some(id) = id {
            value[key] = json!(id);
        }
    }
    format!("{value:#}\n")
}
