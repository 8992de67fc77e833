//! Benchmarks: exam files become prompts, a model's log-likelihoods become scores that can be compared.
//!
//! The path is `ExamSpec -> load -> Exam -> run(tokenizer, scorer) -> ExamReport`, then `paired`, `compare_golden` or the
//! writers of `lm_eval`. The rules are those of lm-evaluation-harness: the same prompts, the same token boundaries, the same
//! truncation, the same metrics. This crate knows no tensors: whoever has a model implements [`Scorer`].
#![forbid(unsafe_code)]

mod batch;
mod encode;
mod error;
mod exam;
pub mod fake;
mod formats;
mod golden;
pub mod lm_eval;
mod of_run;
mod prompt;
mod python_random;
mod python_text;
mod report;
mod run;
mod scorer;
mod shots;
mod source;
mod spec;
mod stats;
mod tokenizer;

pub use error::ExamError;
pub use exam::{Content, Document, Exam, Question, load};
pub use golden::{GoldenDiff, compare_golden, write_golden};
pub use report::{ChoiceScores, DocumentResult, ExamReport, Outcome, PerplexityScores, QuestionResult, RULES_VERSION, SubjectScores};
pub use run::{RunOptions, run};
pub use scorer::{Request, Rows, Score, Scorer, ScorerError};
pub use source::{FileDigest, FileRole};
pub use spec::{ExamFormat, ExamSpec, LimitMode, MAX_SHOTS, Protocol};
pub use stats::{Paired, mcnemar_exact_p, paired, pooled_stderr, proportion_stderr};
pub use tokenizer::ExamTokenizer;
