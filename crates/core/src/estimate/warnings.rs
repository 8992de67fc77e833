//! What a plan shows to be unwise although it can run, with the finding that says so.

use super::Parameters;
use crate::ids::CorpusName;
use crate::spec::{Init, RunSpec, StageSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Repeating data up to so many times is almost as good as new data (Muennighoff et al. 2023, arXiv 2305.16264).
pub const FREE_EPOCHS: f64 = 4.0;
/// The compute-optimal ratio (Hoffmann et al. 2022, arXiv 2203.15556).
pub const ENOUGH_TOKENS_PER_PARAMETER: u64 = 20;

pub(super) fn warnings(spec: &RunSpec, parameters: &Parameters, epochs: &BTreeMap<CorpusName, f64>) -> Vec<String> {
    let mut warnings = vec![];
    for (corpus, passes) in epochs.iter().filter(|(_, passes)| **passes > FREE_EPOCHS) {
        warnings.push(format!(
            "corpus {corpus} is read {passes:.1} times; beyond {FREE_EPOCHS} epochs repeated text teaches much less than new text \
             (Muennighoff et al. 2023): add text, or train for fewer tokens"
        ));
    }
    for stage in last_of_their_line(spec) {
        // What a Hugging Face model was trained on before is not known here.
        let Some(tokens) = tokens_from_scratch(spec, stage) else { continue };
        let enough = parameters.total.saturating_mul(ENOUGH_TOKENS_PER_PARAMETER);
        if tokens < enough {
            let ratio = tokens as f64 / parameters.total.max(1) as f64;
            warnings.push(format!(
                "stage {} ends after {tokens} tokens, {ratio:.1} a parameter; below {ENOUGH_TOKENS_PER_PARAMETER} a smaller model learns more \
                 from the same compute (Hoffmann et al. 2022): {enough} tokens would be enough",
                stage.name
            ));
        }
    }
    for stage in &spec.stages {
        let every = spec.checkpoint.every_steps;
        if every > stage.steps() {
            warnings.push(format!(
                "stage {} has {} steps and checkpoint.every_steps is {every}: only its end is saved, and a kill loses the whole stage",
                stage.name,
                stage.steps()
            ));
        }
    }
    let used: BTreeSet<&CorpusName> = spec.stages.iter().flat_map(|stage| stage.mixture.keys()).collect();
    for name in spec.corpora.keys().filter(|name| !used.contains(name)) {
        warnings.push(format!("corpus {name} is in no stage's mixture: it is prepared and not trained on"));
    }
    warnings
}

/// The stages that no other one continues.
fn last_of_their_line(spec: &RunSpec) -> impl Iterator<Item = &StageSpec> {
    let continued = |stage: &StageSpec| spec.stages.iter().any(|other| other.from.earlier() == Some(&stage.name));
    spec.stages.iter().filter(move |stage| !continued(stage))
}

/// The tokens of a stage and those before it in its line; `None` if the line does not begin from scratch.
fn tokens_from_scratch(spec: &RunSpec, last: &StageSpec) -> Option<u64> {
    let mut tokens = 0_u64;
    let mut stage = last;
    // A line has each stage once; a circle, which `check` refuses, must not hang.
    for _ in 0..=spec.stages.len() {
        tokens = tokens.saturating_add(stage.steps().saturating_mul(stage.tokens_per_step()));
        match &stage.from {
            Init::Scratch => return Some(tokens),
            Init::HuggingFace(_) => return None,
            Init::Stage(before) | Init::Fork { stage: before, .. } => stage = spec.stage(before)?,
        }
    }
    None
}
