//! Measures this crate on the files given, in the order of the data:
//!
//!     throughput [--vocab N --work FOLDER] FILE...
//!
//! prints, for each file, uncompressed MB/s and documents/s of parsing. With `--vocab` it also cleans, merges, trains a tokenizer of N tokens and packs
//! sequences of 512, all in FOLDER, and prints the time of each with the digests that must not depend on the number of threads.

use osler_core::ids::CorpusName;
use osler_core::spec::CorpusSpec;
use osler_corpus::{CleanFiles, Dataset, Tokenizer, Verify, clean_source, merge, open, pack, sniff, train_tokenizer};
use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut files, mut vocab, mut work) = (Vec::new(), None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--vocab" => vocab = Some(arguments.next().ok_or("--vocab needs a number")?.parse()?),
            "--work" => work = arguments.next().map(PathBuf::from),
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let first = files.first().ok_or("usage: throughput [--vocab N --work FOLDER] FILE...")?;
    let format = sniff(first)?;
    for file in &files {
        parse(file)?;
    }
    let (Some(vocab), Some(work)) = (vocab, work) else { return Ok(()) };

    let corpus = CorpusSpec { held_out: 0.01, ..CorpusSpec::new(format, vec![]) };
    let start = Instant::now();
    let mut inputs = Vec::new();
    for (index, file) in (0..).zip(&files) {
        let folder = work.join(format!("clean-{index}"));
        inputs.push(CleanFiles::in_folder(&folder, &clean_source(file, index, &corpus, &folder)?));
    }
    report("clean", start, inputs.len() as f64, "files");
    let start = Instant::now();
    let merged = merge(&inputs, &CorpusName::new("corpus")?, &corpus, 1, &work)?;
    report("merge", start, merged.train_documents as f64, "training documents");
    println!("    removed in the merge: {:?}; held out: {}", merged.removed_by_rule, merged.held_out_documents);
    let train: Vec<PathBuf> = merged.train.iter().map(|f| work.join(&f.name)).collect();
    let path = work.join("tokenizer.json");
    let start = Instant::now();
    let info = train_tokenizer(&train, vocab, 2, &path)?;
    report("train tokenizer", start, info.text_bytes as f64 / 1e6, "MB of text");
    println!("    {} tokens, {} merges, digest {}", info.vocab_size, info.merges, info.digest);
    let tokenizer = Tokenizer::load(&path)?;
    let start = Instant::now();
    let manifest = pack(&train, &tokenizer, 512, None, &work)?.dataset;
    report("pack", start, manifest.tokens as f64, "tokens");
    println!(
        "    {:.2} MB/s of text; {} sequences, {} tokens dropped",
        info.text_bytes as f64 / 1e6 / start.elapsed().as_secs_f64(),
        manifest.sequences,
        manifest.dropped_tokens
    );
    println!("    fingerprint {}", manifest.fingerprint);
    let dataset = Dataset::open(manifest, &work, Verify::Full)?;
    let (start, mut sequence) = (Instant::now(), Vec::new());
    for number in 0..dataset.len() {
        dataset.sequence(number, &mut sequence)?;
    }
    report("read sequences", start, dataset.len() as f64, "sequences");
    Ok(())
}

fn report(what: &str, start: Instant, amount: f64, unit: &str) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {amount:.1} {unit} in {seconds:.2} s, {:.1}/s", amount / seconds);
}

fn parse(file: &Path) -> Result<(), Box<dyn Error>> {
    let megabytes = uncompressed_bytes(file)? as f64 / 1e6;
    let start = Instant::now();
    let (mut documents, mut abstracts, mut deleted) = (0u64, 0u64, 0u64);
    for document in open(file, &CorpusSpec::new(sniff(file)?, vec![]))? {
        let document = document?;
        documents += u64::from(!document.deleted);
        deleted += u64::from(document.deleted);
        abstracts += u64::from(!document.abstract_sections.is_empty());
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "parse {}: {megabytes:.1} MB in {seconds:.2} s, {:.1} MB/s, {:.0} documents/s; {documents} documents, {abstracts} abstracts, {deleted} deleted",
        file.display(),
        megabytes / seconds,
        documents as f64 / seconds,
    );
    Ok(())
}

fn uncompressed_bytes(path: &Path) -> std::io::Result<u64> {
    let mut magic = [0; 2];
    let zipped = std::fs::File::open(path)?.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    let mut file = std::fs::File::open(path)?;
    if zipped {
        std::io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut std::io::sink())
    } else {
        std::io::copy(&mut file, &mut std::io::sink())
    }
}
