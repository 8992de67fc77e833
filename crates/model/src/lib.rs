//! What a Hugging Face folder says about its model, read once for everybody: the engine, compression, exams, packing and `osler
//! validate` must not disagree about it. What the folder asks for and Osler does not compute is refused by name. No tensor is computed here.
#![forbid(unsafe_code)]

mod error;
mod generation;
pub mod json;
mod special;

pub use error::ModelError;
pub use generation::{Generation, TokenIds};
pub use special::{ChatTemplate, Specials, TOKENIZER, spellings, tokenizer_files};
