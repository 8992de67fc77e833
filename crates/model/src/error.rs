//! What can be wrong with a model's files, each with the file, the field and the way out.

use std::path::{Path, PathBuf};

/// Of one kind of problem, so many are shown; a foreign model has hundreds of tensors that do not fit.
const SHOWN: usize = 6;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// A file that cannot be used as a whole.
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },

    #[error("{}: field `{field}`: {reason}", path.display())]
    Field { path: PathBuf, field: String, reason: String },

    /// A binary file that breaks its format; `offset` counts bytes from the start of the file.
    #[error("{}: byte {offset}: {field}: {reason}", path.display())]
    Malformed { path: PathBuf, offset: u64, field: String, reason: String },

    /// A model that is not computed here, or whose files contradict each other: all reasons at once. `path` is the file or the folder.
    #[error("{}: {}", path.display(), shown(problems))]
    Refused { path: PathBuf, problems: Vec<String> },
}

impl ModelError {
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }

    pub fn field(path: &Path, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { path: path.to_owned(), field: field.into(), reason: reason.into() }
    }

    pub fn malformed(path: &Path, offset: u64, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), offset, field: field.into(), reason: reason.into() }
    }

    /// Trouble with reading, which may pass; everything else is what the files say.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

fn shown(problems: &[String]) -> String {
    let mut text = problems.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text.push_str(&format!("; and {} more", problems.len() - SHOWN));
    }
    text
}
