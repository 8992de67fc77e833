//! The one thing this crate asks of a model: log-likelihoods of the last tokens of a sequence. `fake` holds honest stand-ins.

use std::error::Error;

/// A sequence whose last `scored` tokens are to be predicted.
///
/// The model's input is [`Request::input`], all tokens but the last; it is never longer than the scorer's `max_length`. The logits
/// at the last `scored` input positions predict the last `scored` tokens. `1 <= scored < tokens.len()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Context and continuation, already truncated on the left.
    pub tokens: Vec<u32>,
    pub scored: usize,
}

impl Request {
    /// What goes into the model.
    pub fn input(&self) -> &[u32] {
        self.tokens.get(..self.tokens.len().saturating_sub(1)).unwrap_or_default()
    }

    /// What the last `scored` logits are compared with.
    pub fn targets(&self) -> &[u32] {
        self.tokens.get(self.tokens.len().saturating_sub(self.scored)..).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum of the natural-log probabilities of the targets. Take the log-softmax in f32 or better: in bf16 choices tie.
    pub log_likelihood: f64,
    /// Every target is its position's argmax (first maximum).
    pub greedy: bool,
}

/// A model's failure to score, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScorerError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ScorerError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    pub fn caused_by(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

pub trait Scorer {
    /// The longest input, in tokens, that the model takes.
    fn max_length(&self) -> usize;

    /// One score per request, in order. A batch comes sorted by length, longest first, so padding on the right is cheap.
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError>;
}

/// Which requests of a batch can share a forward pass. The letters of one question differ only in their last token, which is not
/// part of the input, so one row of the model answers all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Positions of the requests whose inputs are the rows, ascending.
    pub distinct: Vec<usize>,
    /// For each request, its row (an index into `distinct`).
    pub row_of: Vec<usize>,
}

impl Rows {
    /// Equal inputs are found among neighbours only; the batches of this crate keep a question's choices together.
    pub fn of(requests: &[Request]) -> Self {
        let mut rows = Self { distinct: Vec::new(), row_of: Vec::with_capacity(requests.len()) };
        let mut previous: Option<&[u32]> = None;
        for (index, request) in requests.iter().enumerate() {
            if previous != Some(request.input()) {
                rows.distinct.push(index);
                previous = Some(request.input());
            }
            rows.row_of.push(rows.distinct.len() - 1);
        }
        rows
    }
}
