//! Opens what [`crate::quantize`] wrote (or another tool, in the same formats) as a plain model again: a Hugging Face config and f32
//! tensors under Hugging Face names, the names and row orders of the format undone.

use crate::CompressError;
use crate::arch::{Arch, ROPE_FACTORS, Role, TensorSpec, rope_factors};
use crate::gguf::{self, GgufFile};
use crate::int8;
use crate::quantize::int8_names;
use osler_model::config::{CONFIG, ModelConfig};
use osler_model::json::read_object;
use osler_model::safetensors::{Dtype, Entry};
use osler_model::{ModelError, Weights};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A compressed model. Opening it checks names, shapes and types of all tensors; [`QuantizedModel::tensor`] reads one at a time.
#[derive(Debug)]
pub struct QuantizedModel {
    path: PathBuf,
    config: Value,
    specs: BTreeMap<String, TensorSpec>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Folder(Weights),
    Gguf(GgufFile),
}

/// Opens a compressed-tensors folder or a GGUF file.
pub fn open_quantized(path: &Path) -> Result<QuantizedModel, CompressError> {
    let info = std::fs::metadata(path).map_err(CompressError::io("open", path))?;
    let (config, arch, store) = if info.is_dir() { open_folder(path)? } else { open_gguf(path)? };
    let specs = arch.specs();
    check_complete(&arch, &specs, &store)?;
    let specs = specs.into_iter().map(|s| (s.hf.clone(), s)).collect();
    Ok(QuantizedModel { path: path.to_owned(), config, specs, store })
}

fn open_gguf(path: &Path) -> Result<(Value, Arch, Store), CompressError> {
    let file = GgufFile::open(path)?;
    let arch = gguf::metadata::to_arch(&file)?;
    let mut config = arch.to_hf();
    for key in ["bos_token_id", "eos_token_id"] {
        let id = file.metadata().get(&format!("tokenizer.ggml.{key}")).and_then(gguf::Value::as_u64);
        if let (Some(id), Value::Object(map)) = (id, &mut config) {
            map.insert(key.to_owned(), id.into());
        }
    }
    Ok((config, arch, Store::Gguf(file)))
}

fn open_folder(path: &Path) -> Result<(Value, Arch, Store), CompressError> {
    const MOST_BYTES: u64 = 16 << 20;
    let config_path = path.join(CONFIG);
    let mut config = read_object(&config_path, MOST_BYTES)?;
    let quantization = config.as_object_mut().and_then(|c| c.remove("quantization_config"));
    check_supported(&config_path, &quantization.unwrap_or(Value::Null))?;
    let ModelConfig { spec, vocab, .. } = ModelConfig::read(&config_path, &config)?;
    let arch = Arch::new(&config_path, spec, vocab)?;
    Ok((config, arch, Store::Folder(Weights::open(path)?)))
}

/// Only what this crate decodes: one group of symmetric int8 weights, a scale per channel, activations left alone.
fn check_supported(path: &Path, quantization: &Value) -> Result<(), CompressError> {
    let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
    if method != "compressed-tensors" {
        let reason = format!(
            "the weights are quantized already ({method}), and of such folders only compressed-tensors in int8 are read: start from the model that they were made from"
        );
        return Err(CompressError::field(path, "quantization_config", reason));
    }
    let groups = quantization.pointer("/config_groups").and_then(Value::as_object);
    let group = match groups.map(|g| g.values().collect::<Vec<_>>()).as_deref() {
        Some([group]) => (*group).clone(),
        _ => {
            return Err(CompressError::field(path, "quantization_config.config_groups", "must hold exactly one group"));
        }
    };
    for (place, pointer, expected) in [
        (quantization, "/format", Value::from("pack-quantized")),
        (&group, "/weights/num_bits", 8.into()),
        (&group, "/weights/type", "int".into()),
        (&group, "/weights/symmetric", true.into()),
        (&group, "/weights/strategy", "channel".into()),
        (&group, "/input_activations", Value::Null),
        (&group, "/output_activations", Value::Null),
    ] {
        let found = place.pointer(pointer).unwrap_or(&Value::Null);
        if *found != expected {
            return Err(CompressError::field(
                path,
                format!("quantization_config{pointer}"),
                format!("is {found}; only {expected} is supported"),
            ));
        }
    }
    Ok(())
}

/// Every tensor of the model is there with its shape; nothing else is.
fn check_complete(arch: &Arch, specs: &[TensorSpec], store: &Store) -> Result<(), CompressError> {
    let mut wanted = BTreeSet::new();
    if let Store::Gguf(file) = store {
        wanted.extend(check_rope(arch, file)?);
    }
    for spec in specs {
        match store {
            Store::Gguf(file) => {
                let info = file.tensor(&spec.gguf)?;
                let expected = spec.rows_shape();
                if info.shape != expected {
                    let (path, tensor, found) = (file.path().to_owned(), spec.gguf.clone(), info.shape.clone());
                    return Err(CompressError::Shape { path, tensor, expected, found });
                }
                wanted.insert(spec.gguf.clone());
            }
            Store::Folder(source) => wanted.extend(check_in_folder(spec, source)?),
        }
    }
    let (path, unexpected) = match store {
        Store::Gguf(file) => (file.path(), file.tensors().keys().find(|n| !wanted.contains(*n))),
        Store::Folder(source) => (source.path(), source.names().find(|n| !wanted.contains(*n))),
    };
    match unexpected {
        None => Ok(()),
        Some(tensor) => Err(CompressError::UnexpectedTensor { path: path.to_owned(), tensor: tensor.clone() }),
    }
}

/// The divisors that the file holds are the ones that its four numbers give; the name of their tensor, if there is one.
fn check_rope(arch: &Arch, file: &GgufFile) -> Result<Option<String>, CompressError> {
    let expected = rope_factors(&arch.spec);
    let found = file.tensors().contains_key(ROPE_FACTORS).then(|| file.values(ROPE_FACTORS)).transpose()?;
    if expected == found {
        return Ok(found.map(|_| ROPE_FACTORS.to_owned()));
    }
    let reason = "these divisors of rotary frequencies are not the ones of the file's llama3 scaling, which only Osler writes beside them";
    Err(CompressError::field(file.path(), ROPE_FACTORS, reason))
}

/// The entry, checked to be there with this shape.
fn shaped<'w>(weights: &'w Weights, name: &str, shape: &[usize]) -> Result<&'w Entry, CompressError> {
    let missing = || CompressError::MissingTensor { path: weights.path().to_owned(), tensor: name.to_owned() };
    let (file, entry) = weights.find(name).ok_or_else(missing)?;
    if entry.shape != shape {
        let (path, expected, found) = (file.path().to_owned(), shape.to_vec(), entry.shape.clone());
        return Err(CompressError::Shape { path, tensor: name.to_owned(), expected, found });
    }
    Ok(entry)
}

fn floats(weights: &Weights, name: &str) -> Result<Vec<f32>, ModelError> {
    let count = weights.find(name).map_or(0, |(_, entry)| entry.shape.iter().product());
    weights.read_f32(name, 0, count)
}

/// Names under which a folder stores the tensor: three parts if it is quantized, else one.
fn check_in_folder(spec: &TensorSpec, source: &Weights) -> Result<Vec<String>, CompressError> {
    let [packed, scale, shape] = int8_names(spec);
    let (Role::Linear, &[rows, cols], Some(_)) = (spec.role, spec.rows_shape().as_slice(), source.find(&packed)) else {
        shaped(source, &spec.hf, &spec.shape)?;
        return Ok(vec![spec.hf.clone()]);
    };
    shaped(source, &scale, &[rows, 1])?;
    for (name, dims, dtype) in [(&packed, [rows, int8::packed_row(cols) / 4].as_slice(), Dtype::I32), (&shape, &[2], Dtype::I64)] {
        let entry = shaped(source, name, dims)?;
        if entry.dtype != dtype {
            let (path, found) = (source.path().to_owned(), entry.dtype.name().to_owned());
            return Err(CompressError::Dtype { path, tensor: name.clone(), found, expected: dtype.name() });
        }
    }
    let stored: Vec<u64> = source.raw(&shape)?.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    if stored != [rows as u64, cols as u64] {
        let found = stored.iter().map(|d| usize::try_from(*d).unwrap_or(usize::MAX)).collect();
        return Err(CompressError::Shape { path: source.path().to_owned(), tensor: shape, expected: vec![rows, cols], found });
    }
    Ok(vec![packed, scale, shape])
}

impl QuantizedModel {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The config.json of the uncompressed model; for a GGUF, the equivalent of its metadata. A tied head has no tensor.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Hugging Face names of all tensors, sorted (GPT-2 with the `transformer.` prefix).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.specs.keys().map(String::as_str)
    }

    /// Shape and values of one tensor, row-major, in Hugging Face order: what a user of the compressed file computes with, in f32.
    pub fn tensor(&self, hf_name: &str) -> Result<(Vec<usize>, Vec<f32>), CompressError> {
        let missing = || CompressError::MissingTensor { path: self.path.clone(), tensor: hf_name.to_owned() };
        let spec = self.specs.get(hf_name).ok_or_else(missing)?;
        let values = match &self.store {
            Store::Gguf(file) => spec.gguf_to_hf(file.values(&spec.gguf)?),
            Store::Folder(source) => {
                let [packed, scale, _] = int8_names(spec);
                match source.find(&packed) {
                    None => floats(source, hf_name)?,
                    Some(_) => {
                        let cols = spec.rows_shape().last().copied().unwrap_or(1);
                        let scales = floats(source, &scale)?;
                        spec.rows_to_hf(int8::dequantize(&source.raw(&packed)?, &scales, cols))
                    }
                }
            }
        };
        if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(CompressError::NonFinite { path: self.path.clone(), tensor: hf_name.to_owned(), index, value: *value });
        }
        match values.len() == spec.elements() {
            true => Ok((spec.shape.clone(), values)),
            false => Err(CompressError::Shape {
                path: self.path.clone(),
                tensor: hf_name.to_owned(),
                expected: spec.shape.clone(),
                found: vec![values.len()],
            }),
        }
    }
}
