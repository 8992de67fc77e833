//! Where named tensors come from: a Hugging Face folder, checkpoint slices, a running trainer, or a decoder of quantized files.

use crate::EngineError;

/// Gives tensors by Hugging Face name, one at a time, so that a model need not be in memory twice.
pub trait TensorSource {
    /// The values in row-major order. `shape` is what the caller expects; a source that holds another one returns an error.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError>;
}

pub type LookupError = Box<dyn std::error::Error + Send + Sync>;

/// Shape and values, or why there are none.
pub type Looked = Result<(Vec<usize>, Vec<f32>), LookupError>;

/// A source made of a function.
pub struct Lookup<'a>(pub &'a mut dyn FnMut(&str) -> Looked);

impl TensorSource for Lookup<'_> {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let (found, values) = (self.0)(name).map_err(|e| EngineError::tensor(name, e.to_string()))?;
        if found != shape || values.len() != shape.iter().product::<usize>() {
            let problem = format!("shape {found:?} with {} values, the model needs {shape:?}", values.len());
            return Err(EngineError::tensor(name, problem));
        }
        Ok(values)
    }
}
