//! Reading a JSON file of a model folder: bounded in size, and every error names file and field.

use crate::ModelError;
use serde_json::Value;
use std::path::Path;

/// The file's JSON object; `most` is the largest size in bytes that is believed.
pub fn read_object(path: &Path, most: u64) -> Result<Value, ModelError> {
    let size = std::fs::metadata(path).map_err(ModelError::io("read", path))?.len();
    if size > most {
        return Err(ModelError::file(path, format!("{size} bytes are too many for this file; at most {most} are read")));
    }
    let bytes = std::fs::read(path).map_err(ModelError::io("read", path))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| ModelError::file(path, format!("not JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(ModelError::file(path, "must hold a JSON object")) }
}

/// Typed access to the keys of one JSON object. JSON null counts as absent.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub path: &'a Path,
    pub value: &'a Value,
}

impl<'a> Fields<'a> {
    pub fn new(path: &'a Path, value: &'a Value) -> Result<Self, ModelError> {
        match value.is_object() {
            true => Ok(Self { path, value }),
            false => Err(ModelError::field(path, "(root)", "must be a JSON object")),
        }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn parse<T>(&self, key: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ModelError> {
        let wrong = |v: &Value| ModelError::field(self.path, key, format!("must be {kind}, not {v}"));
        self.get(key).map(|v| read(v).ok_or_else(|| wrong(v))).transpose()
    }

    /// A size: an integer of at least 1.
    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let read = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        self.parse(key, "an integer of at least 1", read)
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.parse(key, "a number", Value::as_f64)
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.parse(key, "true or false", Value::as_bool)
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.parse(key, "a string", Value::as_str)
    }

    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        Ok(self.boolean(key)?.unwrap_or(default))
    }

    /// An error about one of the object's keys.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::field(self.path, key, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_type_is_refused_by_file_and_field() {
        let value = json!({ "n": 3, "zero": 0, "none": null, "word": "x" });
        let fields = Fields::new(Path::new("config.json"), &value).unwrap();
        assert_eq!(fields.size("n").unwrap(), Some(3));
        assert_eq!((fields.size("none").unwrap(), fields.size("absent").unwrap()), (None, None));
        let said = |e: ModelError| e.to_string();
        assert_eq!(said(fields.size("zero").unwrap_err()), "config.json: field `zero`: must be an integer of at least 1, not 0");
        assert_eq!(said(fields.number("word").unwrap_err()), "config.json: field `word`: must be a number, not \"x\"");
    }

    #[test]
    fn a_file_that_is_too_large_or_no_object_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "[1]").unwrap();
        assert!(read_object(&path, 100).unwrap_err().to_string().contains("must hold a JSON object"));
        assert!(read_object(&path, 2).unwrap_err().to_string().contains("too many"));
    }
}
