//! Measures this crate on the files given: `throughput FILE...` prints, for each, XML (or lines) a second; with `--tokenizer tokenizer.json` also
//! tokens a second of tokenizing the cleaned texts, on one thread and on all.

use osler_corpus::{Document, Tokenizer, inspect};
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut files, mut tokenizer) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        if argument == "--tokenizer" {
            tokenizer = Some(Tokenizer::load(Path::new(&arguments.next().ok_or("--tokenizer needs a path")?))?);
        } else {
            files.push(PathBuf::from(argument));
        }
    }
    if files.is_empty() {
        return Err("usage: throughput [--tokenizer tokenizer.json] FILE...".into());
    }
    let mut texts = Vec::new();
    for file in &files {
        let megabytes = uncompressed_bytes(file)? as f64 / 1e6;
        let start = Instant::now();
        let (mut documents, mut abstracts, mut deleted) = (0u64, 0u64, 0u64);
        let mut kept = Vec::new();
        for document in inspect(file, "text")? {
            let document = document?;
            documents += u64::from(!document.deleted);
            deleted += u64::from(document.deleted);
            abstracts += u64::from(!document.abstract_sections.is_empty());
            if tokenizer.is_some() {
                kept.push(document);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}: {megabytes:.1} MB uncompressed in {seconds:.2} s: {:.1} MB/s, {:.0} documents/s; {documents} documents, {abstracts} abstracts, {deleted} deleted",
            file.display(),
            megabytes / seconds,
            documents as f64 / seconds,
        );
        texts.extend(kept.iter().map(text));
    }
    let Some(tokenizer) = tokenizer else { return Ok(()) };
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    for threads in [1, 0] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let start = Instant::now();
        let counts: Result<Vec<usize>, _> = pool.install(|| texts.par_iter().map(|t| tokenizer.encode(t).map(|ids| ids.len())).collect());
        let (tokens, seconds) = (counts?.iter().sum::<usize>(), start.elapsed().as_secs_f64());
        println!(
            "tokenizing, {} threads: {tokens} tokens of {megabytes:.1} MB in {seconds:.2} s: {:.2} MB/s, {:.0} tokens/s",
            pool.current_num_threads(),
            megabytes / seconds,
            tokens as f64 / seconds,
        );
    }
    Ok(())
}

fn text(document: &Document) -> String {
    let sections = document.abstract_sections.iter().map(|s| s.text.as_str());
    std::iter::once(document.title.as_str()).chain(sections).chain(document.text.as_deref()).collect::<Vec<_>>().join("\n")
}

fn uncompressed_bytes(path: &Path) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut magic = [0; 2];
    let zipped = file.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    let file = std::fs::File::open(path)?;
    if !zipped {
        return Ok(file.metadata()?.len());
    }
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut std::io::sink())
}
