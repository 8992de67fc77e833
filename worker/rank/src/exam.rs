//! One exam of one variant of a stage's model. Knows how to make a [`Scorer`] of our models, and what a report tells the run.

use crate::model::failure;
use anyhow::{Context as _, anyhow};
use osler_compress::open_quantized;
use osler_core::ids::{ExamName, StageName};
use osler_core::job::{ExamSummary, JobKind, JobResult, PairedSummary, Summary};
use osler_core::plan::exam_key;
use osler_core::process::Progress;
use osler_core::spec::{ExamFormat, ExamSpec, Method, Protocol, Variant};
use osler_engine::models::Model;
use osler_engine::score::LogLikelihoods;
use osler_engine::{Device, score};
use osler_exam::{Exam, ExamError, ExamReport, ExamTokenizer, Request, RunOptions, Score, Scorer, ScorerError};
use osler_worker::harness::{Failure, Job, user};
use osler_worker::jobs::{COMPRESSED_FOLDER, COMPRESSED_GGUF};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const REPORT: &str = "report.json";
const SAMPLES: &str = "samples.jsonl";
/// Of a corpus' merge job.
const HELD_OUT: &str = "held-out.jsonl";

pub fn run(job: &mut Job, stage: &StageName, variant: Variant, name: &ExamName) -> Result<JobResult, Failure> {
    job.say("loading");
    let spec = job.assignment.spec.exam(name).with_context(|| format!("the run file has no exam {name}"))?.clone();
    let exported = job.fetch_folder(job.input(&JobKind::Export { stage: stage.clone() })?, "")?;
    let model = match variant {
        Variant::Full => Model::from_folder(&exported, Device::Cpu).map_err(failure)?,
        Variant::Quantized(method) => load_quantized(&compressed(job, stage, method)?)?,
    };
    let tokenizer = ExamTokenizer::from_folder(&exported).map_err(user)?;
    let mut exam = osler_exam::load(&task(job, &spec)?).map_err(exam_failure)?;
    if let Some(corpus) = &spec.corpus {
        // By its corpus, not by where this attempt has it: whoever makes the report again writes the same.
        exam.digests.iter_mut().for_each(|file| file.file = format!("corpus {corpus}, {HELD_OUT}"));
    }
    let report = sit(&exam, &tokenizer, &model, &mut |done, total| {
        job.progress(Progress {
            phase: "scoring".into(),
            done: done as u64,
            total: total as u64,
            unit: "requests".into(),
            ..Progress::default()
        });
    })?;
    let full = match variant {
        Variant::Full => None,
        Variant::Quantized(_) => Some(full_report(job, stage, name)?),
    };
    let summary = summarise(&report, full.as_ref(), name, variant, spec.protocol)?;
    let outputs = write(job, &exam, &report)?;
    Ok(JobResult { outputs, summary: Summary::Exam(summary) })
}

/// Holds the exam with this model.
pub fn sit(exam: &Exam, tokenizer: &ExamTokenizer, model: &Model, progress: &mut dyn FnMut(usize, usize)) -> Result<ExamReport, Failure> {
    let mut scorer = EngineScorer { model, engine: LogLikelihoods::new(model) };
    osler_exam::run(exam, tokenizer, &mut scorer, &RunOptions::default(), progress).map_err(exam_failure)
}

/// A model from a compressed-tensors folder or a GGUF file: examined with the values that its users compute with.
pub fn load_quantized(path: &Path) -> Result<Model, Failure> {
    let compressed = open_quantized(path).map_err(user)?;
    let config = compressed.config().to_string();
    Model::from_named(&config, &mut |name| Ok(compressed.tensor(name)?)).map_err(failure)
}

fn compressed(job: &Job, stage: &StageName, method: Method) -> anyhow::Result<PathBuf> {
    let made = job.input(&JobKind::Quantize { stage: stage.clone(), method })?;
    match method {
        Method::Int8 => job.fetch_folder(made, COMPRESSED_FOLDER),
        Method::GgufQ8_0 => job.fetch(made, COMPRESSED_GGUF),
    }
}

/// The exam crate's own description of the run file's exam.
fn task(job: &Job, spec: &ExamSpec) -> Result<osler_exam::ExamSpec, Failure> {
    let files = match (&spec.format, &spec.corpus) {
        (ExamFormat::HeldOut, Some(corpus)) => {
            let merged = job.input(&JobKind::Merge { corpus: corpus.clone() })?;
            // The exam crate goes by the file's ending, and the fetched object's name is the store's.
            let link = job.scratch.join(HELD_OUT);
            job.link(merged, HELD_OUT, &link)?;
            vec![link]
        }
        _ => spec.files.iter().map(PathBuf::from).collect(),
    };
    Ok(osler_exam::ExamSpec::of_run(spec, files))
}

fn full_report(job: &Job, stage: &StageName, exam: &ExamName) -> anyhow::Result<ExamReport> {
    let result = job.input_of(&exam_key(stage, Variant::Full, exam))?;
    let bytes = fs::read(job.fetch(result, REPORT)?).context("read the full model's exam report")?;
    serde_json::from_slice(&bytes).context("read the full model's exam report")
}

fn summarise(
    report: &ExamReport,
    full: Option<&ExamReport>,
    task: &ExamName,
    variant: Variant,
    protocol: Protocol,
) -> Result<ExamSummary, Failure> {
    let (choice, perplexity) = (report.choice(), report.perplexity());
    let percent = |share: f64| share * 100.0;
    let paired = match (full, choice) {
        (Some(full), Some(_)) => {
            let p = osler_exam::paired(full, report).map_err(exam_failure)?;
            Some(PairedSummary {
                n: p.n as u64,
                delta: percent(p.delta),
                ci95: (percent(p.ci95[0]), percent(p.ci95[1])),
                mcnemar_p: p.mcnemar_exact_p,
                gained: p.b_only as u64,
                lost: p.a_only as u64,
            })
        }
        _ => None,
    };
    let full_perplexity = full.and_then(ExamReport::perplexity);
    Ok(ExamSummary {
        task: task.clone(),
        variant,
        protocol: if perplexity.is_some() { "held-out".to_owned() } else { protocol.to_string() },
        n: report.n as u64,
        accuracy: choice.map(|c| percent(c.accuracy)),
        stderr: choice.and_then(|c| c.stderr).map(percent),
        majority_baseline: choice.map(|c| percent(c.majority_baseline)),
        truncated: choice.map_or(0, |c| c.truncated as u64),
        perplexity: perplexity.map(|p| p.token_perplexity),
        bits_per_byte: perplexity.map(|p| p.bits_per_byte),
        perplexity_increase: perplexity.zip(full_perplexity).map(|(own, full)| own.token_perplexity / full.token_perplexity - 1.0),
        paired,
    })
}

fn write(job: &Job, exam: &Exam, report: &ExamReport) -> Result<BTreeMap<String, osler_core::checkpoint::ObjectRef>, Failure> {
    let (report_file, samples_file) = (job.scratch.join(REPORT), job.scratch.join(SAMPLES));
    fs::write(&report_file, serde_json::to_vec(report).context("write exam report")?).context("write exam report")?;
    let mut outputs = BTreeMap::from([(REPORT.to_owned(), job.publish(&report_file, REPORT)?)]);
    if report.choice().is_some() {
        write_samples(exam, report, &samples_file)?;
        outputs.insert(SAMPLES.to_owned(), job.publish(&samples_file, SAMPLES)?);
    }
    Ok(outputs)
}

/// Every question as lm-evaluation-harness logs it.
pub fn write_samples(exam: &Exam, report: &ExamReport, path: &Path) -> Result<(), Failure> {
    let mut out = fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    osler_exam::lm_eval::write_samples(exam, report, None, &mut out).map_err(exam_failure)
}

fn exam_failure(error: ExamError) -> Failure {
    match error {
        ExamError::Read { .. } | ExamError::Write { .. } => error.into(),
        other => user(other),
    }
}

/// Our engine as an exam's scorer.
struct EngineScorer<'m> {
    model: &'m Model,
    engine: LogLikelihoods<'m>,
}

impl Scorer for EngineScorer<'_> {
    fn max_length(&self) -> usize {
        self.model.spec().max_positions as usize
    }

    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
        let requests: Vec<_> = requests.iter().map(|r| score::Request { tokens: &r.tokens, scored: r.scored }).collect();
        let scored = self.engine.score(&requests).map_err(|e| ScorerError::caused_by("the model cannot score a batch", anyhow!(e)))?;
        Ok(scored.into_iter().map(|s| Score { log_likelihood: s.sum, greedy: s.greedy }).collect())
    }
}
