//! What can go wrong between a source file and a packed sequence. Every message names the file and the place in it; offsets
//! count bytes of the uncompressed stream, because that is what an editor or `zcat FILE | tail -c +N` shows.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused: the only kind that another attempt may cure.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// The file's bytes are not what they should be.
    #[error("{}: byte {offset} (uncompressed): {problem}", path.display())]
    Malformed { path: PathBuf, offset: u64, problem: String },

    /// A line of a line-oriented file is not what it should be. Lines count from 1.
    #[error("{}: line {line} (byte {offset}, uncompressed): {problem}", path.display())]
    Line { path: PathBuf, line: u64, offset: u64, problem: String },

    /// A whole file, or the set of files, is of no use.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },

    /// There is nothing left to work on, or a setting cannot be met.
    #[error("{0}")]
    Unusable(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), problem: problem.into() }
    }

    /// Whether the same call on the same bytes may succeed later. Malformed input stays malformed.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}
