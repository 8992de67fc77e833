//! Which files of a folder belong to its tokenizer, and go wherever it goes.

use crate::ModelError;
use std::path::Path;

pub const TOKENIZER: &str = "tokenizer.json";
/// The folder of chat templates with a name.
pub(super) const ADDITIONAL: &str = "additional_chat_templates";
const BESIDE: [&str; 8] = [
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];
/// More templates than any model has.
const MAX_TEMPLATES: usize = 100;

/// The files beside `tokenizer.json` that are there, as names below the folder, sorted.
///
/// # Errors
/// The folder cannot be listed, or holds an unbelievable number of chat templates.
pub fn tokenizer_files(folder: &Path) -> Result<Vec<String>, ModelError> {
    let mut found: Vec<String> = BESIDE.iter().filter(|name| folder.join(name).is_file()).map(|name| (*name).to_owned()).collect();
    found.extend(names_in(folder)?.into_iter().map(|name| format!("{ADDITIONAL}/{name}")));
    found.sort();
    Ok(found)
}

/// The names of the templates in [`ADDITIONAL`], sorted.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, ModelError> {
    let path = folder.join(ADDITIONAL);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(ModelError::io("list", &path)(error)),
    };
    let mut names = vec![];
    for entry in entries {
        let name = entry.map_err(ModelError::io("list", &path))?.file_name();
        match name.to_str() {
            Some(name) if name.ends_with(".jinja") => names.push(name.to_owned()),
            _ => {}
        }
        if names.len() > MAX_TEMPLATES {
            return Err(ModelError::file(&path, format!("more than {MAX_TEMPLATES} chat templates")));
        }
    }
    names.sort();
    Ok(names)
}
