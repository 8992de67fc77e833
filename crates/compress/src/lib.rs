//! Quantizers and their file formats: a Hugging Face model folder in, a smaller model out, and back again.
//!
//! [`quantize`] writes a compressed-tensors folder (int8) or a GGUF file; [`open_quantized`] reads either back as `f32` tensors
//! under their Hugging Face names, with exactly the values that a user of the compressed file computes. Exams of a quantized
//! model run on those. This crate never links libtorch: compressing a model needs arithmetic, not autograd.
#![forbid(unsafe_code)]

mod arch;
mod error;
mod foresee;
pub mod gguf;
mod hf;
mod int8;
mod layout;
mod method;
mod open;
mod output;
mod quantize;
mod report;

pub use error::CompressError;
pub use foresee::foresee;
pub use method::Method;
pub use open::{QuantizedModel, open_quantized};
pub use quantize::quantize;
pub use report::{OutputFile, QuantReport, TensorReport};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
