//! Which model a run trains: the run file's shape with the tokenizer's vocabulary, or a Hugging Face folder's.

use anyhow::{Context as _, anyhow};
use osler_core::job::{JobKind, Summary};
use osler_core::spec::{Init, ModelSpec, RunSpec, StageSpec};
use osler_engine::EngineError;
use osler_engine::hf::{self, HfFolder};
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
    let size = match imported(&job.assignment.spec, stage)? {
        None => vocab_size as usize,
        Some(path) => {
            let folder = hf::import(path).map_err(failure)?;
            check_shape(&job.assignment.spec, &folder)?;
            let rows = folder.config().vocab;
            let needed = vocab_size as usize;
            match job.assignment.spec.tokenizer.extend() {
                _ if rows >= needed => rows,
                Some(extend) => needed.next_multiple_of(extend.multiple_of.max(1) as usize),
                None => {
                    let way_out = "use the model's own tokenizer, or add rows with tokenizer.extend";
                    return Err(user(anyhow!("the imported model has {rows} embeddings, the tokenizer {needed} tokens: {way_out}")));
                }
            }
        }
    };
    Ok(Vocabulary { size, end_of_text })
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

/// Everything that changes what the weights mean must be equal; a shorter context than the folder's is the run's choice.
fn check_shape(spec: &RunSpec, folder: &HfFolder) -> Result<(), Failure> {
    let (asked, found) = (&spec.model, &folder.config().spec);
    let shape = |m: &ModelSpec| (m.family, m.dim, m.layers, m.heads, m.kv_heads, m.head_dim(), m.ffn, m.tied, m.norm_eps.to_bits());
    let rotary = found.family.rotary();
    let same_numbers = !rotary || (asked.rope_theta.to_bits(), asked.rope_scaling) == (found.rope_theta.to_bits(), found.rope_scaling);
    let positions = if rotary { asked.max_positions <= found.max_positions } else { asked.max_positions == found.max_positions };
    if shape(asked) == shape(found) && same_numbers && positions {
        return Ok(());
    }
    Err(user(anyhow!("[model] does not describe the imported folder: the run file says {asked:?}, the folder {found:?}")))
}

pub fn stage_spec<'a>(job: &'a Job, stage: &osler_core::ids::StageName) -> anyhow::Result<&'a StageSpec> {
    job.assignment.spec.stage(stage).with_context(|| format!("the run file has no stage {stage}"))
}
