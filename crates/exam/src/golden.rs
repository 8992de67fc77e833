//! Comparing a report with known log-likelihoods, one JSON object a line: `doc_id`, `gold`, `pred` (by log-likelihood), `lls`, and
//! optionally `subject`, `is_greedy`, `ctx_tokens`. Rows are matched by `doc_id`, in MMLU within the subject.

use std::collections::BTreeMap;
use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::error::ExamError;
use crate::report::{ExamReport, QuestionResult};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GoldenLine {
    doc_id: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    gold: usize,
    pred: usize,
    lls: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_greedy: Option<Vec<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctx_tokens: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenDiff {
    /// Golden lines compared; never 0.
    pub n: usize,
    /// Largest difference of any choice's log-likelihood, and the question that has it.
    pub max_abs_delta: f64,
    pub worst: String,
    pub prediction_mismatches: usize,
    pub greedy_mismatches: usize,
    /// Prompts whose number of tokens differs: the tokenizer, not the model, is at fault.
    pub context_mismatches: usize,
}

/// Every golden line must have its row in the report, with the same right answer; the report may have more.
pub fn compare_golden(report: &ExamReport, golden_jsonl: &str) -> Result<GoldenDiff, ExamError> {
    let fail = |line: usize, message: String| ExamError::Golden { line, message };
    let scores = report.choice().ok_or_else(|| fail(0, "the report is not of a multiple-choice exam".into()))?;
    let only_subject = match scores.subjects.as_slice() {
        [one] => Some(one.subject.clone()),
        _ => None,
    };
    let rows: BTreeMap<(Option<&str>, usize), &QuestionResult> =
        scores.questions.iter().map(|row| ((row.subject.as_deref(), row.doc_id), row)).collect();
    if rows.len() != scores.questions.len() {
        return Err(fail(0, "the report has several questions of one doc_id; use one file per report".into()));
    }
    let mut diff = GoldenDiff {
        n: 0,
        max_abs_delta: 0.0,
        worst: String::new(),
        prediction_mismatches: 0,
        greedy_mismatches: 0,
        context_mismatches: 0,
    };
    for (index, text) in golden_jsonl.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = index + 1;
        let golden: GoldenLine = serde_json::from_str(text).map_err(|e| fail(line, e.to_string()))?;
        let subject = golden.subject.as_deref().or(only_subject.as_deref());
        let row = rows.get(&(subject, golden.doc_id)).ok_or_else(|| {
            let hint = if scores.subjects.len() > 1 && subject.is_none() { "; name its `subject`" } else { "" };
            fail(line, format!("doc_id {} is not in the report{hint}", golden.doc_id))
        })?;
        add(&mut diff, row, &golden).map_err(|message| fail(line, message))?;
    }
    if diff.n == 0 { Err(fail(0, "no golden lines".into())) } else { Ok(diff) }
}

fn add(diff: &mut GoldenDiff, row: &QuestionResult, golden: &GoldenLine) -> Result<(), String> {
    if golden.gold != row.gold {
        return Err(format!("right answer {} is {} in the report: other questions", golden.gold, row.gold));
    }
    if golden.lls.len() != row.log_likelihoods.len() {
        return Err(format!("{} choices are {} in the report", golden.lls.len(), row.log_likelihoods.len()));
    }
    for (ours, theirs) in row.log_likelihoods.iter().zip(&golden.lls) {
        let delta = (ours - theirs).abs();
        if diff.worst.is_empty() || delta > diff.max_abs_delta {
            diff.max_abs_delta = delta;
            diff.worst = row.id.clone();
        }
    }
    diff.n += 1;
    diff.prediction_mismatches += usize::from(golden.pred != row.prediction_raw);
    diff.greedy_mismatches += usize::from(golden.is_greedy.as_ref().is_some_and(|greedy| *greedy != row.greedy));
    diff.context_mismatches += usize::from(golden.ctx_tokens.is_some_and(|tokens| tokens != row.context_tokens));
    Ok(())
}

/// Writes a report in the golden form, to compare later ones with.
pub fn write_golden(report: &ExamReport, out: &mut dyn Write) -> Result<(), ExamError> {
    let scores = report.choice().ok_or_else(|| ExamError::Golden { line: 0, message: "not a multiple-choice report".into() })?;
    for row in &scores.questions {
        let line = GoldenLine {
            doc_id: row.doc_id,
            subject: row.subject.clone(),
            gold: row.gold,
            pred: row.prediction_raw,
            lls: row.log_likelihoods.clone(),
            is_greedy: Some(row.greedy.clone()),
            ctx_tokens: Some(row.context_tokens),
        };
        let io = |source| ExamError::Write { what: "golden lines", source };
        serde_json::to_writer(&mut *out, &line).map_err(|e| io(e.into()))?;
        writeln!(out).map_err(io)?;
    }
    Ok(())
}
