//! `osler-rank exam`: examines any model that Osler can read, without a run. The `osler` command passes its arguments on.

use crate::exam::{load_quantized, sit, write_samples};
use crate::model::failure;
use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use osler_compress::gguf::GgufTokenizer;
use osler_core::json;
use osler_core::output::{document, error_document, harmless, printable};
use osler_core::process::exit;
use osler_engine::Device;
use osler_engine::models::Model;
use osler_exam::{ExamFormat, ExamReport, ExamSpec, ExamTokenizer, LimitMode, Protocol};
use osler_worker::harness::{Failure, user};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Limit {
    /// An even stride over the file: right for files that are sorted by label.
    Stride,
    /// The first questions, as lm-evaluation-harness takes them.
    Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder, a compressed-tensors folder, or a GGUF file.
    model: PathBuf,
    /// FORMAT=PATH[,PATH...], FORMAT one of medmcqa, medqa, pubmedqa, mmlu, perplexity. May be repeated.
    #[arg(long = "task", required = true, value_parser = parse_task)]
    tasks: Vec<Task>,
    /// letter: the model scores A, B, C, D; cloze: it scores each option's text, normalised by length.
    #[arg(long, default_value = "letter", value_parser = ["letter", "cloze"])]
    protocol: String,
    #[arg(long, default_value_t = 0)]
    shots: usize,
    #[arg(long = "shots-file")]
    shots_files: Vec<PathBuf>,
    #[arg(long)]
    limit: Option<usize>,
    #[arg(long, value_enum, default_value_t = Limit::Stride)]
    limit_mode: Limit,
    /// The folder of the tokenizer, if MODEL's own is not to be used.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Writes every question with its log-likelihoods, one JSON line each. With one task only.
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Threads; part of the result's last bits.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone)]
struct Task {
    name: String,
    format: ExamFormat,
    files: Vec<PathBuf>,
}

fn parse_task(text: &str) -> Result<Task, String> {
    let (name, files) = text.split_once('=').ok_or("expected FORMAT=PATH, for example medqa=test.jsonl")?;
    let format = match name {
        "medmcqa" => ExamFormat::MedMcqa,
        "medqa" => ExamFormat::MedQa,
        "pubmedqa" => ExamFormat::PubMedQa,
        "mmlu" => ExamFormat::Mmlu,
        "perplexity" => ExamFormat::Perplexity,
        _ => return Err(format!("unknown exam {name:?}: use medmcqa, medqa, pubmedqa, mmlu or perplexity")),
    };
    Ok(Task { name: name.to_owned(), format, files: files.split(',').map(PathBuf::from).collect() })
}

pub fn run(args: &Args) -> i32 {
    match examine(args) {
        Ok(()) => exit::OK,
        Err(Failure { class, error }) => {
            let (kind, code) = if class == osler_core::job::FaultClass::User { ("usage", exit::USAGE) } else { ("failed", exit::FAILED) };
            let message = format!("{error:#}");
            match args.output {
                Format::Json => {
                    eprintln!("{}", harmless(&json::text(&error_document(kind, &message, None, code))))
                }
                Format::Table => eprintln!("error: {}", printable(&message)),
            }
            code
        }
    }
}

fn examine(args: &Args) -> Result<(), Failure> {
    if args.samples.is_some() && args.tasks.len() > 1 {
        return Err(user(anyhow!("--samples holds one exam: give one --task")));
    }
    osler_engine::set_threads(args.threads)?;
    let model = load(&args.model)?;
    let tokenizer = tokenizer(args.tokenizer.as_deref(), &args.model)?;
    let mut reports = vec![];
    for task in &args.tasks {
        let exam = osler_exam::load(&spec(args, task)).map_err(user)?;
        let report = sit(&exam, &tokenizer, &model, &mut |done, total| tracing::debug!(done, total, "scoring"))?;
        if let Some(path) = &args.samples {
            write_samples(&exam, &report, path)?;
        }
        reports.push(report);
    }
    print(args.output, &reports)
}

/// The one that was asked for, else the model's own: a folder's, or the one that a GGUF file carries.
fn tokenizer(asked: Option<&Path>, model: &Path) -> Result<ExamTokenizer, Failure> {
    match asked {
        Some(folder) => ExamTokenizer::from_folder(folder).map_err(user),
        None if model.is_dir() => ExamTokenizer::from_folder(model).map_err(user),
        None => {
            let own = GgufTokenizer::read(model).map_err(user)?;
            ExamTokenizer::from_json(&own.json, own.bos, own.eos, own.adds_bos, &model.display().to_string()).map_err(user)
        }
    }
}

fn load(path: &Path) -> Result<Model, Failure> {
    let config = path.join("config.json");
    let compressed = match std::fs::read_to_string(&config) {
        Ok(text) => serde_json::from_str(&text).is_ok_and(|config: serde_json::Value| !config["quantization_config"].is_null()),
        Err(_) if path.is_dir() => return Err(user(anyhow!("{} is not there: not a Hugging Face folder", config.display()))),
        Err(_) => true,
    };
    if compressed { load_quantized(path) } else { Model::from_folder(path, Device::Cpu).map_err(failure) }
}

fn spec(args: &Args, task: &Task) -> ExamSpec {
    let mut spec = ExamSpec::new(&task.name, task.format, task.files.clone());
    if task.format != ExamFormat::Perplexity {
        spec.protocol = if args.protocol == "cloze" { Protocol::Cloze } else { Protocol::Letter };
        spec.shots = args.shots;
        spec.shots_files.clone_from(&args.shots_files);
    }
    spec.limit = args.limit;
    spec.limit_mode = if args.limit_mode == Limit::Head { LimitMode::Head } else { LimitMode::Stride };
    spec
}

fn print(format: Format, reports: &[ExamReport]) -> Result<(), Failure> {
    if format == Format::Json {
        // One document an exam, in the order in which they were asked for.
        let documents: Vec<_> = reports.iter().map(|report| document("exam", report)).collect();
        println!("{}", harmless(&serde_json::to_string(&documents).context("write the report")?));
        return Ok(());
    }
    for report in reports {
        match (report.choice(), report.perplexity()) {
            (Some(c), _) => {
                let error = c.stderr.map_or_else(|| "n/a".to_owned(), |s| format!("{:.2}", s * 100.0));
                println!(
                    "{}: {:.2} % ± {error} (n {}, always {:?} {:.2} %, {} prompts truncated)",
                    report.task,
                    c.accuracy * 100.0,
                    report.n,
                    c.majority_answer,
                    c.majority_baseline * 100.0,
                    c.truncated
                );
            }
            (None, Some(p)) => {
                println!("{}: perplexity {:.4}, {:.4} bits per byte (n {})", report.task, p.token_perplexity, p.bits_per_byte, report.n)
            }
            (None, None) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_exam::Outcome;

    fn report(outcome: Outcome) -> ExamReport {
        ExamReport {
            task: "medqa".into(),
            format: ExamFormat::MedQa,
            protocol: Protocol::Letter,
            shots: 0,
            n: 1,
            available: 1,
            limit: None,
            limit_mode: LimitMode::Stride,
            seed: 0,
            rules: osler_exam::RULES_VERSION.into(),
            max_length: 8,
            files: vec![],
            tokenizer_sha256: None,
            outcome,
        }
    }

    #[test]
    fn every_field_of_the_document_is_described() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/output.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let section = docs.split("### `exam`").nth(1).and_then(|rest| rest.split("### ").next()).unwrap();
        let choice = serde_json::json!({
            "kind": "choice", "accuracy": 0.5, "stderr": null, "accuracy_raw": 0.5, "accuracy_norm": 0.5, "accuracy_bytes": 0.5,
            "majority_baseline": 0.25, "majority_answer": "A", "truncated": 0, "greedy": 0, "subjects": [], "questions": []
        });
        let perplexity = serde_json::json!({
            "kind": "perplexity", "log_likelihood": -1.0, "token_perplexity": 2.0, "word_perplexity": 2.0, "byte_perplexity": 2.0,
            "bits_per_byte": 1.0, "tokens": 1, "words": 1, "bytes": 1, "documents": []
        });
        for outcome in [choice, perplexity] {
            let outcome: Outcome = serde_json::from_value(outcome).unwrap();
            let document = serde_json::to_value(document("exam", report(outcome))).unwrap();
            assert_eq!(document["schema"], "osler/v1 exam");
            for key in document.as_object().unwrap().keys().filter(|key| *key != "schema") {
                assert!(section.contains(&format!("`{key}`")), "docs/output.md does not describe {key:?} of an exam");
            }
        }
    }
}
