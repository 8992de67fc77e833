//! The run's tokenizer: trained on its own documents, or the one that the run file names.

use super::{corpus_failure, train_files};
use crate::harness::{Failure, Job};
use anyhow::Context as _;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_core::spec::TokenizerSpec;
use osler_corpus::Tokenizer;
use std::collections::BTreeMap;
use std::path::Path;

pub const NAME: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

pub fn run(job: &Job) -> Result<JobResult, Failure> {
    let file = job.scratch.join(NAME);
    match &job.assignment.spec.tokenizer {
        TokenizerSpec::Train { vocab_size, min_frequency, corpora, wordpiece } => {
            let mut files = vec![];
            for corpus in corpora {
                files.extend(train_files(job, corpus)?);
            }
            match wordpiece {
                None => osler_corpus::train_tokenizer(&files, *vocab_size, *min_frequency, &file),
                Some(spec) => osler_corpus::train_wordpiece(&files, *vocab_size, *min_frequency, *spec, &file),
            }
            .map_err(corpus_failure)?;
        }
        TokenizerSpec::File { path, .. } => {
            let json = osler_corpus::tokenizer_json(Path::new(path)).map_err(corpus_failure)?;
            std::fs::write(&file, json).with_context(|| format!("write what {path} says"))?;
        }
    }
    let loaded = match &job.assignment.spec.tokenizer {
        TokenizerSpec::Train { .. } => osler_corpus::load_tokenizer(&file),
        TokenizerSpec::File { path, .. } => osler_corpus::load_tokenizer(Path::new(path)),
    };
    let loaded = loaded.map_err(corpus_failure)?;
    // Whoever loads the tokenizer from here finds the same end of text, and the same special tokens.
    let end = loaded.token(loaded.eos()).context("the end-of-text token has no spelling")?;
    let config = job.scratch.join(CONFIG);
    let mut named = loaded.named().clone();
    named.insert("eos_token".to_owned(), end.into());
    std::fs::write(&config, serde_json::Value::Object(named).to_string()).context("write the tokenizer's config")?;
    let summary = Summary::Tokenizer { vocab_size: loaded.vocab_size(), end_of_text: loaded.eos() };
    let outputs = BTreeMap::from([(NAME.to_owned(), job.publish(&file, NAME)?), (CONFIG.to_owned(), job.publish(&config, CONFIG)?)]);
    Ok(JobResult { outputs, summary })
}

/// The run's tokenizer as the tokenizer job left it.
pub fn load(job: &Job) -> Result<Tokenizer, Failure> {
    let (made, folder) = (job.input(&JobKind::Tokenizer)?, job.scratch.join("tokenizer"));
    for name in [NAME, CONFIG] {
        let file = folder.join(name);
        // Earlier versions left no config; and a job may ask twice.
        if made.outputs.contains_key(name) && !file.exists() {
            job.link(made, name, &file)?;
        }
    }
    osler_corpus::load_tokenizer(&folder.join(NAME)).map_err(corpus_failure)
}
