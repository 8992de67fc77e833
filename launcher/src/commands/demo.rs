//! `osler demo`: the quickstart's invented world, written to a folder.

use super::Context;
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::terminal::{Page, Table, name, number};
use osler_demo::{DemoError, Options, Summary, generate};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A new folder, or one that this command wrote.
    dir: PathBuf,
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    #[arg(long, default_value_t = Options::default().diseases)]
    diseases: usize,
    #[arg(long, default_value_t = Options::default().abstracts)]
    abstracts: usize,
    /// Documents of the general corpus.
    #[arg(long, default_value_t = Options::default().general_documents)]
    general: usize,
    /// Questions of each exam.
    #[arg(long, default_value_t = Options::default().questions)]
    questions: usize,
}

pub fn run(args: &Args, cx: &Context) -> Outcome {
    let options = Options {
        seed: args.seed,
        diseases: args.diseases,
        abstracts: args.abstracts,
        general_documents: args.general,
        questions: args.questions,
    };
    let made = generate(&args.dir, &options).map_err(|e| match e {
        DemoError::Io { .. } => failed(e.to_string()),
        _ => usage(e.to_string()),
    })?;
    cx.terminal().answer("demo", &document(&args.dir, &made), || page(&args.dir, &made))
}

pub(super) fn document(dir: &Path, made: &Summary) -> Value {
    let files: Vec<_> = made.files.iter().map(|(path, bytes)| json!({ "path": path, "bytes": bytes })).collect();
    json!({
        "dir": dir,
        "records": made.records,
        "usable": made.usable,
        "retracted": made.retracted,
        "deleted": made.deleted,
        "superseded": made.superseded,
        "duplicates": made.duplicates,
        "not_english": made.not_english,
        "without_abstract": made.without_abstract,
        "general_documents": made.general_documents,
        "questions": made.questions,
        "files": files,
        "written": made.written,
    })
}

fn page(dir: &Path, made: &Summary) -> Page {
    let mut table = Table::new([name("file", 0), number("size", 1)]);
    for (path, bytes) in &made.files {
        table.row([(*path).into(), show::bytes(*bytes).into()]);
    }
    let count = |n: usize| show::count(n as u64);
    let done =
        if made.written == 0 { "all there already".to_owned() } else { format!("{} written", show::plural(made.written as u64, "file")) };
    let mut page = Page::new();
    page.table(table).line(format!(
        "{}: {done}; {} records about {} invented diseases, {} of them usable; {} general documents; two exams of {} questions",
        dir.display(),
        count(made.records),
        count(made.diseases),
        count(made.usable),
        count(made.general_documents),
        count(made.questions)
    ));
    page
}
