//! `osler corpus inspect`: what Osler reads in source files, before any rule is applied.

use super::Context;
use crate::failure::{Failure, Outcome, usage};
use crate::show;
use crate::terminal::{Cell, Format, Page, Table, Terminal, name, number};
use osler_core::spec::{BadLines, CorpusFormat, CorpusSpec, TextFields};
use osler_corpus::{Document, Error};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Parse files and count their documents; with -o jsonl: show every document, one a line.
    Inspect(Inspect),
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
}

#[derive(Debug, Serialize)]
pub(super) struct Sources {
    pub files: Vec<Source>,
}

#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub file: PathBuf,
    #[serde(flatten)]
    pub counts: Counts,
}

pub fn run(command: &Command, cx: &Context) -> Outcome {
    let Command::Inspect(args) = command;
    let terminal = cx.terminal();
    let mut sources = Sources { files: vec![] };
    for file in &args.files {
        let counts = inspect(file, args, &terminal).map_err(|e| failure(&e.to_string(), &e))??;
        sources.files.push(Source { file: file.clone(), counts });
    }
    if terminal.format != Format::Jsonl {
        terminal.answer("sources", &sources, || page(&sources))?;
    }
    let empty = sources.files.iter().filter(|source| source.counts.documents == 0);
    let empty: Vec<String> = empty.map(|source| format!("{}: no documents in it", source.file.display())).collect();
    if empty.is_empty() { Ok(()) } else { Err(usage(empty.join("\n"))) }
}

fn page(sources: &Sources) -> Page {
    let mut table = Table::new([
        name("file", 0),
        number("documents", 0),
        number("bad lines", 1),
        number("with abstract", 1),
        number("deleted", 2),
        number("retracted", 2),
        number("languages", 4),
        number("text", 3),
    ]);
    for Source { file, counts } in &sources.files {
        let [documents, bad_lines, with_abstract, deleted, retracted, languages] =
            [counts.documents, counts.bad_lines, counts.with_abstract, counts.deleted, counts.retracted, counts.languages.len() as u64]
                .map(|n| Cell::from(show::count(n)));
        let text = show::bytes(counts.text_bytes).into();
        table.row([file.display().to_string().into(), documents, bad_lines, with_abstract, deleted, retracted, languages, text]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    documents: u64,
    bad_lines: u64,
    with_abstract: u64,
    deleted: u64,
    retracted: u64,
    languages: std::collections::BTreeSet<String>,
    text_bytes: u64,
}

impl Counts {
    pub(super) fn add(&mut self, document: &Document) {
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
fn inspect(file: &Path, args: &Inspect, terminal: &Terminal) -> Result<Outcome<Counts>, Error> {
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
                terminal.note(error.to_string());
                continue;
            }
            document => document?,
        };
        counts.add(&document);
        if terminal.format == Format::Jsonl
            && let Err(e) = terminal.json_line("document", &document)
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
