//! Opens what [`crate::quantize`] wrote (or another tool, in the same formats) as a plain model again: a Hugging Face config and f32
//! tensors under Hugging Face names, the names and row orders of the format undone.

use crate::CompressError;
use crate::arch::{Arch, Role, TensorSpec};
use crate::gguf::{self, GgufFile};
use crate::hf::config::arch_from_config;
use crate::hf::read_json;
use crate::hf::safetensors::{Dtype, WeightSource};
use crate::int8;
use crate::quantize::int8_names;
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
    Folder(WeightSource),
    Gguf(GgufFile),
}

/// Opens a compressed-tensors folder or a GGUF file.
pub fn open_quantized(path: &Path) -> Result<QuantizedModel, CompressError> {
    let info = std::fs::metadata(path).map_err(CompressError::io("open", path))?;
    let (config, arch, store) = if info.is_dir() { open_folder(path)? } else { open_gguf(path)? };
    let specs = arch.specs();
    check_complete(&specs, &store)?;
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
    let config_path = path.join("config.json");
    let mut config = read_json(&config_path)?;
    let quantization = config.as_object_mut().and_then(|c| c.remove("quantization_config"));
    check_supported(&config_path, &quantization.unwrap_or(Value::Null))?;
    let source = WeightSource::open(path)?;
    let arch = arch_from_config(&config_path, &config)?.check(&config_path, source.names().count())?;
    Ok((config, arch, Store::Folder(source)))
}

/// Only what this crate decodes: one group of symmetric int8 weights, a scale per channel, activations left alone.
fn check_supported(path: &Path, quantization: &Value) -> Result<(), CompressError> {
    let groups = quantization.pointer("/config_groups").and_then(Value::as_object);
    let group = match groups.map(|g| g.values().collect::<Vec<_>>()).as_deref() {
        Some([group]) => (*group).clone(),
        _ => {
            return Err(CompressError::field(path, "quantization_config.config_groups", "must hold exactly one group"));
        }
    };
    for (place, pointer, expected) in [
        (quantization, "/quant_method", Value::from("compressed-tensors")),
        (quantization, "/format", "pack-quantized".into()),
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
fn check_complete(specs: &[TensorSpec], store: &Store) -> Result<(), CompressError> {
    let mut wanted = BTreeSet::new();
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
        Store::Folder(source) => (source.path.as_path(), source.names().find(|n| !wanted.contains(*n))),
    };
    match unexpected {
        None => Ok(()),
        Some(tensor) => Err(CompressError::UnexpectedTensor { path: path.to_owned(), tensor: tensor.clone() }),
    }
}

/// Names under which a folder stores the tensor: three parts if it is quantized, else one.
fn check_in_folder(spec: &TensorSpec, source: &WeightSource) -> Result<Vec<String>, CompressError> {
    let [packed, scale, shape] = int8_names(spec);
    let (Role::Linear, &[rows, cols], Some(_)) = (spec.role, spec.rows_shape().as_slice(), source.get(&packed)) else {
        source.shaped(&spec.hf, &spec.shape)?;
        return Ok(vec![spec.hf.clone()]);
    };
    source.shaped(&scale, &[rows, 1])?;
    for (name, dims, dtype) in [(&packed, [rows, int8::packed_row(cols) / 4].as_slice(), Dtype::I32), (&shape, &[2], Dtype::I64)] {
        let entry = source.shaped(name, dims)?;
        if entry.dtype != dtype {
            let (path, found) = (source.file_of(entry), entry.dtype.name().to_owned());
            return Err(CompressError::Dtype { path, tensor: name.clone(), found, expected: dtype.name() });
        }
    }
    let stored: Vec<u64> = source.raw(&shape)?.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    if stored != [rows as u64, cols as u64] {
        let found = stored.iter().map(|d| usize::try_from(*d).unwrap_or(usize::MAX)).collect();
        return Err(CompressError::Shape { path: source.path.clone(), tensor: shape, expected: vec![rows, cols], found });
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
                match source.get(&packed) {
                    None => source.floats(hf_name)?.1,
                    Some(_) => {
                        let cols = spec.rows_shape().last().copied().unwrap_or(1);
                        let (_, scales) = source.floats(&scale)?;
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
