//! Everything that can go wrong here, each with the file, the place in it and the way out.

use osler_model::ModelError;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// What is wrong with the model that is to be compressed, or with a compressed one's config and weights.
    #[error(transparent)]
    Model(#[from] ModelError),

    #[error("{} exists already: choose another target, or remove it first", .0.display())]
    TargetExists(PathBuf),

    /// A JSON file or GGUF metadata that does not say what it must.
    #[error("{}: field `{field}`: {reason}", path.display())]
    Field { path: PathBuf, field: String, reason: String },

    #[error("{}: unknown architecture {found:?}; supported: {supported}", path.display())]
    UnknownArchitecture { path: PathBuf, found: String, supported: &'static str },

    /// A binary file that breaks its format; `offset` counts bytes from the start of the file.
    #[error("{}: byte {offset}: {field}: {reason}", path.display())]
    Malformed { path: PathBuf, offset: u64, field: String, reason: String },

    #[error("{}: tensor {tensor} is missing; the config asks for it", path.display())]
    MissingTensor { path: PathBuf, tensor: String },

    #[error("{}: tensor {tensor} is not part of this architecture; remove it from the file or correct config.json", path.display())]
    UnexpectedTensor { path: PathBuf, tensor: String },

    #[error("{}: tensor {tensor} has shape {found:?}, the config asks for {expected:?}", path.display())]
    Shape { path: PathBuf, tensor: String, expected: Vec<usize>, found: Vec<usize> },

    #[error("{}: tensor {tensor} has type {found}; expected {expected}", path.display())]
    Dtype { path: PathBuf, tensor: String, found: String, expected: &'static str },

    #[error("{}: tensor {tensor} holds {value} at element {index}; a diverged model is not worth compressing, take an earlier checkpoint", path.display())]
    NonFinite { path: PathBuf, tensor: String, index: usize, value: f32 },

    #[error("{}: tensor {tensor} holds {value}, too large for {target}; use a method with a wider type", path.display())]
    OutOfRange { path: PathBuf, tensor: String, value: f32, target: &'static str },

    #[error("{}: no tensor can be stored as {method} (are all row lengths unfit for its blocks?); use another method", path.display())]
    NothingQuantized { path: PathBuf, method: String },

    #[error("unknown quantization method {0:?}; known: {known}", known = crate::Method::KNOWN)]
    UnknownMethod(String),
}

impl CompressError {
    /// Trouble with files, which may pass; everything else is what they say.
    pub fn is_io(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Model(error) => error.is_io(),
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn field(path: &Path, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { path: path.to_owned(), field: field.into(), reason: reason.into() }
    }

    pub(crate) fn malformed(path: &Path, offset: u64, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), offset, field: field.into(), reason: reason.into() }
    }
}
