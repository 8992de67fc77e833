//! Hugging Face model folders: config, safetensors in and out, and the model that they describe together.

pub(crate) mod config;
pub(crate) mod model;
pub(crate) mod safetensors;
pub(crate) mod write;

use crate::CompressError;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Larger than any real tokenizer.json; a JSON file beyond this is not read into memory.
const JSON_LIMIT: u64 = 256 << 20;

/// Reads one JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, CompressError> {
    let file = File::open(path).map_err(CompressError::io("open", path))?;
    let mut text = Vec::new();
    file.take(JSON_LIMIT + 1).read_to_end(&mut text).map_err(CompressError::io("read", path))?;
    if text.len() as u64 > JSON_LIMIT {
        return Err(CompressError::field(path, "file", format!("is larger than {JSON_LIMIT} bytes")));
    }
    serde_json::from_slice(&text).map_err(|e| CompressError::field(path, format!("line {} column {}", e.line(), e.column()), e.to_string()))
}

/// Reads one JSON file that may be absent.
pub(crate) fn read_json_if_there(path: &Path) -> Result<Option<Value>, CompressError> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(CompressError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
