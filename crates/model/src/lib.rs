//! What a Hugging Face folder says about its model, read once for everybody: the engine, compression, exams, packing and `osler
//! validate` must not disagree about it. What the folder asks for and Osler does not compute is refused by name. No tensor is computed here.
#![forbid(unsafe_code)]

mod error;
pub mod json;

pub use error::ModelError;
