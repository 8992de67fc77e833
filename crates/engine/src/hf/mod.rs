//! Hugging Face folders: `config.json`, `model.safetensors` (single or sharded), `generation_config.json`.
//!
//! The engine's own parameters carry Hugging Face's names and shapes, so this module only checks, converts floats and writes files.

mod config;
mod export;
mod extend;
mod import;

pub use config::{Config, SpecialTokens};
pub use export::{ExportOptions, Exported, export};
pub use extend::Extended;
pub use import::HfFolder;

use crate::EngineError;
use crate::models::Model;
use crate::source::{Looked, Lookup};
use std::path::Path;
use tch::Device;

/// Opens a folder and checks all of its tensors' names, shapes and types. Values are read on demand through
/// [`TensorSource`](crate::source::TensorSource).
pub fn import(folder: &Path) -> Result<HfFolder, EngineError> {
    HfFolder::open(folder)
}

impl Model {
    /// Reads a model for scoring.
    pub fn from_folder(folder: &Path, device: Device) -> Result<Self, EngineError> {
        let mut source = HfFolder::open(folder)?;
        let Config { spec, vocab, .. } = source.config().clone();
        Self::from_source(&spec, vocab, &mut source, device)
    }

    /// A model whose weights come from elsewhere, for example from a quantized file: `lookup` gives shape and values by Hugging Face
    /// name.
    pub fn from_named(config_json: &str, lookup: &mut dyn FnMut(&str) -> Looked) -> Result<Self, EngineError> {
        let config = Config::parse(config_json)?;
        Self::from_source(&config.spec, config.vocab, &mut Lookup(lookup), Device::Cpu)
    }
}
