//! Which files a job reads that are not the store's: whoever starts it on a machine looks at them first.

use super::{ExamFormat, RunSpec, TokenizerSpec};
use crate::job::JobKind;

/// A path of the run file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside<'a> {
    File(&'a str),
    /// A tokenizer, with the files beside it that belong to it.
    Tokenizer(&'a str),
    /// A model's folder.
    Folder(&'a str),
}

impl RunSpec {
    pub fn outside(&self, kind: &JobKind) -> Vec<Outside<'_>> {
        match kind {
            JobKind::Clean { corpus, source } => {
                let file = self.corpora.get(corpus).and_then(|corpus| corpus.files.get(*source as usize));
                file.map(|file| Outside::File(file)).into_iter().collect()
            }
            JobKind::Tokenizer => match &self.tokenizer {
                TokenizerSpec::File { path, .. } => vec![Outside::Tokenizer(path)],
                TokenizerSpec::Train { .. } => vec![],
            },
            // A stage that goes on from another one still compares itself with the folder at the beginning.
            JobKind::Train { .. } | JobKind::Export { .. } => {
                self.stages.iter().filter_map(|stage| stage.from.folder()).map(Outside::Folder).collect()
            }
            JobKind::Exam { exam, .. } => match self.exam(exam) {
                Some(exam) if exam.format != ExamFormat::HeldOut => {
                    exam.files.iter().chain(&exam.shots_files).map(|file| Outside::File(file)).collect()
                }
                _ => vec![],
            },
            JobKind::Merge { .. } | JobKind::Pack { .. } | JobKind::Quantize { .. } => vec![],
        }
    }
}
