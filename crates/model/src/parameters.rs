//! The parameters of a model, without tensors: names (Hugging Face's), shapes, order and how each begins. Everybody who reads, writes,
//! counts or compresses weights walks this list.
//!
//! The order is part of the numbers: weights are drawn parameter by parameter from one generator.

mod families;

use osler_core::spec::{Family, ModelSpec, check_shape};

/// Tokens that a vocabulary may have.
const MAX_VOCAB: usize = 1 << 24;

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Normal with the model's `init_std`.
    Normal,
    Ones,
    Zeros,
}

/// What a parameter is for, where compression treats it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Token embedding or output head.
    Vocabulary,
    /// A projection inside a block.
    Linear,
    /// Norms, biases, learned positions and token types.
    Small,
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

    pub fn role(&self) -> Role {
        let table = ["embed_tokens.weight", "lm_head.weight", "wte.weight", "word_embeddings.weight"];
        let small = ["wpe.weight", "position_embeddings.weight", "token_type_embeddings.weight"];
        let ends = |names: &[&str]| names.iter().any(|name| self.name.ends_with(name));
        if ends(&table) {
            Role::Vocabulary
        } else if self.shape.len() < 2 || ends(&small) {
            Role::Small
        } else {
            Role::Linear
        }
    }

    /// Stored `[in, out]`, as Hugging Face's Conv1D keeps the projections of a gpt2; all other matrices are `[out, in]`.
    pub fn transposed(&self, family: Family) -> bool {
        family == Family::Gpt2 && self.role() == Role::Linear
    }

    /// Values that belong to one output channel: the length of a row that compression cuts into blocks.
    pub fn row(&self, family: Family) -> usize {
        let row = if self.transposed(family) { self.shape.first() } else { self.shape.last() };
        row.copied().unwrap_or(1)
    }
}

/// Every parameter in order. Errors: all problems of the shape at once.
pub fn parameters(spec: &ModelSpec, vocab: usize) -> Result<Vec<Param>, Vec<String>> {
    let problems = problems(spec, vocab);
    if !problems.is_empty() {
        return Err(problems.into_iter().map(|(field, message)| format!("{field}: {message}")).collect());
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

/// Field and message of what is wrong with a shape: the rules of `[model]`, and a bound for the vocabulary.
pub(crate) fn problems(spec: &ModelSpec, vocab: usize) -> Vec<(String, String)> {
    let mut found = vec![];
    if vocab == 0 || vocab > MAX_VOCAB {
        found.push(("vocabulary".to_owned(), format!("found {vocab} tokens, expected 1 to {MAX_VOCAB}")));
    }
    if let Err(problems) = check_shape(spec) {
        found.extend(problems.into_iter().map(|problem| (problem.field, problem.message)));
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

    /// What the plan reckons with, as a formula, and what there is.
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
    fn all_problems_are_told_at_once_by_the_rules_of_the_run_file() {
        let told = |spec: &ModelSpec, vocab| parameters(spec, vocab).err().unwrap_or_default().len();
        let good = spec(Family::Llama);
        assert_eq!(told(&ModelSpec { dim: 0, layers: u32::MAX, ..good.clone() }, 0), 3);
        assert_eq!(told(&ModelSpec { norm_eps: f64::NAN, ..good.clone() }, 8), 1);
        assert_eq!(told(&ModelSpec { heads: 64, kv_heads: 64, ..good.clone() }, 8), 1);
        assert_eq!(told(&ModelSpec { tied: false, ..spec(Family::Gpt2) }, 8), 1);
        // What a run file may say can be made.
        assert_eq!(told(&ModelSpec { ffn: 300_000, max_positions: 1 << 20, ..good.clone() }, 8), 0);
        assert_eq!(told(&ModelSpec { ffn: (1 << 20) + 1, ..good }, 8), 1);
    }

    #[test]
    fn each_parameter_has_a_role() {
        for family in Family::ALL {
            let all = parameters(&spec(family), 512).unwrap();
            let count = |role: Role| all.iter().filter(|param| param.role() == role).count();
            let (tables, matrices) = match family {
                Family::Llama | Family::Qwen2 => (2, 14),
                Family::Gemma => (1, 14),
                Family::Gpt2 => (1, 8),
                // Six a layer, and the head's own.
                Family::Bert => (1, 13),
            };
            assert_eq!((count(Role::Vocabulary), count(Role::Linear)), (tables, matrices), "{family}");
            let down = all.iter().rfind(|param| param.shape.contains(&172) && param.role() == Role::Linear).unwrap();
            assert_eq!(down.row(family), 172, "{}", down.name);
        }
    }
}
