//! Speed of corpus work, each figure repeated, for `make bench`:
//!
//!     RAYON_NUM_THREADS=1 corpus_speed REPEATS FOLDER FILE...
//!
//! Parses each file, then cleans and merges all of them in FOLDER and takes the first 10 MB of their text through the tokenizer's training,
//! tokenizing and packing. Prints one line a repetition: figure, unit, value by wall clock, value by CPU time, with tabs between.
#![forbid(unsafe_code)]

use osler_core::ids::CorpusName;
use osler_core::spec::CorpusSpec;
use osler_corpus::{CleanDocument, CleanFiles, Tokenizer, clean_source, merge, open, pack, sniff, train_tokenizer};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

type Fallible<T> = Result<T, Box<dyn Error>>;

const SAMPLE_BYTES: usize = 10_000_000;
const VOCAB: u32 = 16_384;
const SEQUENCE: u32 = 512;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: corpus_speed REPEATS FOLDER FILE...";
    let repeats: usize = arguments.next().ok_or(usage)?.parse()?;
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if files.is_empty() || repeats == 0 {
        return Err(usage.into());
    }
    for _ in 0..repeats {
        for file in &files {
            parse(file)?;
        }
    }
    let (sample, texts) = sample(&files, &folder)?;
    for _ in 0..repeats {
        tokenize(&sample, &texts, &folder)?;
    }
    Ok(())
}

/// Gunzip and parse, the file in the page cache; and gunzip alone, which bounds it.
fn parse(file: &Path) -> Fallible<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let watch = Watch::start();
    let bytes = uncompressed_bytes(file)? as f64;
    watch.report(&format!("gunzip alone, {name}"), "MB/s", bytes / 1e6);
    let watch = Watch::start();
    let mut documents = 0u64;
    for document in open(file, &CorpusSpec::new(sniff(file)?, vec![]))? {
        documents += u64::from(!document?.deleted);
    }
    let spent = watch.stop();
    if documents == 0 {
        return Err(format!("{}: no documents", file.display()).into());
    }
    spent.report(&format!("XML, {name}"), "MB/s", bytes / 1e6);
    spent.report(&format!("XML, {name}"), "documents/s", documents as f64);
    Ok(())
}

/// The first texts of the merged corpus: as the file that a merge writes, and in memory.
fn sample(files: &[PathBuf], folder: &Path) -> Fallible<(PathBuf, Vec<String>)> {
    let format = sniff(files.first().ok_or("no files")?)?;
    let corpus = CorpusSpec { held_out: 0.01, ..CorpusSpec::new(format, vec![]) };
    let mut inputs = Vec::new();
    for (index, file) in (0..).zip(files) {
        let folder = folder.join(format!("clean-{index}"));
        inputs.push(CleanFiles::in_folder(&folder, &clean_source(file, index, &corpus, &folder)?));
    }
    let merged = merge(&inputs, &CorpusName::new("bench")?, &corpus, 1, folder)?;
    let path = folder.join("sample.jsonl");
    let (mut out, mut texts, mut bytes) = (BufWriter::new(File::create(&path)?), Vec::new(), 0);
    for chunk in &merged.train {
        for line in BufReader::new(File::open(folder.join(&chunk.name))?).lines() {
            if bytes >= SAMPLE_BYTES {
                break;
            }
            let line = line?;
            let document: CleanDocument = serde_json::from_str(&line)?;
            bytes += document.text.len();
            texts.push(document.text);
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    println!("# {} documents, {:.1} MB of text for the tokenizer, {VOCAB} tokens wanted", texts.len(), bytes as f64 / 1e6);
    Ok((path, texts))
}

fn tokenize(sample: &Path, texts: &[String], folder: &Path) -> Fallible<()> {
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let (sample, path) = ([sample.to_path_buf()], folder.join("tokenizer.json"));

    let watch = Watch::start();
    train_tokenizer(&sample, VOCAB, 2, &path)?;
    let spent = watch.stop();
    println!("tokenizer training\ts\t{}\t{}", spent.wall, spent.cpu);
    spent.report("tokenizer training", "MB/s of text", megabytes);

    // Loaded anew each time: the tokenizer remembers words.
    let tokenizer = Tokenizer::load(&path)?;
    let (watch, mut tokens) = (Watch::start(), 0);
    for text in texts {
        tokens += tokenizer.encode(text)?.len();
    }
    let spent = watch.stop();
    spent.report("tokenizing", "tokens/s", tokens as f64);
    spent.report("tokenizing", "MB/s of text", megabytes);

    let tokenizer = Tokenizer::load(&path)?;
    let watch = Watch::start();
    pack(&sample, &tokenizer, SEQUENCE, None, folder)?;
    watch.report("pack (tokenize, write, sync)", "MB/s of text", megabytes);
    Ok(())
}

struct Watch {
    started: Instant,
    cpu: f64,
}

struct Spent {
    wall: f64,
    cpu: f64,
}

impl Watch {
    fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu_seconds() }
    }

    fn stop(&self) -> Spent {
        Spent { wall: self.started.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }

    fn report(&self, figure: &str, unit: &str, amount: f64) {
        self.stop().report(figure, unit, amount);
    }
}

impl Spent {
    fn report(&self, figure: &str, unit: &str, amount: f64) {
        println!("{figure}\t{unit}\t{}\t{}", amount / self.wall, amount / self.cpu);
    }
}

/// Time that this process has spent on a core, over all threads: other work on the machine touches it least.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(spent).sum::<f64>() / 1e9
}

fn uncompressed_bytes(path: &Path) -> std::io::Result<u64> {
    let mut magic = [0; 2];
    let zipped = File::open(path)?.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    if zipped {
        std::io::copy(&mut flate2::bufread::MultiGzDecoder::new(file), &mut std::io::sink())
    } else {
        std::io::copy(&mut file, &mut std::io::sink())
    }
}
