//! What compression needs to know of a model beyond its parameters: the names, orders and layouts of GGUF. Everything else in this crate
//! walks the list of [`Arch::specs`], so a tensor that it does not name is neither written nor believed.

mod names;
mod rope;
#[cfg(test)]
mod tests;

use crate::CompressError;
use crate::layout;
use osler_core::spec::{Family, ModelSpec};
use osler_model::ModelConfig;
use osler_model::parameters::{Param, parameters};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) use osler_model::parameters::Role;
pub(crate) use rope::{ROPE_FACTORS, rope_factors};

pub(crate) const SUPPORTED: &str = "llama, qwen2, gemma, gpt2";

/// A model that can be compressed. Its sizes were checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arch {
    pub spec: ModelSpec,
    /// Rows of the token embedding.
    pub vocab: usize,
    params: Vec<Param>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorSpec {
    pub hf: String,
    pub gguf: String,
    /// Shape in the Hugging Face file.
    pub shape: Vec<usize>,
    pub role: Role,
    /// (heads, head_dim) when the rows are interleaved in GGUF.
    rotary: Option<(usize, usize)>,
    /// Stored `[in, out]` by Hugging Face, `[out, in]` by everything else.
    conv1d: bool,
    /// A norm's w whose gain is 1 + w: GGUF holds the gain.
    gain: bool,
}

impl TensorSpec {
    fn new(param: &Param, spec: &ModelSpec) -> Self {
        // Llama's readers turn neighbours, its relatives' turn halves.
        let heads = match param.name.rsplit('.').nth(1) {
            Some("q_proj") => Some(spec.heads),
            Some("k_proj") => Some(spec.kv_heads),
            _ => None,
        };
        Self {
            hf: param.name.clone(),
            gguf: names::gguf_name(&param.name),
            shape: param.shape.clone(),
            role: param.role(),
            rotary: heads.filter(|_| spec.family == Family::Llama).map(|heads| (heads as usize, spec.head_dim() as usize)),
            conv1d: param.transposed(spec.family),
            gain: spec.family == Family::Gemma && param.name.ends_with("norm.weight"),
        }
    }

    /// The shape with output channels first: that of GGUF tensors and int8 matrices.
    pub fn rows_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.conv1d {
            shape.reverse();
        }
        shape
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// From Hugging Face order to output channels first.
    pub fn hf_to_rows(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, rows, cols),
            _ => data,
        }
    }

    pub fn rows_to_hf(&self, data: Vec<f32>) -> Vec<f32> {
        match (self.conv1d, self.shape.as_slice()) {
            (true, &[rows, cols]) => layout::transpose(&data, cols, rows),
            _ => data,
        }
    }

    pub fn hf_to_gguf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = self.hf_to_rows(data);
        match self.rotary {
            Some((heads, head_dim)) => layout::interleave_heads(&data, heads, head_dim),
            None if self.gain => data.into_iter().map(|w| 1.0 + w).collect(),
            None => data,
        }
    }

    pub fn gguf_to_hf(&self, data: Vec<f32>) -> Vec<f32> {
        let data = match self.rotary {
            Some((heads, head_dim)) => layout::split_heads(&data, heads, head_dim),
            None if self.gain => data.into_iter().map(|gain| gain - 1.0).collect(),
            None => data,
        };
        self.rows_to_hf(data)
    }
}

impl Arch {
    /// `path` is the file to blame.
    ///
    /// # Errors
    /// The model is a bert, or its sizes are not believable.
    pub fn new(path: &Path, spec: ModelSpec, vocab: usize) -> Result<Self, CompressError> {
        if spec.family == Family::Bert {
            let found = spec.family.to_string();
            return Err(CompressError::UnknownArchitecture { path: path.to_owned(), found, supported: SUPPORTED });
        }
        let params = parameters(&spec, vocab).map_err(|problems| CompressError::field(path, "model", problems.join("; ")))?;
        Ok(Self { spec, vocab, params })
    }

    /// Every tensor of the model, in its order. A tied head is not a tensor.
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.params.iter().map(|param| TensorSpec::new(param, &self.spec)).collect()
    }

    /// The config.json from which a Hugging Face reader builds the same model.
    pub fn to_hf(&self) -> Value {
        let mut value = ModelConfig { spec: self.spec.clone(), vocab: self.vocab, unknown: vec![] }.to_json();
        value["torch_dtype"] = json!("float32");
        value
    }
}
