//! The run's tokenizer: trained on its own documents, or the one that the run file names.

use super::{corpus_failure, train_files};
use crate::harness::{Failure, Job};
use anyhow::Context as _;
use osler_core::job::{JobResult, Summary};
use osler_core::spec::TokenizerSpec;
use std::collections::BTreeMap;
use std::path::Path;

pub const NAME: &str = "tokenizer.json";

pub fn run(job: &Job) -> Result<JobResult, Failure> {
    let file = job.scratch.join(NAME);
    match &job.assignment.spec.tokenizer {
        TokenizerSpec::Train { vocab_size, min_frequency, corpora } => {
            let mut files = vec![];
            for corpus in corpora {
                files.extend(train_files(job, corpus)?);
            }
            osler_corpus::train_tokenizer(&files, *vocab_size, *min_frequency, &file).map_err(corpus_failure)?;
        }
        TokenizerSpec::File { path } => {
            osler_corpus::load_tokenizer(Path::new(path)).map_err(corpus_failure)?;
            std::fs::copy(path, &file).with_context(|| format!("copy {path}"))?;
        }
    }
    let loaded = osler_corpus::load_tokenizer(&file).map_err(corpus_failure)?;
    let summary = Summary::Tokenizer { vocab_size: loaded.vocab_size(), end_of_text: loaded.eos() };
    Ok(JobResult { outputs: BTreeMap::from([(NAME.to_owned(), job.publish(&file, NAME)?)]), summary })
}
