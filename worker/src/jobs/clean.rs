//! One source file to cleaned documents.

use super::{corpus_failure, corpus_spec, publish_all};
use crate::harness::{Failure, Job};
use anyhow::Context as _;
use osler_core::ids::CorpusName;
use osler_core::job::{JobResult, Summary};
use std::path::Path;

pub fn run(job: &Job, corpus: &CorpusName, source: u32) -> Result<JobResult, Failure> {
    job.say("cleaning");
    let spec = corpus_spec(job, corpus)?;
    let path = spec.files.get(source as usize).with_context(|| format!("corpus {corpus} has no source file {source}"))?;
    let output = osler_corpus::clean_source(Path::new(path), source, spec, &job.scratch).map_err(corpus_failure)?;
    let names = [&output.documents.name, &output.removed.name, &output.tombstones.name].map(String::as_str);
    let outputs = publish_all(job, &job.scratch, &names)?;
    let summary = Summary::Clean {
        source: path.clone(),
        source_bytes: output.source_bytes,
        source_digest: output.source,
        documents: output.documents.records,
        removed: output.removed_by_rule.iter().map(|(rule, n)| (rule.to_string(), *n)).collect(),
        bad_lines: output.bad_lines,
    };
    Ok(JobResult { outputs, summary })
}
