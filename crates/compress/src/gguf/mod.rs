//! GGUF version 3: the single-file format of local inference programs. Our own reader, which believes no length or offset of the
//! file, and writer; block formats; and the metadata that carries config and tokenizer.

mod block;
pub(crate) mod metadata;
mod own;
mod pretokenizer;
mod read;
mod specials;
pub(crate) mod tokenizer;
mod value;
mod whole;
mod write;

pub use block::GgmlType;
pub(crate) use block::encode_tensor;
pub use own::GgufTokenizer;
pub use read::{GgufFile, TensorInfo};
pub use value::{Array, Value};
pub(crate) use write::{Planned, header, padding};

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";

#[cfg(test)]
mod tests;
