//! The parameters of a model, without tensors: names (Hugging Face's), shapes, order and how each begins.
//!
//! The order is part of the numbers: weights are drawn parameter by parameter from one generator.

mod families;

use crate::EngineError;
use osler_core::spec::{Family, ModelSpec, RopeScaling};

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Normal with the model's `init_std`.
    Normal,
    Ones,
    Zeros,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub shape: Vec<usize>,
    pub begin: Begin,
}

impl Param {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every parameter in order. Errors: all problems of the shape at once.
pub fn parameters(spec: &ModelSpec, vocab: usize) -> Result<Vec<Param>, EngineError> {
    let problems = problems(spec, vocab);
    if !problems.is_empty() {
        return Err(EngineError::Model(problems));
    }
    Ok(match spec.family {
        Family::Llama | Family::Qwen2 | Family::Gemma => families::llama(spec, vocab),
        Family::Gpt2 => families::gpt2(spec, vocab),
        Family::Bert => families::bert(spec, vocab),
    })
}

/// The parameters that have a row, or a value, for each token.
pub fn vocabulary_tensors(spec: &ModelSpec) -> Vec<&'static str> {
    match spec.family {
        Family::Llama | Family::Qwen2 | Family::Gemma if spec.tied => vec!["model.embed_tokens.weight"],
        Family::Llama | Family::Qwen2 | Family::Gemma => vec!["model.embed_tokens.weight", "lm_head.weight"],
        Family::Gpt2 => vec!["transformer.wte.weight"],
        Family::Bert => vec!["bert.embeddings.word_embeddings.weight", "cls.predictions.bias"],
    }
}

/// The bounds keep every product below 2^50, so that no size can wrap.
fn problems(spec: &ModelSpec, vocab: usize) -> Vec<String> {
    let mut found = vec![];
    let mut within = |field: &str, value: u64, most: u64| {
        if value == 0 || value > most {
            found.push(format!("{field} is {value}, must be 1 to {most}"));
        }
    };
    within("vocabulary", vocab as u64, 1 << 24);
    within("model.dim", spec.dim.into(), 1 << 16);
    within("model.layers", spec.layers.into(), 1 << 10);
    within("model.heads", spec.heads.into(), 1 << 10);
    within("model.kv_heads", spec.kv_heads.into(), 1 << 10);
    within("model.head_dim", spec.head_dim.unwrap_or(1).into(), 1 << 12);
    within("model.ffn", spec.ffn.into(), 1 << 18);
    within("model.max_positions", spec.max_positions.into(), 1 << 17);
    if !found.is_empty() {
        return found;
    }
    if spec.head_dim.is_none() && !spec.dim.is_multiple_of(spec.heads) {
        found.push(format!("model.dim {} is not a multiple of model.heads {}", spec.dim, spec.heads));
    }
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        found.push(format!("model.heads {} is not a multiple of model.kv_heads {}", spec.heads, spec.kv_heads));
    }
    let mut positive = |field: &str, value: f64| {
        if !value.is_finite() || value <= 0.0 {
            found.push(format!("{field} is {value}, must be a positive number"));
        }
    };
    positive("model.norm_eps", spec.norm_eps);
    positive("model.rope_theta", spec.rope_theta);
    match spec.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => positive("model.rope_scaling.factor", factor),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => {
            positive("model.rope_scaling.factor", factor);
            positive("model.rope_scaling.low_freq_factor", low_freq_factor);
            positive("model.rope_scaling.high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor);
            positive("model.rope_scaling.original_max_positions", original_max_positions.into());
        }
    }
    if !spec.init_std.is_finite() || spec.init_std < 0.0 {
        found.push(format!("model.init_std is {}, must be 0 or more", spec.init_std));
    }
    let family = spec.family;
    if family.rotary() && !spec.head_dim().is_multiple_of(2) {
        found.push(format!("the width of a head is {}, rotary positions need an even number", spec.head_dim()));
    }
    if family.always_tied() && !spec.tied {
        found.push(format!("model.tied is false, a {family} model has a tied head: set it to true"));
    }
    if !family.rotary() && spec.kv_heads != spec.heads {
        found.push(format!("model.kv_heads is {}, a {family} model has as many as heads: {}", spec.kv_heads, spec.heads));
    }
    if !family.rotary() && (spec.head_dim.is_some() || spec.rope_scaling.is_some()) {
        found.push(format!("a {family} model has neither model.head_dim nor model.rope_scaling"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(family: Family) -> ModelSpec {
        ModelSpec {
            family,
            dim: 64,
            layers: 2,
            heads: 4,
            kv_heads: 4,
            head_dim: None,
            ffn: 172,
            max_positions: 32,
            tied: family.always_tied(),
            norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: None,
            init_std: 0.02,
        }
    }

    #[test]
    fn every_parameter_is_counted_once() {
        let count = |spec: &ModelSpec| parameters(spec, 512).unwrap().iter().map(Param::len).sum::<usize>();
        let llama = spec(Family::Llama);
        let layer = 2 * 64 + 4 * 64 * 64 + 3 * 64 * 172;
        assert_eq!(count(&llama), 2 * 512 * 64 + 2 * layer + 64);
        assert_eq!(count(&ModelSpec { tied: true, kv_heads: 2, ..llama }), 512 * 64 + 2 * (layer - 2 * 64 * 32) + 64);
        let layer = 4 * 64 + 64 * 192 + 192 + 64 * 64 + 64 + 2 * 64 * 172 + 172 + 64;
        assert_eq!(count(&spec(Family::Gpt2)), (512 + 32) * 64 + 2 * layer + 2 * 64);
        assert_eq!(count(&spec(Family::Bert)), (512 + 32 + 2) * 64 + 2 * layer + 2 * 64 + 64 * 64 + 64 + 2 * 64 + 512);
    }

    /// Two lists of one thing: what the plan reckons with, and what the engine makes.
    #[test]
    fn the_plan_counts_what_the_engine_makes() {
        for family in Family::ALL {
            for (kv_heads, head_dim) in [(4, None), (2, Some(24))] {
                let own = family.rotary();
                let spec = ModelSpec { kv_heads: if own { kv_heads } else { 4 }, head_dim: head_dim.filter(|_| own), ..spec(family) };
                let count: usize = parameters(&spec, 512).unwrap().iter().map(Param::len).sum();
                assert_eq!(count as u64, osler_core::estimate::parameters(&spec, 512), "{spec:?}");
            }
        }
    }

    /// The trainer finds a tied head at the front and a head of its own, or its bias, at the end.
    #[test]
    fn the_embedding_comes_first_and_what_only_the_head_uses_last() {
        for family in Family::ALL {
            let all = parameters(&spec(family), 512).unwrap();
            assert_eq!(all.first().unwrap().shape, [512, 64], "{family}");
            let last = all.last().unwrap();
            let expected = match family {
                Family::Llama | Family::Qwen2 => "lm_head.weight",
                Family::Gemma => "model.norm.weight",
                Family::Gpt2 => "transformer.ln_f.bias",
                Family::Bert => "cls.predictions.bias",
            };
            assert_eq!(last.name, expected);
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let told = |spec: &ModelSpec, vocab| match parameters(spec, vocab) {
            Err(EngineError::Model(problems)) => problems.len(),
            _ => 0,
        };
        let good = spec(Family::Llama);
        assert_eq!(told(&ModelSpec { dim: 0, layers: u32::MAX, ..good.clone() }, 0), 3);
        assert_eq!(told(&ModelSpec { heads: 3, kv_heads: 2, norm_eps: f64::NAN, ..good.clone() }, 8), 4);
        assert_eq!(told(&ModelSpec { heads: 64, kv_heads: 64, ..good }, 8), 1);
        assert_eq!(told(&ModelSpec { tied: false, ..spec(Family::Gpt2) }, 8), 1);
    }
}
