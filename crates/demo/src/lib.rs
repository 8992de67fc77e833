//! The quickstart's invented medical world: PubMed files, a small general corpus and two exams, all from one seed.
//!
//! Nothing here is medicine: names and facts are made up, so that a small model can learn them in minutes and no earlier
//! knowledge can help it. A broken parser, tokenizer, order, trainer or scorer shows as a bad mark. This crate knows nothing of
//! the rest of Osler; what it writes is read like anybody's files.
#![forbid(unsafe_code)]

mod compose;
mod exam;
mod general;
mod general_lists;
mod names;
mod output;
mod phrases;
mod pubmed;
mod records;
mod rng;
#[cfg(test)]
mod tests;
mod world;

use flate2::{Compression, GzBuilder};
use output::Planned;
use records::{Fate, Library};
use rng::Rng;
use std::io::Write;
use std::path::{Path, PathBuf};
use world::World;

/// How large a world to invent. The same options give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    /// 8 to 400.
    pub diseases: usize,
    /// Usable abstracts; at least 8 for each disease, at most 100,000. Other records come on top.
    pub abstracts: usize,
    /// Documents of the general corpus, 50 to 100,000.
    pub general_documents: usize,
    /// Questions of each exam, 4 to four times the diseases.
    pub questions: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 26, diseases: 150, abstracts: 3_000, general_documents: 4_000, questions: 400 }
    }
}

impl Options {
    fn check(&self) -> Result<(), DemoError> {
        let bounds = [
            ("diseases", self.diseases, 8, 400),
            ("abstracts", self.abstracts, self.diseases.saturating_mul(8), 100_000),
            ("general_documents", self.general_documents, 50, 100_000),
            ("questions", self.questions, 4, self.diseases.saturating_mul(4)),
        ];
        for (option, value, least, most) in bounds {
            if value < least || value > most {
                return Err(DemoError::Option { option, value, least, most });
            }
        }
        Ok(())
    }
}

/// What was generated. `records` is the sum of `usable` and the six counts after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// All citations in the PubMed files, the update's included.
    pub records: usize,
    /// Abstracts that a correct corpus keeps; `corrected` are among them.
    pub usable: usize,
    pub retracted: usize,
    pub deleted: usize,
    /// Baseline records that a correction of the same PMID replaces.
    pub superseded: usize,
    /// The same title and abstract as another record.
    pub duplicates: usize,
    pub not_english: usize,
    pub without_abstract: usize,
    /// Usable records of the update file that replace a baseline record.
    pub corrected: usize,
    pub diseases: usize,
    pub facts: usize,
    /// How often the usable abstracts state the fact that they state least.
    pub least_stated: usize,
    pub general_documents: usize,
    /// Of each of the two exams.
    pub questions: usize,
    /// Path below the folder, bytes.
    pub files: Vec<(&'static str, u64)>,
    /// Files that this call had to write; 0 when all were there already.
    pub written: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("option {option} is {value}; give a number from {least} to {most}")]
    Option { option: &'static str, value: usize, least: usize, most: usize },
    #[error("{}: not written by this generator; choose an empty folder", path.display())]
    Foreign { path: PathBuf },
    #[error("{}: holds other bytes than these options give; choose an empty folder or delete it", path.display())]
    Different { path: PathBuf },
    #[error("{verb} {}: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: std::io::Error },
}

const README: &str = "An invented medical world, written by Osler's generator for the quickstart.\n\
\n\
EVERYTHING HERE IS FICTION: the diseases, drugs, genes, symptoms, organs and findings do not exist. No medical fact.\n\
\n\
pubmed/demo26n0001..3.xml.gz  baseline files in PubMed's XML\n\
pubmed/demo26n0004.xml.gz     an update: new records, corrections of earlier ones, deletions\n\
general/everyday.jsonl        short English texts about everyday things (field \"text\"); none of the invented facts\n\
exams/seen.jsonl              questions in words that the abstracts use, in MedMCQA's JSON Lines form\n\
exams/unseen.jsonl            the same facts in words that no training text uses\n\
\n\
Retracted, deleted and superseded records claim wrong facts on purpose: a corpus that keeps them does worse in the exams.\n\
The same options give the same bytes. Nothing else may be put into this folder.\n";

/// Writes the world into `dir`, which is made when absent. A folder that holds the whole world already is left as it is, one
/// that an interrupted call left is completed.
///
/// # Errors
/// An option out of bounds, a folder with anything else in it (nothing is written then), or the file system's refusal.
pub fn generate(dir: &Path, options: &Options) -> Result<Summary, DemoError> {
    options.check()?;
    let world = World::invent(options.seed, options.diseases);
    let library = Library::write(options.seed, &world, options.abstracts);
    let planned = plan(&world, &library, options, dir)?;
    let written = output::place(dir, &planned)?;

    let corrected = library.count(|fate| matches!(fate, Fate::Correction { .. }));
    Ok(Summary {
        records: library.records().count(),
        usable: library.records().filter(|record| record.is_usable()).count(),
        retracted: library.count(|fate| *fate == Fate::Retracted),
        deleted: library.deleted.len(),
        superseded: library.count(|fate| matches!(fate, Fate::Superseded { .. })),
        duplicates: library.count(|fate| *fate == Fate::Duplicate),
        not_english: library.count(|fate| matches!(fate, Fate::Vernacular { .. })),
        without_abstract: library.count(|fate| *fate == Fate::TitleOnly),
        corrected,
        diseases: options.diseases,
        facts: 4 * options.diseases,
        least_stated: library.stated.iter().flatten().copied().min().unwrap_or(0),
        general_documents: options.general_documents,
        questions: options.questions,
        files: planned.iter().map(|file| (file.path, file.bytes.len() as u64)).collect(),
        written,
    })
}

fn plan(world: &World, library: &Library, options: &Options, dir: &Path) -> Result<Vec<Planned>, DemoError> {
    let mut rng = Rng::stream(options.seed, "pubmed");
    let [first, second, third] = &library.baseline;
    let pubmed: [(&'static str, &[records::Record], &[u32]); 4] = [
        ("pubmed/demo26n0001.xml.gz", first, &[]),
        ("pubmed/demo26n0002.xml.gz", second, &[]),
        ("pubmed/demo26n0003.xml.gz", third, &[]),
        ("pubmed/demo26n0004.xml.gz", &library.update, &library.deleted),
    ];
    let mut planned = Vec::new();
    for (path, records, deleted) in pubmed {
        let xml = pubmed::file(records, deleted, &world.people, &mut rng);
        let bytes = gzip(xml.as_bytes()).map_err(|source| DemoError::Io { verb: "compress", path: dir.join(path), source })?;
        planned.push(Planned { path, bytes });
    }
    let general = general::write(options.seed, options.general_documents);
    let (seen, unseen) = exam::write(options.seed, world, library, options.questions);
    let texts = [
        ("general/everyday.jsonl", general),
        ("exams/seen.jsonl", seen),
        ("exams/unseen.jsonl", unseen),
        ("README.txt", README.to_owned()),
    ];
    planned.extend(texts.map(|(path, text)| Planned { path, bytes: text.into_bytes() }));
    Ok(planned)
}

/// Without a time or a file name in the header, so that equal text gives equal bytes.
fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}
