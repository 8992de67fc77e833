//! `osler corpus inspect`: what Osler reads in source files, before any rule is applied.

use crate::failure::{Failure, Outcome, usage};
use crate::show::{self, Grid};
use clap::ValueEnum;
use osler_core::spec::{BadLines, CorpusFormat, CorpusSpec, TextFields};
use osler_corpus::{Document, Error};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Parse files and show their documents.
    Inspect(Inspect),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One document a line.
    Jsonl,
    /// A summary of each file.
    Table,
}

#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// PubMed XML, JSON lines or text; each may be compressed with gzip, zstd, bzip2 or xz.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The field of a JSON line that holds the text; given again, further fields of it. A dot leads into an object.
    #[arg(long, default_value = "text")]
    text_field: Vec<String>,
    /// The field of a JSON line that holds the id.
    #[arg(long)]
    id_field: Option<String>,
    /// Name the lines that are no documents on standard error and go on, instead of ending at the first.
    #[arg(long)]
    skip_bad_lines: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(command: &Command) -> Outcome {
    let Command::Inspect(args) = command;
    let mut grid = Grid::new(&["file", ">documents", ">bad lines", ">with abstract", ">deleted", ">retracted", ">languages", ">text"]);
    let mut empty = vec![];
    for file in &args.files {
        let counts = inspect(file, args).map_err(|e| failure(&e.to_string(), &e))??;
        if counts.documents == 0 {
            empty.push(format!("{}: no documents in it", file.display()));
        }
        let numbers =
            [counts.documents, counts.bad_lines, counts.with_abstract, counts.deleted, counts.retracted, counts.languages.len() as u64];
        let cells = [file.display().to_string()].into_iter().chain(numbers.map(show::count));
        grid.cells(cells.chain([show::bytes(counts.text_bytes)]));
    }
    if args.output == Format::Table {
        show::out(&grid.text())?;
    }
    if empty.is_empty() { Ok(()) } else { Err(usage(empty.join("\n"))) }
}

#[derive(Default)]
struct Counts {
    documents: u64,
    bad_lines: u64,
    with_abstract: u64,
    deleted: u64,
    retracted: u64,
    languages: std::collections::BTreeSet<String>,
    text_bytes: u64,
}

impl Counts {
    fn add(&mut self, document: &Document) {
        self.documents += 1;
        self.with_abstract += u64::from(!document.abstract_sections.is_empty());
        self.deleted += u64::from(document.deleted);
        self.retracted += u64::from(document.retracted);
        self.languages.extend(document.language.iter().cloned());
        let sections = document.abstract_sections.iter().map(|section| section.text.len());
        self.text_bytes += (document.title.len() + sections.sum::<usize>() + document.text.as_ref().map_or(0, String::len)) as u64;
    }
}

/// The outer result: the file; the inner one: our own output.
fn inspect(file: &Path, args: &Inspect) -> Result<Outcome<Counts>, Error> {
    let mut counts = Counts::default();
    let corpus = CorpusSpec {
        text_field: TextFields(args.text_field.clone()),
        id_field: args.id_field.clone(),
        bad_lines: if args.skip_bad_lines { BadLines::Skip { at_most: u64::MAX } } else { BadLines::Fail },
        ..CorpusSpec::new(osler_corpus::sniff(file)?, vec![])
    };
    for document in osler_corpus::open(file, &corpus)? {
        let document = match document {
            Err(error @ Error::Line { .. }) if args.skip_bad_lines && corpus.format == CorpusFormat::Jsonl => {
                counts.bad_lines += 1;
                show::note(&error.to_string());
                continue;
            }
            document => document?,
        };
        counts.add(&document);
        if args.output == Format::Jsonl
            && let Err(e) = show::json_line(&document)
        {
            return Ok(Err(e));
        }
    }
    Ok(Ok(counts))
}

/// Bytes that are wrong stay wrong; a disk may come back.
fn failure(message: &str, error: &Error) -> Failure {
    let missing = matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    if error.retryable() && !missing { crate::failure::failed(message) } else { usage(message) }
}
