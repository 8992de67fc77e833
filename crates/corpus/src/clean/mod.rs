//! One source file through the per-document rules. What is decided here depends on that file alone, so files can be cleaned anywhere
//! and in any order; what depends on other files (newer records, duplicates, the held-out split) is left to [`crate::merge`].

mod copyright;
mod record;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::Rule;

use crate::document::{Document, Kind};
use crate::error::{Error, Result};
use crate::output::{FileInfo, Output, digest_file};
use osler_core::digest::Digest;
use osler_core::spec::{BadLines, CorpusSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Rises whenever parser or rules would give another text for the same file: part of a corpus's identity.
pub const CLEANING_VERSION: u32 = 2;

/// A document that stayed. `(source_index, ordinal)` is its place in the corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanDocument {
    pub id: String,
    pub version: u32,
    pub source_index: u32,
    /// The record's number in its source file, from 0, removed ones included.
    pub ordinal: u32,
    pub words: u64,
    /// Of the normalised text, see [`crate::normalise`].
    pub text_digest: Digest,
    pub text: String,
}

/// A line of the log of removed documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    pub id: String,
    pub rule: Rule,
    pub detail: String,
}

/// A PubMed record that has no text but still replaces an earlier one of its PMID: withdrawn, or removed by a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    pub id: String,
    pub version: u32,
    pub source_index: u32,
    pub ordinal: u32,
    pub rule: Rule,
}

/// What [`clean_source`] wrote and counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanOutput {
    pub source_index: u32,
    pub source: Digest,
    pub source_bytes: u64,
    pub cleaning_version: u32,
    /// Lines of [`CleanDocument`], [`Removed`] and [`Tombstone`], each in file order.
    pub documents: FileInfo,
    pub removed: FileInfo,
    pub tombstones: FileInfo,
    /// Records read, withdrawals not counted: those kept and those removed.
    pub records: u64,
    pub deletions: u64,
    pub words: u64,
    pub removed_by_rule: BTreeMap<Rule, u64>,
    /// The first lines that were left out because they could not be read, with what is wrong with them.
    pub bad_lines: Vec<String>,
}

/// Parses `source`, applies the corpus's rules to each record and writes `documents.jsonl`, `removed.jsonl` and `tombstones.jsonl` into `out_dir`.
///
/// # Errors
/// The source cannot be read or parsed, or has no records at all. That every record is removed is not an error of one file.
pub fn clean_source(source: &Path, source_index: u32, corpus: &CorpusSpec, out_dir: &Path) -> Result<CleanOutput> {
    let (source_digest, source_bytes) = digest_file(source)?;
    let mut writer = Writer {
        source_index,
        documents: Output::create(out_dir, "documents.jsonl")?,
        removed: Output::create(out_dir, "removed.jsonl")?,
        tombstones: Output::create(out_dir, "tombstones.jsonl")?,
        words: 0,
        deletions: 0,
        removed_by_rule: BTreeMap::new(),
        bad_lines: vec![],
    };
    let records = crate::inspect::open(source, corpus)?;
    let mut count = 0;
    for (ordinal, document) in records.enumerate() {
        let ordinal = u32::try_from(ordinal).map_err(|_| Error::file(source, "more than 4 billion records in one file; split it"))?;
        match document {
            Ok(document) => writer.record(ordinal, document, corpus)?,
            Err(error) => writer.bad_line(source, error, corpus)?,
        }
        count += 1;
    }
    if let (Some(first), Some(bad)) = (writer.bad_lines.first(), writer.removed_by_rule.get(&Rule::BadLine))
        && *bad == count
    {
        return Err(Error::file(source, format!("none of its {count} lines can be read; the first: {first}")));
    }
    if count == 0 {
        return Err(Error::file(source, "the file holds no documents"));
    }
    Ok(CleanOutput {
        source_index,
        source: source_digest,
        source_bytes,
        cleaning_version: CLEANING_VERSION,
        records: count - writer.deletions,
        deletions: writer.deletions,
        words: writer.words,
        removed_by_rule: writer.removed_by_rule,
        bad_lines: writer.bad_lines,
        documents: writer.documents.finish()?,
        removed: writer.removed.finish()?,
        tombstones: writer.tombstones.finish()?,
    })
}

struct Writer {
    source_index: u32,
    documents: Output,
    removed: Output,
    tombstones: Output,
    words: u64,
    deletions: u64,
    removed_by_rule: BTreeMap<Rule, u64>,
    bad_lines: Vec<String>,
}

/// So many bad lines are told whole; all of them are in the log of what was removed.
const EXAMPLES: usize = 3;
/// What is kept of a problem with a line.
const PROBLEM: usize = 300;

impl Writer {
    /// Leaves out a line that is no document, if the corpus says so.
    fn bad_line(&mut self, source: &Path, error: Error, corpus: &CorpusSpec) -> Result<()> {
        let Error::Line { line, problem, .. } = &error else { return Err(error) };
        let BadLines::Skip { at_most } = corpus.bad_lines else { return Err(error) };
        let detail: String = problem.chars().take(PROBLEM).collect();
        if self.bad_lines.len() < EXAMPLES {
            self.bad_lines.push(format!("{} line {line}: {detail}", source.display()));
        }
        let bad = self.removed_by_rule.entry(Rule::BadLine).or_default();
        *bad += 1;
        if *bad > at_most {
            let first = self.bad_lines.first().map(String::as_str).unwrap_or_default();
            let way_out = "mend the file, or raise max_bad_lines";
            return Err(Error::file(source, format!("more than {at_most} lines of it cannot be read, the first is {first}; {way_out}")));
        }
        self.removed.json_line(&Removed { id: self.place(&format!("line-{line}")), rule: Rule::BadLine, detail })
    }

    fn record(&mut self, ordinal: u32, doc: Document, corpus: &CorpusSpec) -> Result<()> {
        let (id, version) = (self.id(&doc), doc.version);
        if doc.deleted {
            self.deletions += 1;
            return self.tombstone(id, version, ordinal, Rule::Deleted);
        }
        match rules::apply(&doc, &corpus.rules) {
            Ok((text, words)) => {
                self.words += words;
                let text_digest = crate::normal::text_digest(&text);
                let source_index = self.source_index;
                self.documents.json_line(&CleanDocument { id, version, source_index, ordinal, words, text_digest, text })
            }
            Err((rule, detail)) => {
                *self.removed_by_rule.entry(rule).or_default() += 1;
                self.removed.json_line(&Removed { id: id.clone(), rule, detail })?;
                if doc.kind == Kind::Text { Ok(()) } else { self.tombstone(id, version, ordinal, rule) }
            }
        }
    }

    /// PMIDs and given ids stand for themselves; an id made from a place in a file needs the file.
    fn id(&self, doc: &Document) -> String {
        if doc.made_id { self.place(&doc.id) } else { doc.id.clone() }
    }

    fn place(&self, in_file: &str) -> String {
        format!("source-{}-{in_file}", self.source_index)
    }

    fn tombstone(&mut self, id: String, version: u32, ordinal: u32, rule: Rule) -> Result<()> {
        self.tombstones.json_line(&Tombstone { id, version, source_index: self.source_index, ordinal, rule })
    }
}
