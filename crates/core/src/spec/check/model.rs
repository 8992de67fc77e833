//! Rules of a model's shape: of `[model]`, and of what a Hugging Face folder says. The bounds are here and nowhere else; they keep every
//! product of sizes below 2^50, so that none can wrap.

use super::{Rules, between, nearest_divisors, nearest_multiples, number};
use crate::spec::reader::{Problems, Report};
use crate::spec::{ModelSpec, RopeScaling};

const MAX_DIM: u32 = 65_536;
const MAX_LAYERS: u32 = 1024;
const MAX_HEADS: u32 = 1024;
const MAX_HEAD_DIM: u32 = 4096;
const MAX_FFN: u32 = 1 << 20;
pub(super) const MAX_POSITIONS: u32 = 1 << 20;

/// Checks a shape that was not read from a run file, such as a Hugging Face folder's: all problems at once, fields named as in `[model]`.
pub fn check_shape(model: &ModelSpec) -> Result<(), Problems> {
    let report = Report::new("the model");
    check(&report, model);
    between(&report, "model.max_positions", model.max_positions, 1, MAX_POSITIONS);
    report.finish(Some(()))
}

pub(super) fn check_model(rules: &Rules<'_>) {
    check(rules.report, &rules.spec.model);
    check_positions(rules, &rules.spec.model);
}

fn check(report: &Report, model: &ModelSpec) {
    between(report, "model.dim", model.dim, 1, MAX_DIM);
    between(report, "model.layers", model.layers, 1, MAX_LAYERS);
    between(report, "model.heads", model.heads, 1, MAX_HEADS);
    // Defaults follow other fields; if those are wrong, this is no second problem.
    if report.sound("model.heads") {
        between(report, "model.kv_heads", model.kv_heads, 1, MAX_HEADS);
    }
    if report.sound("model.dim") {
        between(report, "model.ffn", model.ffn, 1, MAX_FFN);
    }
    number(report, "model.norm_eps", model.norm_eps, 0.0, true, 0.1);
    number(report, "model.init_std", model.init_std, 0.0, true, 1.0);
    check_heads(report, model);
    let family = model.family;
    if family.rotary() {
        number(report, "model.rope_theta", model.rope_theta, 1.0, true, 1e12);
        check_scaling(report, model);
    }
    if family.always_tied() && !model.tied {
        report.problem("model.tied", format!("{family} ties its head to its embeddings: remove this or set it to true"));
    }
    if !family.rotary() && model.head_dim.is_some() && report.sound("model.head_dim") {
        report.problem("model.head_dim", format!("the heads of {family} share dim evenly"));
    }
    if !family.rotary() && model.rope_scaling.is_some() && report.sound("model.rope_scaling") {
        report.problem("model.rope_scaling", format!("{family} has learned positions"));
    }
}

fn check_scaling(report: &Report, model: &ModelSpec) {
    let field = |key: &str| format!("model.rope_scaling.{key}");
    match model.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => number(report, &field("factor"), factor, 1.0, false, 1e4),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => {
            number(report, &field("factor"), factor, 1.0, false, 1e4);
            number(report, &field("low_freq_factor"), low_freq_factor, 0.0, true, 1e4);
            number(report, &field("high_freq_factor"), high_freq_factor, 0.0, true, 1e4);
            between(report, &field("original_max_positions"), original_max_positions, 1, MAX_POSITIONS);
            if high_freq_factor <= low_freq_factor && report.all_sound(&[&field("low_freq_factor"), &field("high_freq_factor")]) {
                let message = format!("{high_freq_factor} is not above low_freq_factor = {low_freq_factor}: llama 3.1 has 4 and 1");
                report.problem(&field("high_freq_factor"), message);
            }
        }
    }
}

fn check_heads(report: &Report, model: &ModelSpec) {
    let ModelSpec { family, dim, heads, kv_heads, .. } = *model;
    if !report.all_sound(&["model.family", "model.dim", "model.heads"]) {
        return;
    }
    if let Some(width) = model.head_dim {
        if between(report, "model.head_dim", width, 1, MAX_HEAD_DIM) && width % 2 != 0 {
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
