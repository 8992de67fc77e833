//! What can go wrong in the engine. Messages name the file or field and what would make it right.

use osler_core::guard::Skipped;
use osler_model::ModelError;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the model cannot be built: {}", .0.join("; "))]
    Model(Vec<String>),
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{action} {}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// A folder whose model is not computed here, or that contradicts itself.
    #[error(transparent)]
    Import(ModelError),
    #[error("tensor {name}: {problem}")]
    Tensor { name: String, problem: String },
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    #[error("batch: {0}")]
    Batch(String),
    #[error("scoring request {index}: {problem}")]
    Request { index: usize, problem: String },
    /// The guard's last word. Every rank returns this for the same step, before its update: the weights are those of the last good step.
    #[error(
        "step {step}: {why} (loss {loss}, gradient norm {grad_norm}), and the guard cannot skip it; lower the learning rate, or resume before this step with clipping on"
    )]
    Guard { step: u64, why: Skipped, loss: f64, grad_norm: f64 },
    #[error("the ranks disagree: {0}")]
    Disagreement(String),
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    #[error(transparent)]
    Distributed(#[from] osler_torch_dist::DistError),
}

impl From<ModelError> for EngineError {
    /// Trouble with reading may pass; what a folder says does not.
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Io { action, path, source } => Self::Io { path, action, source },
            other => Self::Import(other),
        }
    }
}

impl EngineError {
    /// The allocator of the CPU or of a GPU had nothing left. libtorch says so in words only.
    pub fn is_out_of_memory(&self) -> bool {
        let words = |text: &str| text.contains("can't allocate memory") || text.contains("out of memory");
        matches!(self, Self::Torch(error) if words(&error.to_string()))
    }

    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), problem: problem.into() }
    }

    pub(crate) fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.to_owned(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn libtorchs_words_for_no_memory_are_known() {
        // 2^62 bytes: no machine has them, so nothing is touched.
        let error = Tensor::f_zeros([1 << 60], (Kind::Float, Device::Cpu)).map(drop).unwrap_err();
        assert!(EngineError::from(error).is_out_of_memory());
        let other = Tensor::f_zeros([2], (Kind::Float, Device::Cpu)).and_then(|t| t.f_reshape([3])).map(drop).unwrap_err();
        assert!(!EngineError::from(other).is_out_of_memory());
    }
}
