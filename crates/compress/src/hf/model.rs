//! A model folder to be compressed, with its tensors in the order and under the names of both formats.

use crate::CompressError;
use crate::arch::{Arch, TensorSpec};
use osler_model::ModelFolder;
use osler_model::config::CONFIG;
use osler_model::safetensors::{Dtype, Entry};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(crate) struct Model {
    pub dir: PathBuf,
    pub arch: Arch,
    pub specs: Vec<TensorSpec>,
    folder: ModelFolder,
}

impl Model {
    /// Every tensor that the config asks for is there with its shape and a float type, and no other.
    pub fn open(dir: &Path) -> Result<Self, CompressError> {
        let folder = ModelFolder::open(dir)?;
        let config = folder.config();
        let arch = Arch::new(&dir.join(CONFIG), config.spec.clone(), config.vocab)?;
        let specs = arch.specs();
        Ok(Self { dir: dir.to_owned(), arch, specs, folder })
    }

    /// The whole config.json.
    pub fn config(&self) -> &Value {
        self.folder.json()
    }

    /// Names in the input that carry no weights.
    pub fn dropped(&self) -> &[String] {
        self.folder.dropped()
    }

    /// Keys of the config that nobody here knows.
    pub fn unknown(&self) -> &[String] {
        &self.folder.config().unknown
    }

    /// Bytes of the weight files.
    pub fn bytes(&self) -> u64 {
        self.folder.bytes()
    }

    fn find(&self, spec: &TensorSpec) -> Result<(&Path, &Entry), CompressError> {
        let missing = || CompressError::MissingTensor { path: self.dir.clone(), tensor: spec.hf.clone() };
        self.folder.find(&spec.hf).ok_or_else(missing)
    }

    /// The float type that the input stores the tensor in.
    pub fn dtype(&self, spec: &TensorSpec) -> Result<Dtype, CompressError> {
        Ok(self.find(spec)?.1.dtype)
    }

    /// Raw bytes as they are stored, checked to be finite values.
    pub fn raw(&self, spec: &TensorSpec) -> Result<Vec<u8>, CompressError> {
        self.floats(spec)?;
        Ok(self.folder.raw(&spec.hf)?)
    }

    /// Finite values, in Hugging Face order.
    pub fn floats(&self, spec: &TensorSpec) -> Result<Vec<f32>, CompressError> {
        let values = self.folder.read_f32(&spec.hf)?;
        if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            let path = self.find(spec)?.0.to_owned();
            return Err(CompressError::NonFinite { path, tensor: spec.hf.clone(), index, value: *value });
        }
        Ok(values)
    }
}
