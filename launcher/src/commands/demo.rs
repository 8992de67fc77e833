//! `osler demo`: the quickstart's invented world, written to a folder.

use crate::failure::{Outcome, failed, usage};
use crate::show::{self, Format, Grid};
use osler_demo::{DemoError, Options, generate};
use std::path::PathBuf;

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
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Args) -> Outcome {
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
    if args.output == Format::Json {
        let files: Vec<_> = made.files.iter().map(|(path, bytes)| serde_json::json!({ "path": path, "bytes": bytes })).collect();
        return show::json(&serde_json::json!({
            "dir": args.dir,
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
        }));
    }
    let mut grid = Grid::new(&["file", ">size"]);
    for (path, bytes) in &made.files {
        grid.row([(*path).to_owned(), show::bytes(*bytes)]);
    }
    let count = |n: usize| show::count(n as u64);
    let done =
        if made.written == 0 { "all there already".to_owned() } else { format!("{} written", show::plural(made.written as u64, "file")) };
    show::out(&format!(
        "{}{}: {done}; {} records about {} invented diseases, {} of them usable; {} general documents; two exams of {} questions\n",
        grid.text(),
        args.dir.display(),
        count(made.records),
        count(made.diseases),
        count(made.usable),
        count(made.general_documents),
        count(made.questions)
    ))
}
