//! What comes from outside, made fit for reading: files in any common compression, told by their first bytes, and tokenizers of
//! the `tokenizers` library, without chance and within bounds.
//!
//! Corpora and exams read through here alike. No format of documents is known here, and nothing that a file says is believed before it
//! was bounded.
#![forbid(unsafe_code)]

mod compression;
mod decoded;
mod foreign;
mod tokenizer;

pub use compression::Compression;
pub use decoded::{Damaged, Decoded};
pub use foreign::{foreign, wide};
pub use tokenizer::{Splitter, TokenizerError, load_tokenizer};
