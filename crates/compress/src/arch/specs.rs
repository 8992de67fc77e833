//! The tensors that follow from a model's sizes, in its order, under both names.

use super::{Arch, Family, Role, TensorSpec};

impl Arch {
    /// Every tensor of the model, in its order. A tied head is not a tensor.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let mut specs = match self.family {
            Family::Llama | Family::Qwen2 | Family::Gemma => self.llama_specs(),
            Family::Gpt2 => self.gpt2_specs(),
        };
        if !self.tied {
            specs.push(TensorSpec::new("lm_head.weight", "output.weight", &[self.vocab, self.hidden], Role::Vocabulary));
        }
        specs
    }

    fn llama_specs(&self) -> Vec<TensorSpec> {
        let (d, q, kv) = (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let gain = self.family == Family::Gemma;
        let norm = |hf: String, gguf: String| TensorSpec { gain, ..TensorSpec::new(hf, gguf, &[d], Role::Small) };
        // Llama's readers turn neighbours, its relatives' turn halves.
        let interleaved = |heads: usize| (self.family == Family::Llama).then_some((heads, self.head_dim));
        let out_bias = self.attention_bias && self.family != Family::Qwen2;
        let mut specs = vec![TensorSpec::new("model.embed_tokens.weight", "token_embd.weight", &[self.vocab, d], Role::Vocabulary)];
        for n in 0..self.layers {
            let (hf, gguf) = (format!("model.layers.{n}"), format!("blk.{n}"));
            specs.push(norm(format!("{hf}.input_layernorm.weight"), format!("{gguf}.attn_norm.weight")));
            for (module, name, out, inp, rotary, bias) in [
                ("self_attn.q_proj", "attn_q", q, d, interleaved(self.heads), self.attention_bias),
                ("self_attn.k_proj", "attn_k", kv, d, interleaved(self.kv_heads), self.attention_bias),
                ("self_attn.v_proj", "attn_v", kv, d, None, self.attention_bias),
                ("self_attn.o_proj", "attn_output", d, q, None, out_bias),
                ("mlp.gate_proj", "ffn_gate", self.inner, d, None, self.mlp_bias),
                ("mlp.up_proj", "ffn_up", self.inner, d, None, self.mlp_bias),
                ("mlp.down_proj", "ffn_down", d, self.inner, None, self.mlp_bias),
            ] {
                let name_of = |kind: &str| (format!("{hf}.{module}.{kind}"), format!("{gguf}.{name}.{kind}"));
                let (weight_hf, weight_gguf) = name_of("weight");
                specs.push(TensorSpec { rotary, ..TensorSpec::new(weight_hf, weight_gguf, &[out, inp], Role::Linear) });
                if bias {
                    let (bias_hf, bias_gguf) = name_of("bias");
                    specs.push(TensorSpec { rotary, ..TensorSpec::new(bias_hf, bias_gguf, &[out], Role::Small) });
                }
            }
            specs.push(norm(format!("{hf}.post_attention_layernorm.weight"), format!("{gguf}.ffn_norm.weight")));
        }
        specs.push(norm("model.norm.weight".to_owned(), "output_norm.weight".to_owned()));
        specs
    }

    fn gpt2_specs(&self) -> Vec<TensorSpec> {
        let d = self.hidden;
        let mut specs = vec![
            TensorSpec::new("transformer.wte.weight", "token_embd.weight", &[self.vocab, d], Role::Vocabulary),
            TensorSpec::new("transformer.wpe.weight", "position_embd.weight", &[self.context, d], Role::Small),
        ];
        let norm = |specs: &mut Vec<TensorSpec>, hf: String, gguf: String| {
            for kind in ["weight", "bias"] {
                specs.push(TensorSpec::new(format!("{hf}.{kind}"), format!("{gguf}.{kind}"), &[d], Role::Small));
            }
        };
        for n in 0..self.layers {
            let (hf, gguf) = (format!("transformer.h.{n}"), format!("blk.{n}"));
            norm(&mut specs, format!("{hf}.ln_1"), format!("{gguf}.attn_norm"));
            norm(&mut specs, format!("{hf}.ln_2"), format!("{gguf}.ffn_norm"));
            for (module, name, inp, out) in [
                ("attn.c_attn", "attn_qkv", d, 3 * d),
                ("attn.c_proj", "attn_output", d, d),
                ("mlp.c_fc", "ffn_up", d, self.inner),
                ("mlp.c_proj", "ffn_down", self.inner, d),
            ] {
                let (hf, gguf) = (format!("{hf}.{module}"), format!("{gguf}.{name}"));
                let weight = TensorSpec::new(format!("{hf}.weight"), format!("{gguf}.weight"), &[inp, out], Role::Linear);
                specs.push(TensorSpec { conv1d: true, ..weight });
                specs.push(TensorSpec::new(format!("{hf}.bias"), format!("{gguf}.bias"), &[out], Role::Small));
            }
        }
        norm(&mut specs, "transformer.ln_f".to_owned(), "output_norm".to_owned());
        specs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn arch(family: Family, heads: usize, kv_heads: usize, head_dim: usize, tied: bool) -> Arch {
        let hidden = heads * head_dim;
        Arch {
            family,
            layers: 2,
            hidden,
            inner: 2 * hidden + 2,
            heads,
            kv_heads: if family == Family::Gpt2 { heads } else { kv_heads },
            head_dim,
            vocab: 11,
            context: 7,
            eps: 1e-5,
            rope_theta: 1e4,
            tied,
            attention_bias: true,
            mlp_bias: true,
        }
    }

    proptest! {
        #[test]
        fn every_tensor_comes_back_from_gguf_order(kv in 1usize..3, group in 1usize..3, half in 1usize..4, family in 0usize..4, tied: bool) {
            let family = [Family::Llama, Family::Qwen2, Family::Gemma, Family::Gpt2][family];
            let specs = arch(family, kv * group, kv, 2 * half, tied).specs();
            for names in [specs.iter().map(|s| &s.hf).collect::<BTreeSet<_>>(), specs.iter().map(|s| &s.gguf).collect()] {
                prop_assert_eq!(names.len(), specs.len(), "names must not collide");
            }
            for spec in &specs {
                let data: Vec<f32> = (0..spec.elements()).map(|i| i as f32).collect();
                let there = spec.hf_to_gguf(data.clone());
                let mut sorted = there.clone();
                sorted.sort_by(f32::total_cmp);
                let moved = if spec.gain { 1.0 } else { 0.0 };
                prop_assert_eq!(&sorted, &data.iter().map(|v| v + moved).collect::<Vec<_>>(), "{} loses an element", &spec.hf);
                prop_assert_eq!(&spec.gguf_to_hf(there), &data, "{} does not come back", &spec.hf);
                prop_assert_eq!(&spec.rows_to_hf(spec.hf_to_rows(data.clone())), &data);
            }
        }
    }

    #[test]
    fn more_layers_than_tensors_are_refused_before_they_are_listed() {
        let huge = Arch { layers: usize::MAX / 2, ..arch(Family::Llama, 2, 1, 4, true) };
        let error = huge.check(Path::new("config.json"), 20).unwrap_err().to_string();
        assert!(error.contains("20 tensors"), "{error}");
    }
}
