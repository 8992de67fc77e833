//! What a Hugging Face folder says about its model, read once for everybody: the engine, compression, exams, packing and `osler
//! validate` must not disagree about it. What the folder asks for and Osler does not compute is refused by name. No tensor is computed here.
#![forbid(unsafe_code)]

mod compare;
pub mod config;
mod error;
mod folder;
mod generation;
pub mod json;
pub mod parameters;
pub mod safetensors;
mod special;
mod vocabulary;
mod weights;

pub use compare::differences;
pub use config::ModelConfig;
pub use error::ModelError;
pub use folder::ModelFolder;
pub use generation::{Generation, TokenIds};
pub use special::{ChatTemplate, Specials, TOKENIZER, spellings, tokenizer_files};
pub use vocabulary::{Rows, tokens_of};
pub use weights::Weights;
