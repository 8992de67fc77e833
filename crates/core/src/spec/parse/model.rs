//! `[model]`.

use crate::spec::reader::{Section, Word};
use crate::spec::{Family, ModelSpec};

impl Word for Family {
    const ALL: &'static [(&'static str, Self)] = &[("llama", Self::Llama), ("gpt2", Self::Gpt2)];
}

/// The feed-forward width of the family's papers: 8/3 of `dim` rounded up to 64 (SwiGLU has a third matrix), or 4 times `dim`.
fn default_ffn(family: Family, dim: u32) -> u32 {
    match family {
        Family::Llama => u32::try_from((u64::from(dim) * 8).div_ceil(3).next_multiple_of(64)).unwrap_or(u32::MAX),
        Family::Gpt2 => dim.saturating_mul(4),
    }
}

pub(super) fn read_model(root: &mut Section<'_>, longest_sequence: Option<u32>) -> ModelSpec {
    let mut section = root.need_section("model", "[model] with family, dim, layers and heads");
    let family = section.need("family", Family::Llama, "family = \"llama\"");
    let dim = section.need("dim", 0, "dim = 512");
    let layers = section.need("layers", 0, "layers = 8");
    let heads = section.need("heads", 0, "heads = 8");
    if family == Family::Gpt2 {
        section.refuse("rope_theta", "gpt2 has learned positions");
    }
    let spec = ModelSpec {
        family,
        dim,
        layers,
        heads,
        kv_heads: section.or("kv_heads", heads),
        ffn: section.or("ffn", default_ffn(family, dim)),
        max_positions: section.or("max_positions", longest_sequence.unwrap_or(0)),
        tied: section.or("tied", family == Family::Gpt2),
        norm_eps: section.or("norm_eps", 1e-5),
        rope_theta: section.or("rope_theta", 10_000.0),
        init_std: section.or("init_std", 0.02),
    };
    section.finish();
    spec
}
