//! The files people have on disk, each format in its own file, all read into `Item`s: questions before any prompt is made.

#[cfg(test)]
mod damage;
mod medmcqa;
mod medqa;
mod mmlu;
mod pubmedqa;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::ExamError;
use crate::source::{FileDigest, FileRole, Source, tell_apart};
use crate::spec::{ExamFormat, ExamSpec};

/// A question as its file states it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Unique within the exam.
    pub id: String,
    /// Position within its task (for MMLU: within its subject), from 0, before any limit.
    pub doc_id: usize,
    /// MMLU only.
    pub subject: Option<String>,
    /// PubMedQA's abstract.
    pub passage: Option<String>,
    pub question: String,
    pub options: Vec<String>,
    pub gold: usize,
    /// The record as read, for sample files.
    pub doc: Value,
}

pub(crate) struct Loaded {
    pub items: Vec<Item>,
    pub digests: Vec<FileDigest>,
}

/// Reads the questions of `files`. Shot files may not bring a selection list.
pub(crate) fn read(spec: &ExamSpec, files: &[PathBuf], role: FileRole) -> Result<Loaded, ExamError> {
    let mut sources = Vec::with_capacity(files.len());
    for path in files {
        sources.push(Source::read(path)?);
    }
    tell_apart(&mut sources);
    let mut digests: Vec<_> = sources.iter().map(|s| s.digest(role)).collect();
    let mut items = match spec.format {
        ExamFormat::MedMcqa => each(&sources, |s| medmcqa::read(s, spec.cop_base))?,
        ExamFormat::MedQa => each(&sources, medqa::read)?,
        ExamFormat::Mmlu => mmlu::read(&sources)?,
        ExamFormat::PubMedQa => pubmedqa::read(&sources, role, &mut digests)?,
        ExamFormat::Perplexity => Vec::new(), // Text has no questions; `text::read` is its reader.
    };
    number(&mut items);
    refuse_duplicates(spec, &items)?;
    Ok(Loaded { items, digests })
}

/// The questions of each source. An id that another source gives to another question is told apart by its own source's label.
fn each(sources: &[Source], read: impl Fn(&Source) -> Result<Vec<Item>, ExamError>) -> Result<Vec<Item>, ExamError> {
    let mut items: Vec<Item> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources {
        let before = items.len();
        for mut item in read(source)? {
            let other = known.get(&item.id).filter(|at| **at < before).and_then(|at| items.get(*at));
            if other.is_some_and(|other| (&other.question, &other.options) != (&item.question, &item.options)) {
                item.id = format!("{}/{}", source.label, item.id);
            }
            known.insert(item.id.clone(), items.len());
            items.push(item);
        }
    }
    Ok(items)
}

fn number(items: &mut [Item]) {
    let mut next: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for item in items {
        let counter = next.entry(item.subject.clone()).or_default();
        item.doc_id = *counter;
        *counter += 1;
    }
}

fn refuse_duplicates(spec: &ExamSpec, items: &[Item]) -> Result<(), ExamError> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if !seen.insert(item.id.as_str()) {
            let message = format!("question id {:?} occurs twice; a question may be asked only once", item.id);
            return Err(spec.refuse("files", message));
        }
    }
    Ok(())
}

/// "A".."D" as a position; anything else is `None`.
fn letter(text: &str) -> Option<usize> {
    ["A", "B", "C", "D"].iter().position(|l| *l == text)
}
