//! Reading a folder: everything is checked when it is opened, values are read when they are asked for.

use super::config::Config;
use crate::EngineError;
use crate::models::params::{Param, parameters};
use crate::safefile::SafeFile;
use crate::source::TensorSource;
use osler_core::spec::{Family, ModelSpec};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A config or index above this size is not one.
const MAX_JSON: u64 = 64 << 20;

#[derive(Debug)]
pub struct HfFolder {
    config: Config,
    files: Vec<SafeFile>,
    /// The model's name of a parameter to its file and its name there.
    places: BTreeMap<String, (usize, String)>,
}

impl HfFolder {
    pub fn open(folder: &Path) -> Result<Self, EngineError> {
        let config = read_text(&folder.join("config.json"))?;
        let config = Config::parse(&config).map_err(|problems| EngineError::Import { path: folder.to_path_buf(), problems })?;
        let expected = parameters(&config.spec, config.vocab)?;
        let mut problems = vec![];
        let (files, held) = tensors(folder, &mut problems)?;
        let places = match_names(&config, &expected, &files, &held, &mut problems);
        let this = Self { config, files, places };
        if problems.is_empty() {
            this.check_tied_head(&held, &mut problems)?;
        }
        if problems.is_empty() { Ok(this) } else { Err(EngineError::Import { path: folder.to_path_buf(), problems }) }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is stored although it is tied must be equal to what it is tied to: otherwise the two descriptions of the model differ.
    fn check_tied_head(&self, held: &BTreeMap<String, usize>, problems: &mut Vec<String>) -> Result<(), EngineError> {
        for (stored, ours) in tied(&self.config.spec) {
            let Some(file) = held.get(*stored).and_then(|i| self.files.get(*i)) else { continue };
            let Some((own_file, name)) = self.places.get(*ours).and_then(|(i, name)| Some((self.files.get(*i)?, name))) else { continue };
            let (Some(info), Some(own)) = (file.info(stored), own_file.info(name)) else { continue };
            if name == stored {
                continue;
            }
            if info.shape != own.shape {
                problems.push(format!("{stored} has another shape than {ours}, but tie_word_embeddings is true"));
                continue;
            }
            let row = own.shape.last().copied().unwrap_or(1).max(1);
            let rows = own.shape.iter().product::<usize>() / row;
            for number in 0..rows {
                let (a, b) = (file.read_f32(stored, number * row, row)?, own_file.read_f32(name, number * row, row)?);
                if a.iter().map(|v| v.to_bits()).ne(b.iter().map(|v| v.to_bits())) {
                    problems.push(format!("{stored} differs from {ours} in row {number}, but tie_word_embeddings is true"));
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Names that may be stored beside what they are tied to.
fn tied(spec: &ModelSpec) -> &'static [(&'static str, &'static str)] {
    match spec.family {
        _ if !spec.tied => &[],
        Family::Llama | Family::Qwen2 | Family::Gemma => &[("lm_head.weight", "model.embed_tokens.weight")],
        Family::Gpt2 => &[("lm_head.weight", "transformer.wte.weight")],
        Family::Bert => &[
            ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ],
    }
}

/// A parameter's name and those that older files have for it.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    // GPT-2's first checkpoints leave the prefix out.
    all.extend(name.strip_prefix("transformer.").map(str::to_owned));
    // BERT's first ones come from TensorFlow.
    if let Some(norm) = name.strip_suffix("LayerNorm.weight") {
        all.push(format!("{norm}LayerNorm.gamma"));
    } else if let Some(norm) = name.strip_suffix("LayerNorm.bias") {
        all.push(format!("{norm}LayerNorm.beta"));
    } else if name == "cls.predictions.bias" {
        all.push("cls.predictions.decoder.bias".to_owned());
    }
    all
}

/// Not parameters of the model that we train: constants that older versions saved along, and BERT's parts for pairs of sentences.
fn needless(name: &str) -> bool {
    let constant = [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", "embeddings.position_ids"];
    constant.iter().any(|end| name.ends_with(end)) || name.starts_with("bert.pooler.") || name.starts_with("cls.seq_relationship.")
}

impl TensorSource for HfFolder {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let place = self.places.get(name).and_then(|(i, stored)| Some((self.files.get(*i)?, stored)));
        let (file, stored) = place.ok_or_else(|| EngineError::tensor(name, "the folder's model has no such parameter"))?;
        if file.info(stored).is_none_or(|info| info.shape != shape) {
            return Err(EngineError::tensor(name, format!("the folder holds it in another shape than {shape:?}")));
        }
        let values = file.read_f32(stored, 0, shape.iter().product())?;
        match values.iter().find(|v| !v.is_finite()) {
            Some(value) => Err(EngineError::file(file.path(), format!("tensor {stored} holds {value}"))),
            None => Ok(values),
        }
    }
}

type Held = BTreeMap<String, usize>;

/// The folder's safetensors files and which of them holds each name.
fn tensors(folder: &Path, problems: &mut Vec<String>) -> Result<(Vec<SafeFile>, Held), EngineError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() || !index.is_file() {
        let file = SafeFile::open(&single)?;
        let held = file.names().into_iter().map(|name| (name, 0)).collect();
        return Ok((vec![file], held));
    }
    let names = weight_map(&index)?;
    let mut numbers = BTreeMap::new();
    let mut files = vec![];
    let mut held = Held::new();
    for (name, part) in names {
        let number = match numbers.get(&part) {
            Some(number) => *number,
            None => {
                files.push(SafeFile::open(&folder.join(&part))?);
                numbers.insert(part.clone(), files.len() - 1);
                files.len() - 1
            }
        };
        if files.get(number).and_then(|f: &SafeFile| f.info(&name)).is_none() {
            problems.push(format!("{name}: the index says it is in {part}, but it is not"));
        }
        held.insert(name, number);
    }
    Ok((files, held))
}

/// Names a file of the same folder for each tensor; a path that leaves the folder is refused.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, EngineError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = serde_json::from_str(&read_text(index)?).map_err(|e| EngineError::file(index, e.to_string()))?;
    let plain = |part: &str| part.ends_with(".safetensors") && Path::new(part).file_name().is_some_and(|name| name == part);
    if let Some((name, part)) = weight_map.iter().find(|(_, part)| !plain(part)) {
        return Err(EngineError::file(index, format!("weight_map.{name} is {part:?}, must be a safetensors file of this folder")));
    }
    if weight_map.is_empty() {
        return Err(EngineError::file(index, "weight_map is empty"));
    }
    Ok(weight_map)
}

/// Finds every expected parameter and complains about everything else.
fn match_names(
    config: &Config,
    expected: &[Param],
    files: &[SafeFile],
    held: &Held,
    problems: &mut Vec<String>,
) -> BTreeMap<String, (usize, String)> {
    let mut places = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    for param in expected {
        let found = spellings(&param.name).iter().find_map(|name| held.get_key_value(name).map(|(name, file)| (name.as_str(), *file)));
        let Some((stored, file)) = found else {
            problems.push(format!("{} is missing", param.name));
            continue;
        };
        used.insert(stored);
        if let Some(info) = files.get(file).and_then(|f| f.info(stored)) {
            if info.shape != param.shape {
                problems.push(format!("{stored} has shape {:?}, config.json needs {:?}", info.shape, param.shape));
            }
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                problems.push(format!("{stored} is stored as {:?}; F32, F16 and BF16 can be read", info.dtype));
            }
        }
        places.insert(param.name.clone(), (file, stored.to_owned()));
    }
    let known = |name: &str| needless(name) || tied(&config.spec).iter().any(|(stored, _)| *stored == name);
    let unexpected = held.keys().filter(|name| !used.contains(name.as_str()) && !known(name));
    problems.extend(unexpected.map(|name| format!("{name} is not a parameter of this model")));
    places
}

fn read_text(path: &Path) -> Result<String, EngineError> {
    let length = std::fs::metadata(path).map_err(EngineError::io(path, "read"))?.len();
    if length > MAX_JSON {
        return Err(EngineError::file(path, format!("{length} bytes; more than {MAX_JSON} is not believed")));
    }
    std::fs::read_to_string(PathBuf::from(path)).map_err(EngineError::io(path, "read"))
}
