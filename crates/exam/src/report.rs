//! What an exam leaves behind: the scores with what is needed to judge them, every question's row, and the identity of the files.

use serde::{Deserialize, Serialize};

use crate::source::FileDigest;
use crate::spec::{ExamFormat, LimitMode, Protocol};

/// Names the prompts, token rules and metrics. Reports of different versions are not comparable.
pub const RULES_VERSION: &str = "osler-exam/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExamReport {
    /// The spec's name.
    pub task: String,
    pub format: ExamFormat,
    pub protocol: Protocol,
    pub shots: usize,
    /// Questions (or documents) scored, and how many there were before the limit.
    pub n: usize,
    pub available: usize,
    pub limit: Option<usize>,
    pub limit_mode: LimitMode,
    /// Seed of the demonstrations' draw; of no effect at 0 shots and for MMLU.
    pub seed: u64,
    pub rules: String,
    /// The longest model input, in tokens.
    pub max_length: usize,
    pub files: Vec<FileDigest>,
    /// sha256 of tokenizer.json, where the tokenizer came from a folder.
    pub tokenizer_sha256: Option<String>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    Choice(ChoiceScores),
    Perplexity(PerplexityScores),
}

/// Shares are of `n`, between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScores {
    /// By the protocol's own rule: letter compares log-likelihoods, cloze log-likelihoods per character.
    pub accuracy: f64,
    /// Of `accuracy`: sqrt(p (1 - p) / (n - 1)), pooled over MMLU's subjects. None where n is 1.
    pub stderr: Option<f64>,
    /// By log-likelihood (the reference's `acc`).
    pub accuracy_raw: f64,
    /// By log-likelihood per character of the choice (`acc_norm`), and per UTF-8 byte (`acc_bytes`).
    pub accuracy_norm: f64,
    pub accuracy_bytes: f64,
    /// What always giving the most frequent right answer would score, and that answer (a letter, or the label itself).
    pub majority_baseline: f64,
    pub majority_answer: String,
    /// Questions with a choice whose prompt lost tokens on the left.
    pub truncated: usize,
    /// Questions whose right continuation the model would itself have written.
    pub greedy: usize,
    /// MMLU with its subjects; empty otherwise.
    pub subjects: Vec<SubjectScores>,
    pub questions: Vec<QuestionResult>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubjectScores {
    pub subject: String,
    /// Questions scored, and how many there were before the limit.
    pub n: usize,
    pub available: usize,
    pub accuracy: f64,
    pub stderr: Option<f64>,
    pub accuracy_raw: f64,
    pub accuracy_norm: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionResult {
    pub id: String,
    /// Position within its task (MMLU: subject) in the file, from 0.
    pub doc_id: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// One per choice, natural log.
    pub log_likelihoods: Vec<f64>,
    pub greedy: Vec<bool>,
    /// By the protocol's rule, by log-likelihood, per character, per byte: positions of choices.
    pub prediction: usize,
    pub prediction_raw: usize,
    pub prediction_norm: usize,
    pub prediction_bytes: usize,
    pub gold: usize,
    /// Before truncation, BOS included.
    pub context_tokens: usize,
    pub truncated: bool,
}

/// All sums run over all documents; perplexities are exp of a mean negative log-likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerplexityScores {
    pub log_likelihood: f64,
    pub token_perplexity: f64,
    pub word_perplexity: f64,
    pub byte_perplexity: f64,
    /// The only one of these that models with different vocabularies may be compared by.
    pub bits_per_byte: f64,
    pub tokens: u64,
    /// Words as the reference counts them: runs of whitespace plus one.
    pub words: u64,
    pub bytes: u64,
    pub documents: Vec<DocumentResult>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentResult {
    pub id: String,
    pub log_likelihood: f64,
    pub tokens: u64,
    pub words: u64,
    pub bytes: u64,
}

impl ExamReport {
    /// The scores of a multiple-choice exam.
    pub fn choice(&self) -> Option<&ChoiceScores> {
        match &self.outcome {
            Outcome::Choice(scores) => Some(scores),
            Outcome::Perplexity(_) => None,
        }
    }

    /// The scores of a perplexity exam.
    pub fn perplexity(&self) -> Option<&PerplexityScores> {
        match &self.outcome {
            Outcome::Perplexity(scores) => Some(scores),
            Outcome::Choice(_) => None,
        }
    }
}
