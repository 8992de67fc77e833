//! The jobs that need no libtorch: corpus work and compression. Each reads verified inputs, works in its scratch folder, and moves
//! finished files to its outputs.

mod clean;
mod merge;
mod pack;
mod quantize;
mod tokenizer;

use crate::harness::{Ended, Failure, Job, user};
use anyhow::{Context as _, anyhow};
use osler_core::checkpoint::ObjectRef;
use osler_core::ids::CorpusName;
use osler_core::job::{JobKind, JobResult};
use osler_core::spec::CorpusSpec;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use pack::MANIFEST as DATASET;
pub use quantize::{FOLDER as COMPRESSED_FOLDER, GGUF as COMPRESSED_GGUF};
pub use tokenizer::{
    CONFIG as TOKENIZER_CONFIG, NAME as TOKENIZER, folder as tokenizer_folder, load as load_tokenizer, model_failure,
    settings as tokenizer_settings,
};

/// Does the job that the assignment names.
pub fn run(job: &mut Job) -> Result<Ended, Failure> {
    let result = match job.assignment.kind.clone() {
        JobKind::Clean { corpus, source } => clean::run(job, &corpus, source)?,
        JobKind::Merge { corpus } => merge::run(job, &corpus)?,
        JobKind::Tokenizer => tokenizer::run(job)?,
        JobKind::Pack { corpus, sequence_length } => pack::run(job, &corpus, sequence_length)?,
        JobKind::Quantize { stage, method } => quantize::run(job, &stage, method)?,
        kind @ (JobKind::Train { .. } | JobKind::Export { .. } | JobKind::Exam { .. }) => {
            return Err(user(anyhow!("{} needs libtorch: it runs in osler-rank", kind.key())));
        }
    };
    Ok(Ended::Done(result))
}

fn corpus_spec<'a>(job: &'a Job, corpus: &CorpusName) -> anyhow::Result<&'a CorpusSpec> {
    job.assignment.spec.corpora.get(corpus).with_context(|| format!("the run file has no corpus {corpus}"))
}

/// Errors of the corpus crate: only those that another attempt may cure are the infrastructure's.
pub fn corpus_failure(error: osler_corpus::Error) -> Failure {
    if error.retryable() { error.into() } else { user(error) }
}

/// Moves the named files of `folder` to this attempt's outputs.
fn publish_all(job: &Job, folder: &std::path::Path, names: &[&str]) -> anyhow::Result<BTreeMap<String, ObjectRef>> {
    names.iter().map(|name| Ok(((*name).to_owned(), job.publish(&folder.join(name), name)?))).collect()
}

/// The training documents that the merge of a corpus left, in order.
fn train_files(job: &Job, corpus: &CorpusName) -> anyhow::Result<Vec<PathBuf>> {
    let merged: &JobResult = job.input(&JobKind::Merge { corpus: corpus.clone() })?;
    let names = merged.outputs.keys().filter(|name| name.starts_with("train-"));
    names.map(|name| job.fetch(merged, name)).collect()
}
