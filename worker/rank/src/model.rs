//! Which model a run trains: the run file's shape with the tokenizer's vocabulary, or a Hugging Face folder's.

use anyhow::{Context as _, anyhow};
use osler_core::job::{JobKind, Summary};
use osler_core::spec::{Init, RunSpec, StageSpec};
use osler_engine::EngineError;
use osler_engine::hf::{self, HfFolder};
use osler_model::Rows;
use osler_worker::harness::{Failure, Job, out_of_memory, user};
use std::path::Path;

/// The vocabulary's size, and where documents end.
pub struct Vocabulary {
    pub size: usize,
    /// What a text ends with.
    pub end_of_text: u32,
}

/// Only trouble with files and other ranks may pass; a model that does not fit never will.
pub fn failure(error: EngineError) -> Failure {
    match error {
        error if error.is_out_of_memory() => out_of_memory(error),
        EngineError::Io { .. } | EngineError::Distributed(_) | EngineError::Checkpoint(_) | EngineError::File { .. } => error.into(),
        other => user(other),
    }
}

pub fn vocabulary(job: &Job, stage: &StageSpec) -> Result<Vocabulary, Failure> {
    let tokenizer = job.input(&JobKind::Tokenizer)?;
    let Summary::Tokenizer { vocab_size, end_of_text, .. } = tokenizer.summary else {
        return Err(anyhow!("the tokenizer job has another job's result").into());
    };
    let spec = &job.assignment.spec;
    let size = match imported(spec, stage)? {
        None => vocab_size as usize,
        Some(path) => {
            let folder = hf::import(path).map_err(failure)?;
            let differences = osler_model::differences(&spec.model, path, folder.model().config());
            if !differences.is_empty() {
                return Err(user(anyhow!(differences.join("; "))));
            }
            rows(job, path, &folder, vocab_size as usize)?.total
        }
    };
    Ok(Vocabulary { size, end_of_text })
}

/// Which rows of the vocabulary the folder at `path` holds, and which are made for the run's tokenizer of `needed` tokens.
pub fn rows(job: &Job, path: &Path, folder: &HfFolder, needed: usize) -> Result<Rows, Failure> {
    Rows::of(path, folder.config().vocab, needed, job.assignment.spec.tokenizer.extend()).map_err(|e| failure(e.into()))
}

/// The folder at the beginning of the chain of stages, if there is one.
pub fn imported<'a>(spec: &'a RunSpec, stage: &'a StageSpec) -> Result<Option<&'a Path>, Failure> {
    let mut stage = stage;
    loop {
        match &stage.from {
            Init::Scratch => return Ok(None),
            Init::HuggingFace(path) => return Ok(Some(Path::new(path))),
            Init::Stage(name) | Init::Fork { stage: name, .. } => {
                stage = spec.stage(name).with_context(|| format!("the run file has no stage {name}"))?
            }
        }
    }
}

pub fn stage_spec<'a>(job: &'a Job, stage: &osler_core::ids::StageName) -> anyhow::Result<&'a StageSpec> {
    job.assignment.spec.stage(stage).with_context(|| format!("the run file has no stage {stage}"))
}
