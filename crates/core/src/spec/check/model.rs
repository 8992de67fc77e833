//! Rules of `[model]`. With `from = "hf:…"` the folder's own config must agree with these fields; the engine checks that when it loads it.

use super::{Rules, nearest_divisors, nearest_multiples};
use crate::spec::{ModelSpec, RopeScaling};

const MAX_DIM: u32 = 65_536;
const MAX_LAYERS: u32 = 1024;
const MAX_HEADS: u32 = 1024;
const MAX_HEAD_DIM: u32 = 4096;
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
    let family = model.family;
    if family.rotary() {
        rules.number("model.rope_theta", model.rope_theta, 1.0, true, 1e9);
        check_scaling(rules, model);
    }
    if family.always_tied() && !model.tied {
        rules.report.problem("model.tied", format!("{family} ties its head to its embeddings: remove this or set it to true"));
    }
}

fn check_scaling(rules: &Rules<'_>, model: &ModelSpec) {
    let field = |key: &str| format!("model.rope_scaling.{key}");
    match model.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => rules.number(&field("factor"), factor, 1.0, false, 1e4),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => {
            rules.number(&field("factor"), factor, 1.0, false, 1e4);
            rules.number(&field("low_freq_factor"), low_freq_factor, 0.0, true, 1e4);
            rules.number(&field("high_freq_factor"), high_freq_factor, 0.0, true, 1e4);
            rules.between(&field("original_max_positions"), original_max_positions, 1, MAX_POSITIONS);
            if high_freq_factor <= low_freq_factor && rules.report.all_sound(&[&field("low_freq_factor"), &field("high_freq_factor")]) {
                let message = format!("{high_freq_factor} is not above low_freq_factor = {low_freq_factor}: llama 3.1 has 4 and 1");
                rules.report.problem(&field("high_freq_factor"), message);
            }
        }
    }
}

fn check_heads(rules: &Rules<'_>, model: &ModelSpec) {
    let report = rules.report;
    let ModelSpec { family, dim, heads, kv_heads, .. } = *model;
    if !report.all_sound(&["model.family", "model.dim", "model.heads"]) {
        return;
    }
    if let Some(width) = model.head_dim {
        if rules.between("model.head_dim", width, 1, MAX_HEAD_DIM) && width % 2 != 0 {
            report.problem("model.head_dim", format!("{width} is odd, and rotary positions turn pairs: use {}", width + 1));
        }
    } else if dim % heads != 0 {
        let near = nearest_multiples(dim.into(), heads.into(), MAX_DIM.into());
        report.problem("model.dim", format!("{dim} is not a multiple of heads = {heads}: use dim {near}, or another number of heads"));
    } else if family.rotary() && (dim / heads) % 2 != 0 {
        let near = nearest_multiples(dim.into(), u64::from(heads) * 2, MAX_DIM.into());
        let message = format!("dim / heads is {}, an odd number, and rotary positions turn pairs: use dim {near}", dim / heads);
        report.problem("model.dim", message);
    }
    if !report.sound("model.kv_heads") || kv_heads == heads {
        return;
    }
    if !family.rotary() {
        report.problem("model.kv_heads", format!("{kv_heads} is not heads = {heads}, and {family} does not group its heads: remove it"));
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
