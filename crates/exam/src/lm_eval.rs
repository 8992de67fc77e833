//! Result files in lm-evaluation-harness's schema, so that tools made for it can compare our runs with others'.
//!
//! Tasks are keyed by the exam's name (MMLU: a group of `{name}_{subject}` tasks): call an exam `medmcqa` and it lines up with theirs.
//! Dates and durations are arguments. `doc_hash` is over our record, whose keys are sorted, so it differs from theirs.

use osler_core::json;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::error::ExamError;
use crate::exam::{Content, Exam, Question};
use crate::report::{ChoiceScores, ExamReport, Outcome, QuestionResult};
use crate::source::sha256_hex;
use crate::spec::{ExamFormat, Protocol};
use crate::stats::{pooled_stderr, proportion_stderr};
use crate::tokenizer::ExamTokenizer;

/// What the results file says about the run and this crate cannot know.
#[derive(Debug, Clone, PartialEq)]
pub struct RunMeta {
    pub model: String,
    pub model_args: String,
    pub model_num_parameters: Option<u64>,
    /// For example "torch.float32".
    pub model_dtype: String,
    pub batch_size: String,
    pub device: String,
    pub git_hash: Option<String>,
    /// Unix seconds.
    pub date: f64,
    pub total_evaluation_time_seconds: f64,
}

/// `results_{date}.json`, `date` in ISO 8601.
pub fn results_file_name(date: &str) -> String {
    format!("results_{}.json", date.replace(':', "-"))
}

/// `samples_{task}_{date}.jsonl`, `date` in ISO 8601.
pub fn samples_file_name(task: &str, date: &str) -> String {
    format!("samples_{task}_{}.jsonl", date.replace(':', "-"))
}

/// The tasks of a report, each with its subject: one, or one per MMLU subject.
pub fn tasks(report: &ExamReport) -> Vec<(String, Option<String>)> {
    match report.choice() {
        Some(scores) if !scores.subjects.is_empty() => {
            let task = |subject: &String| (format!("{}_{subject}", report.task), Some(subject.clone()));
            scores.subjects.iter().map(|s| task(&s.subject)).collect()
        }
        _ => vec![(report.task.clone(), None)],
    }
}

/// The results file of one model's reports. Two reports of one name are refused: one would hide the other.
pub fn results(reports: &[&ExamReport], tokenizer: &ExamTokenizer, meta: &RunMeta) -> Result<Value, ExamError> {
    let mut sections = Sections::default();
    for report in reports {
        if sections.group_subtasks.contains_key(&report.task) {
            let message = "two reports of one name; name the exams differently".to_owned();
            return Err(ExamError::Mismatch { a: report.task.clone(), b: report.task.clone(), message });
        }
        sections.add(report);
    }
    let token = |id: Option<u32>| json!([id.and_then(|id| tokenizer.token(id)), id.map_or("None".into(), |id| id.to_string())]);
    let limit = reports.iter().find_map(|r| r.limit);
    let max_length = reports.iter().map(|r| r.max_length).max();
    Ok(json!({
        "results": sections.results,
        "groups": sections.groups,
        "group_subtasks": sections.group_subtasks,
        "configs": sections.configs,
        "versions": sections.versions,
        "n-shot": sections.n_shot,
        "higher_is_better": sections.higher_is_better,
        "n-samples": sections.n_samples,
        "config": {
            "model": meta.model, "model_args": meta.model_args, "model_num_parameters": meta.model_num_parameters,
            "model_dtype": meta.model_dtype, "batch_size": meta.batch_size, "device": meta.device, "limit": limit,
            "bootstrap_iters": 0, "gen_kwargs": null, "random_seed": 0, "numpy_seed": 1234, "torch_seed": 1234,
            "fewshot_seed": reports.first().map(|r| r.seed),
        },
        "git_hash": meta.git_hash,
        "date": meta.date,
        "tokenizer_pad_token": token(None),
        "tokenizer_eos_token": token(tokenizer.eos()),
        "tokenizer_bos_token": token(tokenizer.bos()),
        "eot_token_id": tokenizer.eos(),
        "max_length": max_length,
        "task_hashes": {},
        "total_evaluation_time_seconds": meta.total_evaluation_time_seconds.to_string(),
    }))
}

#[derive(Default)]
struct Sections {
    results: Map<String, Value>,
    groups: Map<String, Value>,
    group_subtasks: Map<String, Value>,
    configs: Map<String, Value>,
    versions: Map<String, Value>,
    n_shot: Map<String, Value>,
    higher_is_better: Map<String, Value>,
    n_samples: Map<String, Value>,
}

impl Sections {
    fn add(&mut self, report: &ExamReport) {
        let tasks = tasks(report);
        let scores = report.choice();
        let subjects = scores.map(|s| s.subjects.as_slice()).unwrap_or_default();
        if subjects.is_empty() {
            let mut metrics = Metrics::new(&report.task);
            match &report.outcome {
                Outcome::Choice(scores) => {
                    metrics.put("acc", scores.accuracy_raw, proportion_stderr(scores.accuracy_raw, report.n));
                    if has_norm(report) {
                        metrics.put("acc_norm", scores.accuracy_norm, proportion_stderr(scores.accuracy_norm, report.n));
                    }
                }
                Outcome::Perplexity(scores) => {
                    metrics.put("word_perplexity", scores.word_perplexity, None);
                    metrics.put("byte_perplexity", scores.byte_perplexity, None);
                    metrics.put("bits_per_byte", scores.bits_per_byte, None);
                }
            }
            self.results.insert(report.task.clone(), metrics.0);
            self.group_subtasks.insert(report.task.clone(), json!([]));
            self.task(report, &report.task, report.available, report.n);
            return;
        }
        for ((task, _), subject) in tasks.iter().zip(subjects) {
            let mut metrics = Metrics::new(task);
            metrics.put("acc", subject.accuracy_raw, proportion_stderr(subject.accuracy_raw, subject.n));
            if has_norm(report) {
                metrics.put("acc_norm", subject.accuracy_norm, proportion_stderr(subject.accuracy_norm, subject.n));
            }
            self.results.insert(task.clone(), metrics.0);
            self.task(report, task, subject.available, subject.n);
        }
        if let Some(scores) = scores {
            let group = group(report, scores);
            self.results.insert(report.task.clone(), group.clone());
            self.groups.insert(report.task.clone(), group);
        }
        self.group_subtasks.insert(report.task.clone(), tasks.iter().map(|(task, _)| json!(task)).collect());
        self.higher_is_better.insert(report.task.clone(), direction(report));
        self.versions.insert(report.task.clone(), json!(report.rules));
    }

    fn task(&mut self, report: &ExamReport, task: &str, original: usize, effective: usize) {
        let output = if report.choice().is_some() { "multiple_choice" } else { "loglikelihood_rolling" };
        let config = json!({
            "task": task, "output_type": output, "num_fewshot": report.shots, "target_delimiter": " ", "fewshot_delimiter": "\n\n",
            "metadata": { "version": report.rules, "protocol": report.protocol, "limit_mode": report.limit_mode },
        });
        self.configs.insert(task.to_owned(), config);
        self.versions.insert(task.to_owned(), json!(report.rules));
        self.n_shot.insert(task.to_owned(), json!(report.shots));
        self.higher_is_better.insert(task.to_owned(), direction(report));
        self.n_samples.insert(task.to_owned(), json!({ "original": original, "effective": effective }));
    }
}

fn group(report: &ExamReport, scores: &ChoiceScores) -> Value {
    let pooled = |accuracy: fn(&crate::report::SubjectScores) -> f64| {
        pooled_stderr(&scores.subjects.iter().map(|s| (s.n, proportion_stderr(accuracy(s), s.n))).collect::<Vec<_>>())
    };
    let mut metrics = Metrics::new(&report.task);
    metrics.put("acc", scores.accuracy_raw, pooled(|s| s.accuracy_raw));
    if has_norm(report) {
        metrics.put("acc_norm", scores.accuracy_norm, pooled(|s| s.accuracy_norm));
    }
    metrics.0
}

/// Whether the reference reports `acc_norm` too.
fn has_norm(report: &ExamReport) -> bool {
    report.protocol == Protocol::Cloze || matches!(report.format, ExamFormat::MedMcqa | ExamFormat::MedQa)
}

fn direction(report: &ExamReport) -> Value {
    match (&report.outcome, has_norm(report)) {
        (Outcome::Perplexity(_), _) => json!({ "word_perplexity": false, "byte_perplexity": false, "bits_per_byte": false }),
        (_, true) => json!({ "acc": true, "acc_norm": true }),
        (_, false) => json!({ "acc": true }),
    }
}

/// A task's entry under `results`: `"acc,none"` and `"acc_stderr,none"`, "N/A" where there is no error.
struct Metrics(Value);

impl Metrics {
    fn new(alias: &str) -> Self {
        Self(json!({ "alias": alias }))
    }

    fn put(&mut self, name: &str, value: f64, stderr: Option<f64>) {
        if let Value::Object(map) = &mut self.0 {
            map.insert(format!("{name},none"), json!(value));
            map.insert(format!("{name}_stderr,none"), stderr.map_or(json!("N/A"), |s| json!(s)));
        }
    }
}

/// The sample lines of a multiple-choice report, those of `subject` if given. The exam must be the one that the report is of.
pub fn write_samples(exam: &Exam, report: &ExamReport, subject: Option<&str>, out: &mut dyn Write) -> Result<(), ExamError> {
    let mismatch = |message: &str| {
        let (a, b) = (exam.spec.name.clone(), report.task.clone());
        ExamError::Mismatch { a, b, message: message.into() }
    };
    let (Content::Questions(questions), Some(scores)) = (&exam.content, report.choice()) else {
        return Err(mismatch("only multiple-choice exams have samples"));
    };
    if questions.len() != scores.questions.len() {
        return Err(mismatch("the report is of another number of questions"));
    }
    for (question, row) in questions.iter().zip(&scores.questions) {
        if question.id != row.id {
            return Err(mismatch("the report is of other questions"));
        }
        if subject.is_none() || question.subject.as_deref() == subject {
            let line = sample(report, question, row);
            writeln!(out, "{line}").map_err(|source| ExamError::Write { what: "samples", source })?;
        }
    }
    Ok(())
}

fn sample(report: &ExamReport, question: &Question, row: &QuestionResult) -> Value {
    // The reference writes its numbers as Python prints them.
    let python = |greedy: bool| if greedy { "True" } else { "False" };
    let answers: Vec<Value> =
        row.log_likelihoods.iter().zip(&row.greedy).map(|(ll, greedy)| json!([format!("{ll:?}"), python(*greedy)])).collect();
    let arguments: Map<String, Value> = question
        .choices
        .iter()
        .enumerate()
        .map(|(i, choice)| (format!("gen_args_{i}"), json!({ "arg_0": question.prompt, "arg_1": Question::continuation(choice) })))
        .collect();
    let target = match (report.format, question.choices.get(question.gold)) {
        (ExamFormat::PubMedQa, Some(label)) => label.clone(),
        _ => question.gold.to_string(),
    };
    let right = |prediction: usize| f64::from(u8::from(prediction == row.gold));
    let doc = json::pretty(&question.doc);
    let mut line = json!({
        "doc_id": row.doc_id, "doc": question.doc, "target": target, "arguments": arguments,
        "resps": answers.iter().map(|a| json!([a])).collect::<Vec<_>>(), "filtered_resps": answers, "filter": "none",
        "metrics": ["acc"], "doc_hash": sha256_hex(doc.as_bytes()), "prompt_hash": sha256_hex(question.prompt.as_bytes()),
        "target_hash": sha256_hex(target.as_bytes()), "acc": right(row.prediction_raw),
    });
    if let Value::Object(map) = &mut line
        && has_norm(report)
    {
        map.insert("metrics".into(), json!(["acc", "acc_norm"]));
        map.insert("acc_norm".into(), json!(right(row.prediction_norm)));
    }
    line
}
