//! `[model]`.

use crate::spec::reader::{Section, Word};
use crate::spec::{Family, ModelSpec, RopeScaling};

impl Word for Family {
    const ALL: &'static [(&'static str, Self)] =
        &[("llama", Self::Llama), ("gpt2", Self::Gpt2), ("qwen2", Self::Qwen2), ("gemma", Self::Gemma), ("bert", Self::Bert)];
}

/// The feed-forward width of the family's papers: 8/3 of `dim` rounded up to 64 (SwiGLU has a third matrix), or 4 times `dim`; Gemma's is 8 times.
fn default_ffn(family: Family, dim: u32) -> u32 {
    match family {
        Family::Llama | Family::Qwen2 => u32::try_from((u64::from(dim) * 8).div_ceil(3).next_multiple_of(64)).unwrap_or(u32::MAX),
        Family::Gpt2 | Family::Bert => dim.saturating_mul(4),
        Family::Gemma => dim.saturating_mul(8),
    }
}

pub(super) fn read_model(root: &mut Section<'_>, longest_sequence: Option<u32>) -> ModelSpec {
    let mut section = root.need_section("model", "[model] with family, dim, layers and heads");
    let family = section.need("family", Family::Llama, "family = \"llama\"");
    let dim = section.need("dim", 0, "dim = 512");
    let layers = section.need("layers", 0, "layers = 8");
    let heads: u32 = section.need("heads", 0, "heads = 8");
    if !family.rotary() {
        for key in ["rope_theta", "rope_scaling"] {
            section.refuse(key, &format!("{family} has learned positions"));
        }
        section.refuse("head_dim", &format!("the heads of {family} share dim evenly"));
    }
    let spec = ModelSpec {
        family,
        dim,
        layers,
        heads,
        kv_heads: section.or("kv_heads", heads),
        // The usual width is not written down, so that two ways to say the same are the same run.
        head_dim: section.take("head_dim").filter(|width| heads.checked_mul(*width) != Some(dim)),
        ffn: section.or("ffn", default_ffn(family, dim)),
        max_positions: section.or("max_positions", longest_sequence.unwrap_or(0)),
        tied: section.or("tied", family.always_tied()),
        norm_eps: section.or("norm_eps", family.default_norm_eps()),
        rope_theta: section.or("rope_theta", family.default_rope_theta()),
        rope_scaling: section.section("rope_scaling").and_then(read_scaling),
        init_std: section.or("init_std", 0.02),
    };
    section.finish();
    spec
}

#[derive(Clone, Copy)]
enum ScalingKind {
    Linear,
    Llama3,
}

impl Word for ScalingKind {
    const ALL: &'static [(&'static str, Self)] = &[("linear", Self::Linear), ("llama3", Self::Llama3)];
}

fn read_scaling(mut section: Section<'_>) -> Option<RopeScaling> {
    let kind = section.require("kind", "kind = \"linear\"");
    let factor = section.need("factor", 1.0, "factor = 2.0");
    let scaling = match kind {
        Some(ScalingKind::Linear) => Some(RopeScaling::Linear { factor }),
        Some(ScalingKind::Llama3) => Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor: section.or("low_freq_factor", 1.0),
            high_freq_factor: section.or("high_freq_factor", 4.0),
            original_max_positions: section.need("original_max_positions", 1, "original_max_positions = 8192"),
        }),
        None => {
            for key in ["low_freq_factor", "high_freq_factor"] {
                section.take::<f64>(key);
            }
            section.take::<u32>("original_max_positions");
            None
        }
    };
    section.finish();
    scaling
}
