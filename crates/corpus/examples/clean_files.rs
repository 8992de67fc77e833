//! Cleans and merges PubMed files with the default rules, so that what became of each record can be read and counted:
//!
//!     clean_files FOLDER FILE...
//!
//! leaves `removed.jsonl` of each file in `FOLDER/clean-NUMBER`, and `train-NNNNN.jsonl` and `removed.jsonl` of the whole in `FOLDER/merged`.
//! No document is held out. Prints how many documents stayed and how many each rule removed.
#![forbid(unsafe_code)]

use osler_core::ids::CorpusName;
use osler_core::spec::{CorpusFormat, CorpusSpec};
use osler_corpus::{CleanFiles, clean_source, merge};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let usage = "usage: clean_files FOLDER FILE...";
    let folder = arguments.next().ok_or(usage)?;
    let files: Vec<PathBuf> = arguments.collect();
    if files.is_empty() {
        return Err(usage.into());
    }
    let corpus = CorpusSpec::new(CorpusFormat::PubmedXml, vec![]);
    let (mut inputs, mut removed) = (Vec::new(), BTreeMap::new());
    for (index, file) in (0..).zip(&files) {
        let folder = folder.join(format!("clean-{index}"));
        let output = clean_source(file, index, &corpus, &folder)?;
        for (rule, count) in &output.removed_by_rule {
            *removed.entry(*rule).or_insert(0) += count;
        }
        inputs.push(CleanFiles::in_folder(&folder, &output));
    }
    let merged = merge(&inputs, &CorpusName::new("pubmed")?, &corpus, 0, &folder.join("merged"))?;
    for (rule, count) in merged.removed_by_rule {
        *removed.entry(rule).or_insert(0) += count;
    }
    println!("{} documents, {} words", merged.train_documents, merged.train_words);
    for (rule, count) in removed {
        println!("{count} removed: {rule}");
    }
    Ok(())
}
