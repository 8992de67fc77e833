//! Sitting the exam: every question becomes requests, the scorer answers them, the answers become a report.

use std::collections::BTreeMap;

use crate::batch::score_all;
use crate::encode::{Context, request, rolling};
use crate::error::ExamError;
use crate::exam::{Content, Document, Exam, Question};
use crate::python_text::count_words;
use crate::report::{ChoiceScores, DocumentResult, ExamReport, Outcome, PerplexityScores, QuestionResult, RULES_VERSION, SubjectScores};
use crate::scorer::{Request, Score, Scorer};
use crate::spec::{ExamFormat, Protocol};
use crate::stats::{pooled_stderr, proportion_stderr};
use crate::tokenizer::ExamTokenizer;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOptions {
    /// Padded input tokens of a batch, at most; a single longer request still goes, alone.
    pub max_batch_tokens: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { max_batch_tokens: 8192 }
    }
}

/// Examines a model. `progress(done, total)` counts requests: choices of questions, or windows of text.
pub fn run(
    exam: &Exam,
    tokenizer: &ExamTokenizer,
    scorer: &mut dyn Scorer,
    options: &RunOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<ExamReport, ExamError> {
    let max_length = scorer.max_length();
    if max_length == 0 {
        return Err(ExamError::Contract { message: "max_length is 0".into() });
    }
    if exam.is_empty() {
        return Err(ExamError::NoQuestions { exam: exam.spec.name.clone(), message: "nothing to score".into() });
    }
    let outcome = match &exam.content {
        Content::Questions(questions) => {
            let (requests, notes) = ask(questions, tokenizer, max_length)?;
            let scores = score_all(scorer, requests, options.max_batch_tokens, progress)?;
            Outcome::Choice(mark(exam, questions, &scores, &notes))
        }
        Content::Documents(documents) => {
            let (requests, windows) = walk(documents, tokenizer, max_length)?;
            let scores = score_all(scorer, requests, options.max_batch_tokens, progress)?;
            Outcome::Perplexity(measure(documents, &scores, &windows))
        }
    };
    let spec = &exam.spec;
    Ok(ExamReport {
        task: spec.name.clone(),
        format: spec.format,
        protocol: spec.effective_protocol(),
        shots: spec.shots,
        n: exam.len(),
        available: exam.available,
        limit: spec.limit,
        limit_mode: spec.limit_mode,
        seed: spec.seed,
        rules: RULES_VERSION.into(),
        max_length,
        files: exam.digests.clone(),
        tokenizer_sha256: tokenizer.digest().map(str::to_owned),
        outcome,
    })
}

/// What is known of a question before it is scored.
struct Note {
    context_tokens: usize,
    truncated: bool,
}

fn ask(questions: &[Question], tokenizer: &ExamTokenizer, max: usize) -> Result<(Vec<Request>, Vec<Note>), ExamError> {
    let (mut requests, mut notes) = (Vec::new(), Vec::with_capacity(questions.len()));
    for question in questions {
        let context = Context::new(tokenizer, &question.prompt)?;
        // An empty prompt is scored after the model's prefix token.
        let mut note = Note { context_tokens: context.tokens.len().max(1), truncated: false };
        for (choice, text) in question.choices.iter().enumerate() {
            let (tokens, continuation) = context.pair(tokenizer, &Question::continuation(text))?;
            let fail = |message| ExamError::Encode { id: question.id.clone(), choice, message };
            let (request, truncated) = request(tokens, &continuation, max).map_err(fail)?;
            note.truncated |= truncated;
            requests.push(request);
        }
        notes.push(note);
    }
    Ok((requests, notes))
}

fn mark(exam: &Exam, questions: &[Question], scores: &[Score], notes: &[Note]) -> ChoiceScores {
    let mut rest = scores;
    let mut rows = Vec::with_capacity(questions.len());
    for (question, note) in questions.iter().zip(notes) {
        let (scores, after) = rest.split_at(question.choices.len().min(rest.len()));
        rest = after;
        rows.push(row(exam.spec.protocol, question, scores, note));
    }
    let subjects = subjects(&rows, &exam.available_by_subject);
    let stderr = if subjects.is_empty() {
        proportion_stderr(share(&rows, |r| r.prediction), rows.len())
    } else {
        pooled_stderr(&subjects.iter().map(|s| (s.n, s.stderr)).collect::<Vec<_>>())
    };
    let (majority_baseline, majority_answer) = majority(exam.spec.format, questions);
    ChoiceScores {
        accuracy: share(&rows, |r| r.prediction),
        stderr,
        accuracy_raw: share(&rows, |r| r.prediction_raw),
        accuracy_norm: share(&rows, |r| r.prediction_norm),
        accuracy_bytes: share(&rows, |r| r.prediction_bytes),
        majority_baseline,
        majority_answer,
        truncated: rows.iter().filter(|r| r.truncated).count(),
        greedy: rows.iter().filter(|r| r.greedy.get(r.gold) == Some(&true)).count(),
        subjects,
        questions: rows,
    }
}

fn row(protocol: Protocol, question: &Question, scores: &[Score], note: &Note) -> QuestionResult {
    let per = |length: fn(&str) -> usize| {
        let shares = scores.iter().zip(&question.choices).map(|(s, c)| s.log_likelihood / length(c).max(1) as f64);
        first_max(shares)
    };
    let prediction_raw = first_max(scores.iter().map(|s| s.log_likelihood));
    let prediction_norm = per(|choice| choice.chars().count());
    QuestionResult {
        id: question.id.clone(),
        doc_id: question.doc_id,
        subject: question.subject.clone(),
        log_likelihoods: scores.iter().map(|s| s.log_likelihood).collect(),
        greedy: scores.iter().map(|s| s.greedy).collect(),
        prediction: if protocol == Protocol::Cloze { prediction_norm } else { prediction_raw },
        prediction_raw,
        prediction_norm,
        prediction_bytes: per(str::len),
        gold: question.gold,
        context_tokens: note.context_tokens,
        truncated: note.truncated,
    }
}

/// Position of the largest value; the first of equals, as numpy's argmax.
fn first_max(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

fn share(rows: &[QuestionResult], prediction: fn(&QuestionResult) -> usize) -> f64 {
    rows.iter().filter(|r| prediction(r) == r.gold).count() as f64 / rows.len().max(1) as f64
}

fn subjects(rows: &[QuestionResult], available: &BTreeMap<String, usize>) -> Vec<SubjectScores> {
    let of_subject = rows.chunk_by(|a, b| a.subject == b.subject);
    let scores = of_subject.filter_map(|rows| {
        let accuracy = share(rows, |r| r.prediction);
        let subject = rows.first()?.subject.clone()?;
        Some(SubjectScores {
            available: available.get(&subject).copied().unwrap_or(rows.len()),
            subject,
            n: rows.len(),
            accuracy,
            stderr: proportion_stderr(accuracy, rows.len()),
            accuracy_raw: share(rows, |r| r.prediction_raw),
            accuracy_norm: share(rows, |r| r.prediction_norm),
        })
    });
    scores.collect()
}

/// The share of the most frequent right answer and its name: the label for PubMedQA, the position's letter otherwise.
fn majority(format: ExamFormat, questions: &[Question]) -> (f64, String) {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for question in questions {
        *counts.entry(question.gold).or_default() += 1;
    }
    let (mut gold, mut most) = (0, 0);
    for (position, count) in counts {
        if count > most {
            (gold, most) = (position, count);
        }
    }
    let label = if format == ExamFormat::PubMedQa {
        questions.first().and_then(|q| q.choices.get(gold)).cloned()
    } else {
        ["A", "B", "C", "D"].get(gold).map(|letter| (*letter).to_owned())
    };
    (most as f64 / questions.len().max(1) as f64, label.unwrap_or_default())
}

/// Requests of all documents, and for each document its number of windows and of tokens.
type Walk = (Vec<Request>, Vec<(usize, u64)>);

fn walk(documents: &[Document], tokenizer: &ExamTokenizer, max_length: usize) -> Result<Walk, ExamError> {
    let prefix = tokenizer.prefix()?;
    let (mut requests, mut windows) = (Vec::new(), Vec::with_capacity(documents.len()));
    for document in documents {
        let tokens = tokenizer.encode_plain(&document.text)?;
        if tokens.is_empty() {
            let message = "the tokenizer makes no token of this text".to_owned();
            return Err(ExamError::Encode { id: document.id.clone(), choice: 0, message });
        }
        let of_document = rolling(&tokens, prefix, max_length);
        windows.push((of_document.len(), tokens.len() as u64));
        requests.extend(of_document);
    }
    Ok((requests, windows))
}

fn measure(documents: &[Document], scores: &[Score], windows: &[(usize, u64)]) -> PerplexityScores {
    let mut rest = scores;
    let mut rows = Vec::with_capacity(documents.len());
    for (document, (count, tokens)) in documents.iter().zip(windows) {
        let (scores, after) = rest.split_at((*count).min(rest.len()));
        rest = after;
        rows.push(DocumentResult {
            id: document.id.clone(),
            log_likelihood: scores.iter().map(|s| s.log_likelihood).sum(),
            tokens: *tokens,
            words: count_words(&document.text),
            bytes: document.text.len() as u64,
        });
    }
    let log_likelihood: f64 = rows.iter().map(|r| r.log_likelihood).sum();
    let [tokens, words, bytes] =
        [rows.iter().map(|r| r.tokens).sum::<u64>(), rows.iter().map(|r| r.words).sum::<u64>(), rows.iter().map(|r| r.bytes).sum::<u64>()];
    let loss_per = |count: u64| -log_likelihood / count.max(1) as f64;
    PerplexityScores {
        log_likelihood,
        token_perplexity: loss_per(tokens).exp(),
        word_perplexity: loss_per(words).exp(),
        byte_perplexity: loss_per(bytes).exp(),
        bits_per_byte: loss_per(bytes) / std::f64::consts::LN_2,
        tokens,
        words,
        bytes,
        documents: rows,
    }
}
