//! All cleaned sources of a corpus become its training and held-out documents: the highest version of a PMID replaces the others, and of
//! one version the later record; withdrawn ones go, exact duplicates go, and a keyed hash of the id decides who is held out.
//!
//! Two passes over the inputs, so that memory holds a few words for each record and never the texts.

mod lines;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use lines::JsonLines;

use crate::clean::{CleanDocument, CleanOutput, Removed, Rule};
use crate::error::{Error, Result};
use crate::output::{FileInfo, Output};
use lines::{Record, Records};
use osler_core::digest::Digest;
use osler_core::ids::CorpusName;
use osler_core::spec::CorpusSpec;
use plan::{Fate, Plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A training chunk is closed before the document that would take it beyond this. Part of the result: it decides the shards.
pub const CHUNK_BYTES: u64 = 64 << 20;

/// The files of one cleaned source, wherever the caller has put them.
#[derive(Debug, Clone)]
pub struct CleanFiles {
    pub source_index: u32,
    pub documents: PathBuf,
    pub tombstones: PathBuf,
}

impl CleanFiles {
    /// As they lie in the folder that [`crate::clean_source`] was given.
    pub fn in_folder(folder: &Path, output: &CleanOutput) -> Self {
        Self {
            source_index: output.source_index,
            documents: folder.join(&output.documents.name),
            tombstones: folder.join(&output.tombstones.name),
        }
    }
}

/// What [`merge`] wrote and counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeOutput {
    /// `train-00000.jsonl` and so on, lines of [`CleanDocument`] in the order of the sources.
    pub train: Vec<FileInfo>,
    pub held_out: FileInfo,
    /// Documents that another record of the corpus removed.
    pub removed: FileInfo,
    pub train_documents: u64,
    pub held_out_documents: u64,
    pub train_words: u64,
    pub held_out_words: u64,
    pub removed_by_rule: BTreeMap<Rule, u64>,
}

/// Merges `inputs`, which must be in the order of their source indices, into `out_dir`.
///
/// # Errors
/// No document is left for training; an input is out of order or damaged.
pub fn merge(inputs: &[CleanFiles], name: &CorpusName, corpus: &CorpusSpec, seed: u64, out_dir: &Path) -> Result<MergeOutput> {
    merge_chunked(inputs, name, corpus, seed, out_dir, CHUNK_BYTES)
}

fn merge_chunked(
    inputs: &[CleanFiles],
    name: &CorpusName,
    corpus: &CorpusSpec,
    seed: u64,
    out_dir: &Path,
    chunk_bytes: u64,
) -> Result<MergeOutput> {
    if let Some(pair) = inputs.windows(2).find(|w| matches!(w, [a, b] if a.source_index >= b.source_index)) {
        let found: Vec<u32> = pair.iter().map(|f| f.source_index).collect();
        return Err(Error::Unusable(format!("corpus {name}: cleaned sources {found:?} are not in rising order")));
    }
    let mut plan = Plan::new(corpus);
    for input in inputs {
        let mut records = Records::open(&input.documents, &input.tombstones, input.source_index)?;
        while let Some(record) = records.next()? {
            plan.observe(&record)?;
        }
    }
    let mut plan = plan.decide();

    let split = Split { key: name.as_str().as_bytes(), seed, held_out: corpus.held_out };
    let mut writer = Writer::create(out_dir, chunk_bytes)?;
    for input in inputs {
        let mut records = Records::open(&input.documents, &input.tombstones, input.source_index)?;
        while let Some(record) = records.next()? {
            if let Record::Document(document) = record {
                match plan.fate(&document)? {
                    Fate::Stays => writer.keep(&document, split.holds_out(&document.id))?,
                    Fate::Goes(rule, detail) => writer.remove(document.id, rule, detail)?,
                }
            }
        }
    }
    let output = writer.finish()?;
    if output.train_documents == 0 {
        let gone: Vec<String> = output.removed_by_rule.iter().map(|(rule, n)| format!("{n} {rule}")).collect();
        return Err(Error::Unusable(format!(
            "corpus {name}: no training documents are left of {} sources ({} held out; removed in the merge: {}); loosen the rules or add files",
            inputs.len(),
            output.held_out_documents,
            if gone.is_empty() { "none".into() } else { gone.join(", ") },
        )));
    }
    Ok(output)
}

/// Who is held out: a function of seed, corpus and id alone, so that adding files moves no document across.
struct Split<'a> {
    key: &'a [u8],
    seed: u64,
    held_out: f64,
}

impl Split<'_> {
    fn holds_out(&self, id: &str) -> bool {
        let digest = Digest::of_parts([b"osler held-out 1".as_slice(), &self.seed.to_le_bytes(), self.key, id.as_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        // 53 bits are exact in an f64, so that the comparison is the same everywhere.
        let uniform = (u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 11) as f64 / (1u64 << 53) as f64;
        uniform < self.held_out
    }
}

struct Writer {
    folder: PathBuf,
    chunk_bytes: u64,
    chunk: Option<Output>,
    held_out: Output,
    removed: Output,
    result: Counts,
}

#[derive(Default)]
struct Counts {
    train: Vec<FileInfo>,
    train_words: u64,
    held_out_words: u64,
    removed_by_rule: BTreeMap<Rule, u64>,
}

impl Writer {
    fn create(folder: &Path, chunk_bytes: u64) -> Result<Self> {
        Ok(Self {
            folder: folder.to_path_buf(),
            chunk_bytes,
            chunk: None,
            held_out: Output::create(folder, "held-out.jsonl")?,
            removed: Output::create(folder, "removed.jsonl")?,
            result: Counts::default(),
        })
    }

    fn keep(&mut self, document: &CleanDocument, held_out: bool) -> Result<()> {
        let line = serde_json::to_vec(document).map_err(|e| Error::Unusable(format!("document {}: {e}", document.id)))?;
        if held_out {
            self.result.held_out_words += document.words;
            return self.held_out.line(&line);
        }
        self.result.train_words += document.words;
        let full = self.chunk.as_ref().is_some_and(|c| c.bytes() + line.len() as u64 + 1 > self.chunk_bytes);
        if full {
            self.close_chunk()?;
        }
        let chunk = match &mut self.chunk {
            Some(chunk) => chunk,
            none => none.insert(Output::create(&self.folder, format!("train-{:05}.jsonl", self.result.train.len()))?),
        };
        chunk.line(&line)
    }

    fn remove(&mut self, id: String, rule: Rule, detail: String) -> Result<()> {
        *self.result.removed_by_rule.entry(rule).or_default() += 1;
        self.removed.json_line(&Removed { id, rule, detail })
    }

    fn close_chunk(&mut self) -> Result<()> {
        if let Some(chunk) = self.chunk.take() {
            self.result.train.push(chunk.finish()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<MergeOutput> {
        self.close_chunk()?;
        let (held_out, counts) = (self.held_out.finish()?, self.result);
        Ok(MergeOutput {
            train_documents: counts.train.iter().map(|f| f.records).sum(),
            held_out_documents: held_out.records,
            train: counts.train,
            held_out,
            removed: self.removed.finish()?,
            train_words: counts.train_words,
            held_out_words: counts.held_out_words,
            removed_by_rule: counts.removed_by_rule,
        })
    }
}
