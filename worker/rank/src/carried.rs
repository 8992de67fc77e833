//! What a model keeps beside its weights when it is trained on: the tokens at which it begins and stops, and how it is sampled.

use crate::model::imported;
use anyhow::Context as _;
use osler_core::spec::StageSpec;
use osler_engine::hf::SpecialTokens;
use osler_model::{Generation, ModelError, Specials, TOKENIZER, TokenIds, spellings};
use osler_worker::harness::{Failure, Job};
use osler_worker::jobs::{load_tokenizer, model_failure, tokenizer_folder};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the exported folder says about generation: the imported folder's words, as far as the run's tokenizer means the same tokens by them;
/// for a new model, the tokenizer's own tokens.
pub fn generation(job: &Job, stage: &StageSpec) -> Result<Generation, Failure> {
    let folder = tokenizer_folder(job)?;
    let specials = Specials::read(&folder).map_err(model_failure)?;
    let tokenizer = load_tokenizer(job)?;
    let causal = job.assignment.spec.model.family.causal();
    let end = Some(tokenizer.eos()).filter(|_| causal);
    let begin = specials.bos.or(tokenizer.front().first().copied()).or(end).filter(|_| causal);
    let pad = tokenizer.pieces().map(|pieces| pieces.pad).or(specials.pad);
    let own = TokenIds { bos: begin, eos: end.into_iter().collect(), pad };
    let Some(source) = imported(&job.assignment.spec, stage)? else { return Ok(Generation::of(own)) };
    let same = same_tokens(source, &folder.join(TOKENIZER), &own).map_err(model_failure)?;
    let (generation, notes) = Generation::read(source).map_err(model_failure)?.with_tokenizer(&own, &same);
    notes.iter().for_each(|note| tracing::warn!("{}: {note}", source.display()));
    if let Some(end) = end.filter(|end| !generation.stops().contains(end)) {
        tracing::warn!("documents end with token {end}, at which the model does not stop: it stops at {:?}", generation.stops());
    }
    Ok(generation)
}

/// Whether an id of the imported folder means the same token to the run's tokenizer. A folder without a tokenizer is believed only where it
/// names the run's own tokens.
fn same_tokens(source: &Path, run: &Path, own: &TokenIds) -> Result<impl Fn(u32) -> bool + use<>, ModelError> {
    let path = source.join(TOKENIZER);
    let theirs: Option<BTreeMap<u32, String>> = if path.is_file() { Some(spellings(&path)?) } else { None };
    let (ours, own) = (spellings(run)?, own.clone());
    Ok(move |id| match &theirs {
        Some(theirs) => theirs.get(&id).is_some_and(|token| ours.get(&id) == Some(token)),
        None => own.bos == Some(id) || own.pad == Some(id) || own.eos.contains(&id),
    })
}

/// The ids that the engine writes by itself.
pub fn first_ids(generation: &Generation) -> SpecialTokens {
    let TokenIds { bos, eos, pad } = &generation.ids;
    SpecialTokens { bos: *bos, eos: eos.first().copied(), pad: *pad }
}

/// Completes an exported folder with what the engine does not know: lists of end tokens, and sampling.
pub fn write(folder: &Path, generation: &Generation, causal: bool) -> anyhow::Result<()> {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).context("read config.json")?).context("read config.json")?;
    for (key, ids) in generation.ids.fields() {
        config[key] = ids;
    }
    fs::write(&path, format!("{config:#}\n")).context("write config.json")?;
    if causal {
        fs::write(folder.join("generation_config.json"), generation.to_json()).context("write generation_config.json")?;
    }
    Ok(())
}
