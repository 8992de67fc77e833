//! All tensors of a folder, in one file or in shards with an index. Index and shards must agree about every tensor: what the index leaves
//! out is not loaded by others, and what it adds is not there.

use crate::ModelError;
use crate::json::read_object;
use crate::safetensors::{Entry, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub const SINGLE: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";
/// No real index comes near.
const MOST_BYTES: u64 = 64 << 20;
/// Each is held open.
const MOST_SHARDS: usize = 512;

#[derive(Debug)]
pub struct Weights {
    files: Vec<SafeTensors>,
    /// Name to the file that holds it.
    places: BTreeMap<String, usize>,
    /// The single file, or the index: what an error about the whole names.
    path: PathBuf,
}

impl Weights {
    /// Opens `model.safetensors`, which comes first for everybody, or the shards that `model.safetensors.index.json` names.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        if single.exists() {
            let file = SafeTensors::open(&single)?;
            let places = file.names().map(|name| (name.clone(), 0)).collect();
            return Ok(Self { files: vec![file], places, path: single });
        }
        if index.exists() { Self::of_shards(folder, index) } else { Err(absent(folder)) }
    }

    fn of_shards(folder: &Path, index: PathBuf) -> Result<Self, ModelError> {
        let blame = |field: &str, reason: String| ModelError::field(&index, field, reason);
        let value = read_object(&index, MOST_BYTES)?;
        let map = value.get("weight_map").and_then(|map| map.as_object()).filter(|map| !map.is_empty());
        let map = map.ok_or_else(|| blame("weight_map", "must be an object of tensor name to file name".to_owned()))?;
        let mut by_file: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().ok_or_else(|| blame(tensor, format!("must be a file name, not {file}")))?;
            if file.contains(['/', '\\', '\0']) || file.starts_with('.') || !file.ends_with(".safetensors") {
                return Err(blame(tensor, format!("{file:?} must be the plain name of a .safetensors file of this folder")));
            }
            by_file.entry(file).or_default().insert(tensor);
        }
        if by_file.len() > MOST_SHARDS {
            return Err(blame("weight_map", format!("{} files, at most {MOST_SHARDS} are read", by_file.len())));
        }
        let (mut files, mut places) = (vec![], BTreeMap::new());
        for (name, tensors) in &by_file {
            let file = SafeTensors::open(&folder.join(name))?;
            if let Some(tensor) = tensors.iter().find(|tensor| file.get(tensor).is_none()) {
                return Err(blame(tensor, format!("is missing in {name}, where the index says that it is")));
            }
            places.extend(tensors.iter().map(|tensor| ((*tensor).clone(), files.len())));
            files.push(file);
        }
        for (file, (name, tensors)) in files.iter().zip(&by_file) {
            let Some(tensor) = file.names().find(|tensor| !tensors.contains(tensor)) else { continue };
            let reason = match places.get(tensor) {
                Some(_) => format!("is in {name} too, and weight_map names another file: remove one"),
                None => format!("is in {name} but not in weight_map, so other libraries do not load it: add it there, or remove it"),
            };
            return Err(blame(tensor, reason));
        }
        Ok(Self { files, places, path: index })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(SafeTensors::size).sum()
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// A tensor, and the file that it lies in.
    pub fn find(&self, name: &str) -> Option<(&SafeTensors, &Entry)> {
        let file = self.files.get(*self.places.get(name)?)?;
        Some((file, file.get(name)?))
    }

    fn file(&self, name: &str) -> Result<&SafeTensors, ModelError> {
        let missing = || ModelError::file(&self.path, format!("tensor {name} is missing"));
        self.find(name).map(|(file, _)| file).ok_or_else(missing)
    }

    /// A tensor's bytes as they are stored.
    pub fn raw(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        self.file(name)?.raw(name)
    }

    /// Values `from..from + count` of a float tensor, as f32.
    pub fn read_f32(&self, name: &str, from: usize, count: usize) -> Result<Vec<f32>, ModelError> {
        self.file(name)?.read_f32(name, from, count)
    }
}

/// What lies there instead, by name.
fn absent(folder: &Path) -> ModelError {
    let others = [
        ("pytorch_model.bin", "a pickle, which may run code when it is read"),
        ("pytorch_model.bin.index.json", "pickles, which may run code when they are read"),
        ("tf_model.h5", "TensorFlow's weights"),
        ("flax_model.msgpack", "Flax's weights"),
        ("consolidated.00.pth", "a pickle, which may run code when it is read"),
        ("adapter_model.safetensors", "an adapter without its model: merge it into that"),
    ];
    let found = others.iter().find(|(name, _)| folder.join(name).exists());
    let reason = match found {
        Some((name, what)) => format!(
            "neither {SINGLE} nor {INDEX} is in it, and {name} ({what}) is not read: load the folder in transformers and save it with save_pretrained, which writes safetensors"
        ),
        None => format!("neither {SINGLE} nor {INDEX} is in it: weights in other formats must be converted to safetensors first"),
    };
    ModelError::file(folder, reason)
}
