//! Hugging Face model folders: the model to be compressed, and safetensors out.

pub(crate) mod model;
pub(crate) mod write;

use crate::CompressError;
use osler_model::json::read_object;
use serde_json::Value;
use std::path::Path;

/// Larger than any real tokenizer.json; a JSON file beyond this is not read into memory.
const JSON_LIMIT: u64 = 256 << 20;

/// Reads one JSON file that may be absent.
pub(crate) fn read_json_if_there(path: &Path) -> Result<Option<Value>, CompressError> {
    if path.exists() { Ok(Some(read_object(path, JSON_LIMIT)?)) } else { Ok(None) }
}
