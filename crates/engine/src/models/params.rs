//! The parameters of a model, without tensors: names (Hugging Face's), shapes, order and how each begins.
//!
//! The order is part of the numbers: weights are drawn parameter by parameter from one generator.

use crate::EngineError;
use osler_core::spec::{Family, ModelSpec};

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
        Family::Llama => llama(spec, vocab),
        Family::Gpt2 => gpt2(spec, vocab),
    })
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
    within("model.ffn", spec.ffn.into(), 1 << 18);
    within("model.max_positions", spec.max_positions.into(), 1 << 17);
    if !found.is_empty() {
        return found;
    }
    if !spec.dim.is_multiple_of(spec.heads) {
        found.push(format!("model.dim {} is not a multiple of model.heads {}", spec.dim, spec.heads));
    }
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        found.push(format!("model.heads {} is not a multiple of model.kv_heads {}", spec.heads, spec.kv_heads));
    }
    for (field, value) in [("model.norm_eps", spec.norm_eps), ("model.rope_theta", spec.rope_theta)] {
        if !value.is_finite() || value <= 0.0 {
            found.push(format!("{field} is {value}, must be a positive number"));
        }
    }
    if !spec.init_std.is_finite() || spec.init_std < 0.0 {
        found.push(format!("model.init_std is {}, must be 0 or more", spec.init_std));
    }
    match spec.family {
        Family::Llama if (spec.dim / spec.heads) % 2 == 1 => {
            found.push(format!("model.dim / model.heads is {}, rotary positions need an even number", spec.dim / spec.heads));
        }
        Family::Gpt2 if !spec.tied => found.push("model.tied is false, a gpt2 model has a tied head: set it to true".into()),
        Family::Gpt2 if spec.kv_heads != spec.heads => {
            found.push(format!("model.kv_heads is {}, a gpt2 model has as many as heads: {}", spec.kv_heads, spec.heads));
        }
        _ => {}
    }
    found
}

/// Weights are stored `[out, in]`.
fn llama(spec: &ModelSpec, vocab: usize) -> Vec<Param> {
    let (dim, ffn) = (spec.dim as usize, spec.ffn as usize);
    let kv = dim / spec.heads as usize * spec.kv_heads as usize;
    let weight = |name: String, out, into| Param { name: name + ".weight", shape: vec![out, into], begin: Begin::Normal };
    let norm = |name: String| Param { name: name + ".weight", shape: vec![dim], begin: Begin::Ones };
    let mut all = vec![weight("model.embed_tokens".into(), vocab, dim)];
    for layer in 0..spec.layers {
        let of = |part: &str| format!("model.layers.{layer}.{part}");
        all.extend([
            norm(of("input_layernorm")),
            weight(of("self_attn.q_proj"), dim, dim),
            weight(of("self_attn.k_proj"), kv, dim),
            weight(of("self_attn.v_proj"), kv, dim),
            weight(of("self_attn.o_proj"), dim, dim),
            norm(of("post_attention_layernorm")),
            weight(of("mlp.gate_proj"), ffn, dim),
            weight(of("mlp.up_proj"), ffn, dim),
            weight(of("mlp.down_proj"), dim, ffn),
        ]);
    }
    all.push(norm("model.norm".into()));
    if !spec.tied {
        all.push(weight("lm_head".into(), vocab, dim));
    }
    all
}

/// Projections are stored `[in, out]`, as Hugging Face's Conv1D keeps them: nothing is transposed on import or export.
fn gpt2(spec: &ModelSpec, vocab: usize) -> Vec<Param> {
    let (dim, ffn) = (spec.dim as usize, spec.ffn as usize);
    let param = |name: String, shape: &[usize], begin| Param { name, shape: shape.to_vec(), begin };
    let norm = |name: String| [param(format!("{name}.weight"), &[dim], Begin::Ones), param(format!("{name}.bias"), &[dim], Begin::Zeros)];
    let projection = |name: String, into, out| {
        [param(format!("{name}.weight"), &[into, out], Begin::Normal), param(format!("{name}.bias"), &[out], Begin::Zeros)]
    };
    let mut all = vec![
        param("transformer.wte.weight".into(), &[vocab, dim], Begin::Normal),
        param("transformer.wpe.weight".into(), &[spec.max_positions as usize, dim], Begin::Normal),
    ];
    for layer in 0..spec.layers {
        let of = |part: &str| format!("transformer.h.{layer}.{part}");
        all.extend(norm(of("ln_1")));
        all.extend(projection(of("attn.c_attn"), dim, 3 * dim));
        all.extend(projection(of("attn.c_proj"), dim, dim));
        all.extend(norm(of("ln_2")));
        all.extend(projection(of("mlp.c_fc"), dim, ffn));
        all.extend(projection(of("mlp.c_proj"), ffn, dim));
    }
    all.extend(norm("transformer.ln_f".into()));
    all
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
            ffn: 172,
            max_positions: 32,
            tied: family == Family::Gpt2,
            norm_eps: 1e-5,
            rope_theta: 1e4,
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
