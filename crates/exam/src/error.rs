//! What can go wrong with an exam: each message names the file, the place in it, the field and the way out.

use std::path::PathBuf;

use crate::scorer::ScorerError;

#[derive(Debug, thiserror::Error)]
pub enum ExamError {
    #[error("exam {exam:?}, field `{field}`: {message}")]
    Spec { exam: String, field: &'static str, message: String },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write the {what}: {source}")]
    Write { what: &'static str, source: std::io::Error },
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("{file}, {place}, field `{field}`: {message}")]
    Record { file: String, place: String, field: String, message: String },
    #[error("exam {exam:?} has no questions: {message}")]
    NoQuestions { exam: String, message: String },
    #[error("tokenizer {file}: {message}")]
    Tokenizer { file: String, message: String },
    #[error("question {id:?}, choice {choice}: {message}")]
    Encode { id: String, choice: usize, message: String },
    #[error("the scorer failed after {done} of {total} requests: {source}")]
    Scorer { done: usize, total: usize, source: ScorerError },
    #[error("the scorer broke its contract: {message}")]
    Contract { message: String },
    #[error("reports {a:?} and {b:?} cannot be compared: {message}")]
    Mismatch { a: String, b: String, message: String },
    #[error("golden line {line}: {message}")]
    Golden { line: usize, message: String },
}
