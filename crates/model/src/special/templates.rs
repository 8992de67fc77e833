//! Chat templates: files of their own, or entries of `tokenizer_config.json`. Where there are files, they win.

use super::files::{ADDITIONAL, names_in};
use crate::ModelError;
use serde_json::Value;
use std::path::Path;

const FILE: &str = "chat_template.jinja";
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    pub name: String,
    /// Jinja source.
    pub text: String,
}

pub(super) fn read(folder: &Path, settings: &Value) -> Result<Vec<ChatTemplate>, ModelError> {
    let mut found = vec![];
    if folder.join(FILE).is_file() {
        found.push(ChatTemplate { name: "default".into(), text: file(&folder.join(FILE))? });
    }
    for name in names_in(folder)? {
        let text = file(&folder.join(ADDITIONAL).join(&name))?;
        found.push(ChatTemplate { name: name.trim_end_matches(".jinja").to_owned(), text });
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let wrong = || {
        let reason = "must be a string, or a list of objects with \"name\" and \"template\"";
        ModelError::field(&folder.join("tokenizer_config.json"), "chat_template", reason)
    };
    match settings.get("chat_template") {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::String(text)) => Ok(vec![ChatTemplate { name: "default".into(), text: text.clone() }]),
        Some(Value::Array(entries)) => entries.iter().map(|entry| named(entry).ok_or_else(wrong)).collect(),
        Some(Value::Object(entries)) => {
            let entry = |(name, text): (&String, &Value)| Some(ChatTemplate { name: name.clone(), text: text.as_str()?.to_owned() });
            entries.iter().map(|pair| entry(pair).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn named(entry: &Value) -> Option<ChatTemplate> {
    let word = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(ChatTemplate { name: word("name")?, text: word("template")? })
}

fn file(path: &Path) -> Result<String, ModelError> {
    let size = std::fs::metadata(path).map_err(ModelError::io("read", path))?.len();
    if size > MAX_BYTES {
        return Err(ModelError::file(path, format!("{size} bytes are too many for a chat template")));
    }
    let bytes = std::fs::read(path).map_err(ModelError::io("read", path))?;
    String::from_utf8(bytes).map_err(|e| ModelError::file(path, format!("not UTF-8: {e}")))
}
