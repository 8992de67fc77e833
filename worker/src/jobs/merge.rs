//! All cleaned files of a corpus to its training and held-out documents.

use super::{corpus_failure, corpus_spec, publish_all};
use crate::harness::{Failure, Job, user};
use anyhow::{Context as _, anyhow};
use osler_core::digest::Digest;
use osler_core::ids::CorpusName;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_core::spec::CorpusSpec;
use osler_corpus::{CLEANING_VERSION, CleanFiles, Rule};

pub fn run(job: &Job, corpus: &CorpusName) -> Result<JobResult, Failure> {
    job.say("fetching");
    let spec = corpus_spec(job, corpus)?;
    let mut inputs = vec![];
    let mut sources = vec![];
    let (mut bad, mut first_bad) = (0, None);
    for source in 0..spec.files.len() as u32 {
        let cleaned = job.input(&JobKind::Clean { corpus: corpus.clone(), source })?;
        let Summary::Clean { source_digest, removed, bad_lines, .. } = &cleaned.summary else {
            return Err(anyhow!("clean/{corpus}/{source} has another job's result").into());
        };
        sources.push(*source_digest);
        bad += removed.get(&Rule::BadLine.to_string()).copied().unwrap_or_default();
        first_bad = first_bad.or(bad_lines.first());
        let (documents, tombstones) = (job.fetch(cleaned, "documents.jsonl")?, job.fetch(cleaned, "tombstones.jsonl")?);
        inputs.push(CleanFiles { source_index: source, documents, tombstones });
    }
    if bad > spec.bad_lines.at_most() {
        let (most, first) = (spec.bad_lines.at_most(), first_bad.map(String::as_str).unwrap_or_default());
        let problem = format!("corpus {corpus}: {bad} lines cannot be read, and max_bad_lines is {most}; the first is {first}");
        return Err(user(anyhow!("{problem}; mend the files, or raise max_bad_lines")));
    }
    job.say("merging");
    let seed = job.assignment.spec.data_seed;
    let output = osler_corpus::merge(&inputs, corpus, spec, seed, &job.scratch).map_err(corpus_failure)?;
    if output.train.is_empty() {
        return Err(user(anyhow!("corpus {corpus} has no training documents")));
    }
    let files = output.train.iter().chain([&output.held_out, &output.removed]);
    let names: Vec<&str> = files.map(|f| f.name.as_str()).collect();
    let outputs = publish_all(job, &job.scratch, &names)?;
    let summary = Summary::Merge {
        documents: output.train_documents,
        held_out: output.held_out_documents,
        words: output.train_words,
        removed: output.removed_by_rule.iter().map(|(rule, n)| (rule.to_string(), *n)).collect(),
        identity: identity(&sources, spec, seed)?,
    };
    Ok(JobResult { outputs, summary })
}

/// What the corpus is: its sources, the rules, the version of the code that applied them, and what keys the held-out split.
fn identity(sources: &[Digest], spec: &CorpusSpec, seed: u64) -> anyhow::Result<Digest> {
    let mut content = spec.clone();
    content.files.clear(); // names and places do not matter, bytes do
    content.max_unknown = CorpusSpec::MAX_UNKNOWN; // says when to give up, not what is in it
    let rules = serde_json::to_vec(&content).context("describe the corpus")?;
    let (version, seed) = (CLEANING_VERSION.to_le_bytes(), seed.to_le_bytes());
    let fixed = [&b"osler-corpus-1"[..], &rules, &version, &seed];
    Ok(Digest::of_parts(fixed.into_iter().chain(sources.iter().map(|d| &d.as_bytes()[..]))))
}
