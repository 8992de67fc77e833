//! Writing a folder that `transformers` loads, shard by shard. The tokenizer's files are the caller's.

use super::config::{Config, SpecialTokens};
use crate::EngineError;
use crate::models::params::{Param, parameters};
use crate::safefile::{self, Written};
use crate::source::TensorSource;
use osler_core::spec::{FloatType, ModelSpec};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// How the weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// A model of more bytes than this becomes shards of at most so many; a single tensor above it has a shard of its own.
    pub shard_bytes: u64,
    pub dtype: FloatType,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { shard_bytes: 5_000_000_000, dtype: FloatType::Fp32 }
    }
}

/// The weight files, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Of all weight files together.
    pub bytes: u64,
    pub files: Vec<(String, Written)>,
}

/// Writes `config.json`, `generation_config.json` and the weights: `model.safetensors`, or above the shard size
/// `model-00001-of-0000N.safetensors` and, last, their index. One tensor is in memory at a time.
pub fn export(
    folder: &Path,
    spec: &ModelSpec,
    vocab: usize,
    source: &mut dyn TensorSource,
    special: SpecialTokens,
    options: ExportOptions,
) -> Result<Exported, EngineError> {
    let params = parameters(spec, vocab)?;
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "create"))?;
    let config = Config { spec: spec.clone(), vocab, special };
    safefile::write_bytes(&folder.join("config.json"), config.to_json(torch_name(options.dtype)).as_bytes())?;
    if spec.family.causal() {
        safefile::write_bytes(&folder.join("generation_config.json"), generation(special).as_bytes())?;
    }
    let shards = cut(&params, options);
    let mut files = vec![];
    for (i, shard) in shards.iter().enumerate() {
        let name = if shards.len() == 1 { SINGLE.to_owned() } else { format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len()) };
        let written = write_shard(&folder.join(&name), shard, options.dtype, source)?;
        files.push((name, written));
    }
    if shards.len() > 1 {
        write_index(folder, &shards, options.dtype, &files)?;
    }
    Ok(Exported { bytes: files.iter().map(|(_, written)| written.bytes).sum(), files })
}

/// As torch calls it.
fn torch_name(dtype: FloatType) -> &'static str {
    match dtype {
        FloatType::Fp32 => "float32",
        FloatType::Bf16 => "bfloat16",
        FloatType::Fp16 => "float16",
    }
}

/// The parameters in the model's order, cut before a shard would grow too large.
fn cut(params: &[Param], options: ExportOptions) -> Vec<&[Param]> {
    let (mut shards, mut begin, mut bytes) = (vec![], 0, 0);
    for (i, param) in params.iter().enumerate() {
        let size = param.len() as u64 * options.dtype.bytes();
        if bytes + size > options.shard_bytes && i > begin {
            shards.push(&params[begin..i]);
            (begin, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&params[begin..]);
    shards
}

fn write_shard(path: &Path, shard: &[Param], dtype: FloatType, source: &mut dyn TensorSource) -> Result<Written, EngineError> {
    let tensors: Vec<_> = shard.iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    safefile::write_as(dtype, path, &metadata, &tensors, |i| {
        let Some((name, shape)) = tensors.get(i) else { return Ok(vec![]) };
        safefile::float_bytes(&source.read(name, shape)?, dtype).map_err(|value| {
            let problem = format!("the value {value} is beyond {}: export as bf16 or fp32", torch_name(dtype));
            EngineError::tensor(name, problem)
        })
    })
}

/// Readers prefer a single file, so one that lies there already would hide the shards.
fn write_index(folder: &Path, shards: &[&[Param]], dtype: FloatType, files: &[(String, Written)]) -> Result<(), EngineError> {
    let single = folder.join(SINGLE);
    if single.exists() {
        return Err(EngineError::file(&single, "would be read instead of the shards beside it: export into an empty folder"));
    }
    let placed = shards.iter().zip(files).flat_map(|(shard, (file, _))| shard.iter().map(move |p| (p.name.as_str(), file.as_str())));
    let places: BTreeMap<&str, &str> = placed.collect();
    let total: u64 = shards.iter().flat_map(|shard| shard.iter()).map(|p| p.len() as u64 * dtype.bytes()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    safefile::write_bytes(&folder.join(INDEX), format!("{index:#}\n").as_bytes()).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::params::Begin;

    #[test]
    fn a_shard_ends_before_it_would_grow_too_large() {
        let param = |n: &usize| Param { name: format!("p{n}"), shape: vec![*n], begin: Begin::Normal };
        let sizes = |values: &[usize], most| {
            let params: Vec<_> = values.iter().map(param).collect();
            cut(&params, ExportOptions { shard_bytes: most, dtype: FloatType::Fp32 })
                .iter()
                .map(|s| s.iter().map(Param::len).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[1, 2, 3], 24), [vec![1, 2, 3]]);
        assert_eq!(sizes(&[1, 2, 3], 23), [vec![1, 2], vec![3]]);
        assert_eq!(sizes(&[9, 1, 1, 9, 9], 8), [vec![9], vec![1, 1], vec![9], vec![9]]);
        assert_eq!(sizes(&[9], 0), [vec![9]]);
    }
}
