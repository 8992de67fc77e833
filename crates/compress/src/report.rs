//! What a compression did: which tensors, how far from the original, how large, and the digest of every file written.

use crate::Method;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantReport {
    pub method: Method,
    /// Hugging Face names of the tensors stored in the method's own type.
    pub quantized: Vec<String>,
    /// Tensors stored unchanged, or widened without loss (norms, biases, and for int8 the embeddings).
    pub kept: Vec<String>,
    /// Tensors that the method wanted but whose row length does not fit its blocks: stored as F16.
    pub fallback: Vec<String>,
    /// Buffers of the input that carry no weights (attention masks, rotary tables, a tied head).
    pub dropped: Vec<String>,
    /// One entry for each tensor stored, in the order of the model.
    pub tensors: Vec<TensorReport>,
    /// Bytes of the input's weight files.
    pub bytes_before: u64,
    /// Bytes of the output's weight file.
    pub bytes_after: u64,
    /// Bits of tensor data in the output, scales included, for each weight of the model.
    pub bits_per_weight: f64,
    /// Every file of the output, by name; for a GGUF the one file.
    pub outputs: Vec<OutputFile>,
    /// What a user of the output should know, such as a tokenizer that the format cannot say exactly.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    pub name: String,
    /// Shape under the Hugging Face name.
    pub shape: Vec<usize>,
    /// The stored type: "Q8_0", "F16", "F32", "BF16" or "int8".
    pub stored_as: String,
    /// Largest |original - stored|.
    pub max_abs_error: f64,
    /// Root of sum((original - stored)^2) / sum(original^2); 0 for an all-zero tensor.
    pub relative_rms_error: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

impl QuantReport {
    /// The tensor with the largest relative error, the first to look at when an exam gets worse.
    pub fn worst(&self) -> Option<&TensorReport> {
        self.tensors.iter().max_by(|a, b| a.relative_rms_error.total_cmp(&b.relative_rms_error))
    }
}

impl fmt::Display for QuantReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.bytes_before as f64 / self.bytes_after.max(1) as f64;
        writeln!(
            f,
            "{}: {} tensors quantized, {} kept, {} fell back to F16; {} -> {} bytes ({ratio:.2}x), {:.2} bits per weight",
            self.method,
            self.quantized.len(),
            self.kept.len(),
            self.fallback.len(),
            self.bytes_before,
            self.bytes_after,
            self.bits_per_weight
        )?;
        if let Some(worst) = self.worst() {
            writeln!(f, "largest relative error: {:.3e} in {}", worst.relative_rms_error, worst.name)?;
        }
        for file in &self.outputs {
            writeln!(f, "{}  {} ({} bytes)", file.sha256, file.name, file.bytes)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// Running error sums of one tensor. Chunks are added in a fixed order, so the report does not depend on the thread count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ErrorSum {
    max: f64,
    error2: f64,
    value2: f64,
}

impl ErrorSum {
    pub fn push(&mut self, original: f32, stored: f32) {
        let error = f64::from(original) - f64::from(stored);
        self.max = self.max.max(error.abs());
        self.error2 += error * error;
        self.value2 += f64::from(original) * f64::from(original);
    }

    pub fn merge(self, other: Self) -> Self {
        Self { max: self.max.max(other.max), error2: self.error2 + other.error2, value2: self.value2 + other.value2 }
    }

    pub fn max_abs(&self) -> f64 {
        self.max
    }

    pub fn relative_rms(&self) -> f64 {
        if self.value2 > 0.0 { (self.error2 / self.value2).sqrt() } else { 0.0 }
    }
}

/// What a quantizer hands back about one tensor, before the report is put together.
pub(crate) enum Outcome {
    Quantized,
    Kept,
    Fallback,
}

impl QuantReport {
    pub(crate) fn empty(method: Method) -> Self {
        Self {
            method,
            quantized: Vec::new(),
            kept: Vec::new(),
            fallback: Vec::new(),
            dropped: Vec::new(),
            tensors: Vec::new(),
            bytes_before: 0,
            bytes_after: 0,
            bits_per_weight: 0.0,
            outputs: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, name: &str, shape: &[usize], stored_as: &str, outcome: Outcome, error: ErrorSum) {
        match outcome {
            Outcome::Quantized => self.quantized.push(name.to_owned()),
            Outcome::Kept => self.kept.push(name.to_owned()),
            Outcome::Fallback => self.fallback.push(name.to_owned()),
        }
        self.tensors.push(TensorReport {
            name: name.to_owned(),
            shape: shape.to_vec(),
            stored_as: stored_as.to_owned(),
            max_abs_error: error.max_abs(),
            relative_rms_error: error.relative_rms(),
        });
    }
}
