//! Rules of `[model]`. With `from = "hf:…"` the folder's own config must agree with these fields; the engine checks that when it loads it.

use super::{Rules, nearest_divisors, nearest_multiples};
use crate::spec::{Family, ModelSpec};

const MAX_DIM: u32 = 65_536;
const MAX_LAYERS: u32 = 1024;
const MAX_HEADS: u32 = 1024;
const MAX_FFN: u32 = 1 << 20;
pub(super) const MAX_POSITIONS: u32 = 1 << 20;

pub(super) fn check_model(rules: &Rules<'_>) {
    let model = &rules.spec.model;
    rules.between("model.dim", model.dim, 1, MAX_DIM);
    rules.between("model.layers", model.layers, 1, MAX_LAYERS);
    rules.between("model.heads", model.heads, 1, MAX_HEADS);
    // Defaults follow other fields; if those are wrong, this is no second problem.
    if rules.report.sound("model.heads") {
        rules.between("model.kv_heads", model.kv_heads, 1, MAX_HEADS);
    }
    if rules.report.sound("model.dim") {
        rules.between("model.ffn", model.ffn, 1, MAX_FFN);
    }
    rules.number("model.norm_eps", model.norm_eps, 0.0, true, 0.1);
    rules.number("model.init_std", model.init_std, 0.0, true, 1.0);
    check_heads(rules, model);
    check_positions(rules, model);
    match model.family {
        Family::Llama => rules.number("model.rope_theta", model.rope_theta, 1.0, true, 1e9),
        Family::Gpt2 if !model.tied => {
            rules.report.problem("model.tied", "gpt2 ties its head to its embeddings: remove this or set it to true")
        }
        Family::Gpt2 => {}
    }
}

fn check_heads(rules: &Rules<'_>, model: &ModelSpec) {
    let report = rules.report;
    let ModelSpec { dim, heads, kv_heads, .. } = *model;
    if !report.all_sound(&["model.family", "model.dim", "model.heads"]) {
        return;
    }
    if dim % heads != 0 {
        let near = nearest_multiples(dim.into(), heads.into(), MAX_DIM.into());
        report.problem("model.dim", format!("{dim} is not a multiple of heads = {heads}: use dim {near}, or another number of heads"));
    } else if model.family == Family::Llama && (dim / heads) % 2 != 0 {
        let near = nearest_multiples(dim.into(), u64::from(heads) * 2, MAX_DIM.into());
        let message = format!("dim / heads is {}, an odd number, and rotary positions turn pairs: use dim {near}", dim / heads);
        report.problem("model.dim", message);
    }
    if !report.sound("model.kv_heads") || kv_heads == heads {
        return;
    }
    if model.family == Family::Gpt2 {
        report.problem("model.kv_heads", format!("{kv_heads} is not heads = {heads}, and gpt2 does not group its heads: remove it"));
    } else if heads % kv_heads != 0 {
        let near = nearest_divisors(kv_heads, heads);
        report.problem("model.kv_heads", format!("{kv_heads} does not divide heads = {heads}: use {near}"));
    }
}

fn check_positions(rules: &Rules<'_>, model: &ModelSpec) {
    let sequences = rules.labels.stages.iter().all(|label| rules.report.sound(&format!("{label}.sequence_length")));
    if sequences && !rules.spec.stages.is_empty() {
        rules.between("model.max_positions", model.max_positions, 1, MAX_POSITIONS);
    }
}
