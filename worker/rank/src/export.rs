//! A stage's last checkpoint to a Hugging Face folder: what exams, compression and everybody else start from.

use crate::carried;
use crate::model::{failure, stage_spec, vocabulary};
use crate::train::parts;
use anyhow::Context as _;
use osler_core::checkpoint::ObjectRef;
use osler_core::ids::StageName;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_engine::checkpoint::SliceSet;
use osler_engine::flat::FlatLayout;
use osler_engine::hf::ExportOptions;
use osler_engine::{hf, models};
use osler_model::Specials;
use osler_worker::harness::{Failure, Job};
use osler_worker::jobs::{TOKENIZER, TOKENIZER_CONFIG, model_failure, tokenizer_folder, tokenizer_settings};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub fn run(job: &Job, stage: &StageName) -> Result<JobResult, Failure> {
    job.say("fetching");
    let spec = &job.assignment.spec;
    let checkpoint = job.assignment.checkpoint.as_ref().context("the assignment lacks the stage's last checkpoint")?;
    let vocabulary = vocabulary(job, stage_spec(job, stage)?)?;
    let params = models::params::parameters(&spec.model, vocabulary.size).map_err(failure)?;
    let layout = FlatLayout::of(&params);
    let mut weights = SliceSet::open(&parts(job, checkpoint)?, &layout).map_err(failure)?;
    job.say("exporting");
    let folder = job.scratch.join("model");
    let options = ExportOptions { shard_bytes: spec.export.shard_bytes, dtype: spec.export.dtype };
    let generation = carried::generation(job, stage_spec(job, stage)?)?;
    let special = carried::first_ids(&generation);
    let written = hf::export(&folder, &spec.model, vocabulary.size, &mut weights, special, options).map_err(failure)?;
    carried::write(&folder, &generation, spec.model.family.causal())?;
    tokenizer_files(job, &folder)?;
    let mut outputs = BTreeMap::new();
    publish(job, &folder, "", &mut outputs)?;
    let parameters = params.iter().map(|p| p.len() as u64).sum();
    Ok(JobResult { outputs, summary: Summary::Export { step: checkpoint.step, parameters, bytes: written.bytes } })
}

/// The tokenizer with the files that belong to it.
fn tokenizer_files(job: &Job, folder: &Path) -> Result<(), Failure> {
    let made = job.input(&JobKind::Tokenizer)?;
    let from = tokenizer_folder(job)?;
    for name in made.outputs.keys() {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().unwrap_or(folder)).with_context(|| format!("make a place for {name}"))?;
        fs::copy(from.join(name), &to).with_context(|| format!("copy {name}"))?;
    }
    let Summary::Tokenizer { end_of_text, front: None, .. } = made.summary else { return Ok(()) };
    // The job of an earlier version left no settings that others could use.
    let specials = Specials::read(&from).map_err(model_failure)?;
    let json = fs::read(folder.join(TOKENIZER)).context("read tokenizer.json")?;
    let json: serde_json::Value = serde_json::from_slice(&json).context("read tokenizer.json")?;
    let settings = tokenizer_settings(None, &json, &specials, end_of_text, &job.assignment.spec.model);
    fs::write(folder.join(TOKENIZER_CONFIG), format!("{settings:#}\n")).context("write tokenizer_config.json")?;
    Ok(())
}

/// Every file of the folder, by its name below it.
fn publish(job: &Job, folder: &Path, below: &str, outputs: &mut BTreeMap<String, ObjectRef>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder.join(below)).context("list the exported folder")? {
        let entry = entry.context("list the exported folder")?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().context("list the exported folder")?.is_dir() {
            publish(job, folder, &format!("{name}/"), outputs)?;
        } else {
            outputs.insert(name.clone(), job.publish(&entry.path(), &name)?);
        }
    }
    Ok(())
}
