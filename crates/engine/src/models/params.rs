//! The parameters of a model: the list is the one of [`osler_model::parameters`].

use crate::EngineError;
use osler_core::spec::ModelSpec;

pub use osler_model::parameters::{Begin, Param, Role, vocabulary_tensors};

/// Every parameter in order. Errors: all problems of the shape at once.
pub fn parameters(spec: &ModelSpec, vocab: usize) -> Result<Vec<Param>, EngineError> {
    osler_model::parameters::parameters(spec, vocab).map_err(EngineError::Model)
}
