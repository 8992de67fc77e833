//! `osler exam`: examines any model that Osler can read. The work is `osler-rank`'s, which this process becomes.

use super::Context;
use crate::binaries;
use crate::failure::{Outcome, usage};
use std::ffi::OsString;
use std::path::PathBuf;

/// What a task may be called: its name is its format.
const TASKS: [&str; 5] = ["medmcqa", "medqa", "pubmedqa", "mmlu", "perplexity"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder, a compressed-tensors folder, or a GGUF file.
    model: PathBuf,
    /// An exam and its files; NAME is one of medmcqa, medqa, pubmedqa, mmlu, perplexity. May be repeated.
    #[arg(long = "task", required = true, value_name = "NAME=PATH[,PATH...]", value_parser = task)]
    tasks: Vec<String>,
    /// letter: the model scores A, B, C, D; cloze: it scores each choice's text, normalised by length.
    #[arg(long, default_value = "letter", value_parser = ["letter", "cloze"])]
    protocol: String,
    /// Answered questions before each question.
    #[arg(long, default_value_t = 0)]
    shots: u32,
    /// Where the shots come from. May be repeated.
    #[arg(long = "shots-file", value_name = "PATH")]
    shots_files: Vec<PathBuf>,
    /// At most so many questions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Which questions a limit takes: an even stride over the file, or the first ones.
    #[arg(long, default_value = "stride", value_parser = ["stride", "head"])]
    limit_mode: String,
    /// The folder of the tokenizer, if MODEL's own is not to be used.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Write every question with the log-likelihood of each choice, one JSON line each.
    #[arg(long, value_name = "OUT.jsonl")]
    samples: Option<PathBuf>,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
}

fn task(text: &str) -> Result<String, String> {
    let (name, files) = text.split_once('=').ok_or("expected NAME=PATH, for example medqa=test.jsonl")?;
    if !TASKS.contains(&name) {
        return Err(format!("unknown exam {name:?}: use one of {}", TASKS.join(", ")));
    }
    if files.split(',').any(str::is_empty) {
        return Err("an empty path: separate paths with single commas".to_owned());
    }
    Ok(text.to_owned())
}

pub fn run(args: Args, cx: &Context) -> Outcome {
    let named = args.tasks.iter().filter_map(|task| task.split_once('=')).flat_map(|(_, files)| files.split(',')).map(PathBuf::from);
    let missing: Vec<String> = std::iter::once(args.model.clone())
        .chain(named)
        .chain(args.shots_files.iter().cloned())
        .filter(|path| !path.exists())
        .map(|path| format!("{}: no such file or folder", path.display()))
        .collect();
    if !missing.is_empty() {
        return Err(usage(missing.join("\n")));
    }
    Err(binaries::become_binary(binaries::RANK, arguments(args, cx.terminal().is_json())))
}

fn arguments(args: Args, json: bool) -> Vec<OsString> {
    let mut passed: Vec<OsString> = vec!["exam".into(), args.model.into()];
    let mut flag = |name: &str, value: OsString| passed.extend([name.into(), value]);
    args.tasks.into_iter().for_each(|task| flag("--task", task.into()));
    flag("--protocol", args.protocol.into());
    flag("--shots", args.shots.to_string().into());
    args.shots_files.into_iter().for_each(|file| flag("--shots-file", file.into()));
    if let Some(limit) = args.limit {
        flag("--limit", limit.to_string().into());
    }
    flag("--limit-mode", args.limit_mode.into());
    if let Some(tokenizer) = args.tokenizer {
        flag("--tokenizer", tokenizer.into());
    }
    if let Some(samples) = args.samples {
        flag("--samples", samples.into());
    }
    flag("--threads", args.threads.to_string().into());
    flag("--output", if json { "json" } else { "table" }.into());
    passed
}
