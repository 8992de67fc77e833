//! A model folder to be compressed: its config and weights, checked against each other before anything is written.

use super::config::arch_from_config;
use super::read_json;
use super::safetensors::{Dtype, WeightSource};
use crate::CompressError;
use crate::arch::{Arch, Family, TensorSpec};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) struct Model {
    pub dir: PathBuf,
    pub config_path: PathBuf,
    pub config: Value,
    pub arch: Arch,
    pub specs: Vec<TensorSpec>,
    pub source: WeightSource,
    /// Names in the input that carry no weights.
    pub dropped: Vec<String>,
    /// Canonical name -> name in the file (GPT-2 files may leave out `transformer.`).
    stored: BTreeMap<String, String>,
}

impl Model {
    /// Every tensor that the config asks for is there with its shape and a float type, and no other.
    pub fn open(dir: &Path) -> Result<Self, CompressError> {
        let config_path = dir.join("config.json");
        let config = read_json(&config_path)?;
        if config.get("quantization_config").is_some_and(|q| !q.is_null()) {
            return Err(CompressError::field(
                &config_path,
                "quantization_config",
                "the model is quantized already; start from the original",
            ));
        }
        let arch = arch_from_config(&config_path, &config)?;
        let source = WeightSource::open(dir)?;
        let arch = arch.check(&config_path, source.names().count())?;
        let specs = arch.specs();

        let wanted: BTreeSet<&str> = specs.iter().map(|s| s.hf.as_str()).collect();
        let (mut stored, mut dropped) = (BTreeMap::new(), Vec::new());
        for name in source.names() {
            let canonical = canonical(&arch, name);
            let unexpected = || CompressError::UnexpectedTensor { path: source.path.clone(), tensor: name.clone() };
            if wanted.contains(canonical.as_str()) {
                if stored.insert(canonical, name.clone()).is_some() {
                    return Err(unexpected());
                }
            } else if carries_no_weights(&arch, &canonical) {
                dropped.push(name.clone());
            } else {
                return Err(unexpected());
            }
        }
        let model = Self { dir: dir.to_owned(), config_path, config, arch, specs, source, dropped, stored };
        for spec in &model.specs {
            model.dtype(spec)?;
        }
        Ok(model)
    }

    fn stored_name(&self, spec: &TensorSpec) -> Result<&str, CompressError> {
        let missing = || CompressError::MissingTensor { path: self.source.path.clone(), tensor: spec.hf.clone() };
        self.stored.get(&spec.hf).map(String::as_str).ok_or_else(missing)
    }

    /// The float type that the input stores the tensor in; checks name, shape and type.
    pub fn dtype(&self, spec: &TensorSpec) -> Result<Dtype, CompressError> {
        let name = self.stored_name(spec)?;
        let entry = self.source.shaped(name, &spec.shape)?;
        match entry.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => Ok(entry.dtype),
            other => Err(CompressError::Dtype {
                path: self.source.file_of(entry),
                tensor: name.to_owned(),
                found: other.name().to_owned(),
                expected: "F32, F16 or BF16",
            }),
        }
    }

    /// Raw bytes and finite values, in Hugging Face order.
    pub fn floats(&self, spec: &TensorSpec) -> Result<(Vec<u8>, Vec<f32>), CompressError> {
        self.source.floats(self.stored_name(spec)?)
    }
}

fn canonical(arch: &Arch, name: &str) -> String {
    match arch.family {
        Family::Gpt2 if !name.starts_with("transformer.") && name != "lm_head.weight" => {
            format!("transformer.{name}")
        }
        _ => name.to_owned(),
    }
}

fn carries_no_weights(arch: &Arch, canonical: &str) -> bool {
    let mask = arch.family == Family::Gpt2 && (canonical.ends_with(".attn.bias") || canonical.ends_with(".attn.masked_bias"));
    let table = arch.family.rotary() && canonical.ends_with(".rotary_emb.inv_freq");
    mask || table || (arch.tied && canonical == "lm_head.weight")
}
